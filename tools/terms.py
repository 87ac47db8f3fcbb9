"""Terms: what a chapter sets in bold in a sentence. They get an anchor where they stand and an entry in the glossary.

Not every bold is a term. A lead-in ends with a mark (**Needs:**), begins a list item, or begins a sentence with a word
that no term begins with (**You need** Python); and tables and boxes repeat what the text explains. Standard library
only, like everything that the notebook filter imports.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

from cells import PIECES

BOLD = re.compile(r"(?<![\w*\\])\*\*(?=[^\s*])([^*\n]+?)(?<=\S)\*\*(?![\w*])")
LEAD = re.compile(r"(?:[-*+]|\d+\.|>|\[\^[^\]]+\]:)\s+")  # of list items, quotes and footnotes
SENTENCE_END = re.compile(r"[.!?][”’\")*]*(?:\[\^[^\]]+\])*\s+(?=[A-Z0-9“‘\"(*$`\[])")
DISPLAY = re.compile(r"\s*(\$\$.*?\$\$)", re.S)
BEFORE = re.compile(r"(?:\A|\n\n)((?:[^\n]+\n)*?[^\n]+)\s+(\$\$(?:(?!\$\$).)*\$\$)[^\n]*\s*\Z", re.S)  # a paragraph and its formula
NO_TERM = set("the this that these you it we they to with without in on if when where what how why for from not no as and but".split())
MOST_WORDS = 4  # of a term; longer bold is emphasis


@dataclass(frozen=True)
class Term:
    "A term where a cell explains it."

    words: str  # as written, without an article in front
    sentence: str  # around it, in Markdown of one line
    start: int  # where its `**` begins in the cell
    end: int

    @property
    def name(self) -> str:
        return self.words.casefold().replace("-", " ")

    @property
    def anchor(self) -> str:
        return "term-" + "-".join(re.findall(r"\w+", self.name))


def terms(nb: dict) -> dict[int, list[Term]]:
    "The terms of a notebook, by the position of their cell, from 1."
    found, depth = {}, 0
    for index, cell in enumerate(nb["cells"], start=1):
        if cell["cell_type"] == "markdown":
            text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            terms_here, depth = terms_of(text, depth)
            if terms_here:
                found[index] = terms_here
    return found


def terms_of(text: str, depth: int = 0) -> tuple[list[Term], int]:
    "The terms of a cell that begins inside `depth` boxes (`:::`), and in how many it ends."
    masked, found, position = mask(text), [], 0
    for block in re.split(r"(\n[ \t]*\n)", masked):
        boxed = depth > 0
        for line in block.splitlines():
            if colons := re.match(r":{3,}[ \t]*(.*)", line):
                depth += 1 if colons[1] else -1
                boxed = True
        if not boxed and not re.match(r"\s*[|:]", block):
            found += [term for match in BOLD.finditer(block) if (term := explained(text, masked, position, block, match))]
        position += len(block)
    return found, max(0, depth)


def mask(text: str) -> str:
    "The text with code, formulas, links and headings made unreadable, every character in its place."
    return PIECES.sub(lambda match: re.sub(r"[^\n]", " " if match["heading"] or match["fenced"] else "X", match[0]), text)


def explained(text: str, masked: str, position: int, block: str, match: re.Match) -> Term | None:
    "The term that bold text is, with its sentence; None for a lead-in."
    begins = [0, *(end.end() for end in SENTENCE_END.finditer(block)), *(item.end() for item in re.finditer(rf"^\s*{LEAD.pattern}", block, re.M))]
    start = max(begin for begin in begins if begin <= match.start())
    if is_lead_in(block, start, match) or len(match[1].split()) > MOST_WORDS:
        return None
    stop = next((end.end() for end in SENTENCE_END.finditer(block, match.end())), len(block))
    item = re.compile(rf"\n\s*{LEAD.pattern}").search(block, match.end())
    stop = min(stop, item.start()) if item else stop
    sentence = text[position + start : position + stop].strip()
    if sentence[-1] not in ".!?" and (formula := DISPLAY.match(text, position + len(block))):
        sentence += " " + re.sub(r"[,;]?\s*\$\$$", " $$", formula[1])
    if sentence[:1].islower() and (formula := BEFORE.search(text[: position + start])):
        sentence = f"{SENTENCE_END.split(formula[1])[-1]} {formula[2]} {sentence}"
    sentence = re.sub(r"\[\^[^\]]+\]|\s*\{#eq-[\w-]+\}", "", sentence)
    return Term(re.sub(r"^(?:an?|the) ", "", match[1], flags=re.I), " ".join(sentence.split()), position + match.start(), position + match.end())


def is_lead_in(block: str, start: int, match: re.Match) -> bool:
    "Whether bold text only leads into what follows; `start` is where its sentence begins."
    if match[1][-1] in ".:!?,":
        return True
    if block[start : match.start()].strip(" \n(“\"["):
        return False
    in_item = re.search(rf"(?:^|\n)\s*{LEAD.pattern}\Z", block[:start])
    return bool(in_item) or block[match.end() : match.end() + 1] == ":" or match[1].split()[0].casefold() in NO_TERM


def anchored(text: str, found: list[Term]) -> str:
    "The cell's text with an anchor around each of its terms."
    for term in sorted(found, key=lambda term: -term.start):
        text = f"{text[: term.start]}[{text[term.start : term.end]}]{{#{term.anchor}}}{text[term.end :]}"
    return text

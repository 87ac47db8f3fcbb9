"""What `@label` and `[@key]` become: links with numbers, and citations as citeproc writes them."""
from __future__ import annotations

import re
from difflib import get_close_matches

from project import Origin, Problem

from . import pandoc, tree
from .cache import Cache
from .model import KINDS, Book, Doc
from .survey import citation_key, is_reference


def load_bibliography(book: Book, cache: Cache) -> None:
    "Read the files that `bibliography:` of _quarto.yml names."
    named = book.project.quarto.get("bibliography") or []
    for name in [named] if isinstance(named, str) else named:
        try:
            text = (book.project.root / name).read_text(encoding="utf-8")
            book.entries += pandoc.bibliography(cache, text)
        except OSError:
            message = f"names the bibliography {name}, which is not there"
            book.problems.append(Problem(Origin("_quarto.yml"), message, "add the file"))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-300:]
            book.problems.append(Problem(Origin(name), f"is not valid BibTeX: {reason}", "correct that entry"))
        else:
            book.problems += [
                Problem(Origin(name), f"has two entries `{key}`", "rename or delete one", text[: second.start()].count("\n") + 1)
                for key, second in repeated(text)
            ]


def repeated(bibtex: str) -> list[tuple[str, re.Match]]:
    "Keys that an earlier entry has already."
    seen, found = set(), []
    for entry in re.finditer(r"^@\w+\s*\{\s*([^\s,]+)\s*,", bibtex, re.M):
        if entry[1] in seen:
            found.append((entry[1], entry))
        seen.add(entry[1])
    return found


def cite_all(book: Book, cache: Cache) -> None:
    "Let citeproc write every citation of the book and the entries of the list of references."
    have = {entry["id"] for entry in book.entries}
    good = {key: node for key, node in book.citations.items() if {c["citationId"] for c in node["c"][0]} <= have}
    if not good:
        return
    cited = {citation["citationId"] for node in good.values() for citation in node["c"][0]}
    entries = [entry for entry in book.entries if entry["id"] in cited]
    inlines, blocks = pandoc.cite(cache, entries, list(good.values()))
    book.citations.update(zip(good, inlines, strict=True))
    book.references = {block["c"][0][0].removeprefix("ref-"): block for block in blocks}


def resolve(book: Book, doc: Doc, cite: dict) -> list:
    "The nodes that stand for a `Cite`."
    if is_reference(cite):
        return cross_references(book, doc, cite["c"][0])
    result = book.citations.get(citation_key(cite))
    if isinstance(result, list):
        doc.cited.update(citation["citationId"] for citation in cite["c"][0])
        return [tree.span(citation_links(book, doc, result), classes=("citation",))]
    report_unknown(book, doc, cite)
    return cite["c"][1]


def cross_references(book: Book, doc: Doc, citations: list) -> list:
    "`@fig-x` as “Figure 1.1”, `-@fig-x` as “1.1”, `[see @fig-x; @fig-y]` as “see 1.1, Figure 1.2”."
    nodes = []
    for citation in citations:
        label = book.labels.get(citation["citationId"])
        if label is None:
            report_unknown_label(book, doc, citation["citationId"])
            continue
        if nodes:
            nodes += [{"t": "Str", "c": ","}, {"t": "Space"}]
        target = ("" if label.url == doc.url else doc.href(label.url)) + f"#{label.id}"
        bare = citation["citationMode"]["t"] == "SuppressAuthor"
        inlines = reference_text(label, bare, citation["citationPrefix"])
        nodes += [tree.link(inlines, target, ("reference",)), *citation["citationSuffix"]]
    return nodes


def reference_text(label, bare: bool, prefix: list) -> list:
    if not label.number:
        return label.title
    number = {"t": "Str", "c": label.number}
    if bare:
        return [number]
    if prefix:
        return [*prefix, {"t": "Str", "c": "\u00a0"}, number]
    return [{"t": "Str", "c": f"{label.name}\u00a0{label.number}"}]


def citation_links(book: Book, doc: Doc, inlines: list) -> list:
    "Where there is a page of references, citations lead to it."
    page = book.references_page

    def visit(node: dict) -> list | None:
        if node["t"] == "Cite":
            return citation_links(book, doc, node["c"][1])
        if node["t"] == "Link" and page and page.url != doc.url and node["c"][2][0].startswith("#ref-"):
            attr, text, (target, _) = node["c"]
            return [{"t": "Link", "c": [attr, text, [doc.href(page.url) + target, ""]]}]
        return None

    return tree.transform(inlines, visit)


def report_unknown_label(book: Book, doc: Doc, id: str) -> None:
    near = get_close_matches(id, book.labels, 3, 0.6)
    fix = f"did you mean {' or '.join(f'@{name}' for name in near)}?" if near else "define the label, or correct the reference"
    book.report(doc, f"`@{id}` refers to no label of the book", fix, f"@{id}")


def report_unknown(book: Book, doc: Doc, cite: dict) -> None:
    have = {entry["id"] for entry in book.entries}
    for citation in cite["c"][0]:
        key = citation["citationId"]
        if key in have:
            continue
        near = get_close_matches(key, [*have, *book.labels], 3, 0.6)
        if key.split("-")[0] in KINDS and "-" in key:
            fix = "write references to labels and citations in brackets of their own"
        elif near:
            fix = f"did you mean {' or '.join(f'@{name}' for name in near)}?"
        else:
            fix = "add it to references.bib; a decorator or an address belongs between backticks"
        book.report(doc, f"`@{key}` is not in the bibliography", fix, f"@{key}")


def list_of(book: Book, keys: set[str]) -> dict:
    "The list of references to some publications, in citeproc's order."
    entries = []
    for key, block in book.references.items():
        if key in keys:
            attr, blocks = block["c"]
            entries.append(tree.div(blocks, attr[0], ("csl-entry",), [("role", "listitem")]))
    return tree.div(entries, "refs", ("references",), [("role", "list")])

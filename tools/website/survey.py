"""The first look at each page's tree: is it the Markdown that the book allows, and what is numbered how?

Chapters, sections, figures, tables and equations get the numbers that Quarto books give them. The tree is changed only
where the next steps need it: headings get their anchor and number, titles of callouts and tabs a class of their own,
and labelled equations become spans.
"""
from __future__ import annotations

import re
from difflib import get_close_matches

from . import tree
from .model import KINDS, Book, Doc, Heading, Label

CALLOUTS = {"note": "Note", "tip": "Tip", "warning": "Warning", "important": "Important", "caution": "Caution"}
CALLOUT_OPTIONS = {
    "collapse": {"true", "false"}, "appearance": {"default", "simple", "minimal"}, "icon": {"true", "false"}, "title": None,
}
DIVS = {"panel-tabset", "cell-output", "figure-inline", "cell", "subtitle"}
REFUSED = {
    "LineBlock": ("a line block (`| …`)", "write paragraphs or a list"),
    "DefinitionList": ("a definition list", "write a table or a list"),
    "HorizontalRule": ("a horizontal rule", "use a heading; a notebook has no YAML header either"),
    "Superscript": ("superscript between `^`", "write it as math, `$x^2$`, or `\\^` for the character"),
    "Underline": ("underlining", "emphasize with `*`"),
    "SmallCaps": ("small capitals", "emphasize with `*`"),
    "Subscript": ("subscript between `~`", "write it as math, `$x_2$`, or `\\~` for the character"),
}
LEFTOVERS = [  # pieces of syntax that pandoc left as text
    (re.compile(r"^:::+"), "a `:::` that opens or closes nothing", "put it alone in its line, with an empty line before it"),
    (re.compile(r"\{\{<"), "a Quarto shortcode", "write Markdown; shortcodes are not part of the book's subset"),
    (re.compile(r"\$\$"), "display math that is not closed", "end it with `$$`, without empty lines in between"),
    (
        re.compile(r"\{#[\w-]*\}?"),
        "a label that belongs to nothing",
        "write it in the line of its heading, table caption or closing `$$`",
    ),
    (re.compile(r"\[\^[^\]]+\]"), "a footnote without text", "add a line `[^name]: …` to the same page"),
]


def survey(book: Book) -> None:
    "Look at all pages in reading order."
    numbers = {False: 0, True: 0}  # numbered chapters so far, numbered appendices so far
    for doc in book.docs:
        Survey(book, doc, numbers).page()


def slug(title: str, taken: set[str]) -> str:
    "A heading's anchor, as pandoc makes it."
    kept = "".join(c for c in title.lower() if c.isalnum() or c in "_-. ")
    base = re.sub(r"^[^a-z]+", "", "-".join(kept.split())) or "section"
    name, n = base, 0
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    return name


class Survey:
    "One page's tree, visited in reading order."

    def __init__(self, book: Book, doc: Doc, numbers: dict[bool, int]):
        self.book, self.doc, self.numbers = book, doc, numbers
        self.generated = 0  # depth of divs that the build filled
        self.level = 0  # of the last heading
        self.sections = [0] * 7  # counters by level
        self.floats = dict.fromkeys(KINDS, 0)
        self.taken: set[str] = set()

    def page(self) -> None:
        self.doc.blocks = tree.transform(self.doc.blocks, self.visit)
        if not any(heading.level == 1 for heading in self.doc.headings):
            self.doc.cell = 0
            self.problem("the page has no title", "begin it with `# Title {#sec-name}`")

    def visit(self, node: dict) -> list | None:
        if node["t"] in REFUSED and not self.free:
            what, fix = REFUSED[node["t"]]
            self.problem(f"{what} is not in the book's Markdown", fix, tree.text(node.get("c", []))[:20])
        handler = getattr(self, f"on_{node['t']}", None)
        return handler(node) if handler else None

    @property
    def free(self) -> bool:
        "Whether we are in something that the build wrote, which may hold any HTML."
        return self.generated > 0 or self.doc.generated

    def problem(self, message: str, fix: str, find: str = "") -> None:
        self.book.report(self.doc, message, fix, find)

    # What the subset allows.
    def on_RawBlock(self, node: dict) -> None:
        form, content = node["c"]
        if form == tree.CELL:
            self.doc.cell = int(content)
        elif not self.free:
            line = content.strip().splitlines()[0] if content.strip() else "```{=" + form + "}"
            self.problem(f"raw HTML is not in the book's Markdown: `{line[:60]}`", "write it in Markdown", line)

    def on_RawInline(self, node: dict) -> None:
        if not self.free:
            content = node["c"][1]
            fix = "write it in Markdown, or as code between backticks"
            self.problem(f"raw HTML is not in the book's Markdown: `{content}`", fix, content)

    def on_Str(self, node: dict) -> None:
        for pattern, what, fix in LEFTOVERS:
            if not self.generated and (match := pattern.search(node["c"])):
                self.problem(f"{what}: `{node['c']}`", fix, match[0])

    def on_CodeBlock(self, node: dict) -> None:
        if not node["c"][0][1] and not self.free:
            line = node["c"][1].split("\n")[0]
            fix = "open it with ```` ```python ````, or ```` ```text ````; prose is not indented"
            self.problem("a code block does not say its language", fix, line)

    def on_Span(self, node: dict) -> None:
        id, classes, _ = node["c"][0]
        if id and "equation" not in classes and not id.startswith(("api-", "term-")) and not self.free:
            self.problem(f"`#{id}` labels plain text", "only headings, figures, tables and equations have labels", id)
        elif classes and not id and not self.free and self.doc.path.endswith(".ipynb"):
            message = f"text with attributes, `{{.{classes[0]}}}`, is not in the book's Markdown"
            self.problem(message, "emphasize with `*`", classes[0])

    # Labels.
    def define(self, id: str, title: list | None = None, number: str | None = None, name: str = "") -> Label:
        "Note a label and give it its number."
        kind = id.split("-")[0]
        if number is None:
            self.floats[kind] += 1
            number = ".".join(filter(None, [self.doc.number, str(self.floats[kind])]))
        label = Label(id, kind, number, self.doc.url, self.doc.origin, title or [], name or KINDS[kind])
        if id in self.book.labels:
            first = self.book.labels[id].origin
            self.problem(f"the label `{id}` is defined twice", f"rename it here or in {first}", f"#{id}")
        else:
            self.book.labels[id] = label
        return label

    def known(self, id: str, *kinds: str) -> bool:
        "Whether a label has a prefix that fits; if it has not, say so."
        if id.split("-")[0] in kinds and "-" in id:
            return True
        allowed = " or ".join(f"`#{kind}-…`" for kind in kinds)
        self.problem(f"the label `{id}` has no known prefix", f"call it {allowed}", id)
        return False

    # Headings.
    def on_Header(self, node: dict) -> None:
        level, (id, classes, keys), inlines = node["c"]
        if {"callout-title", "tab-title"} & set(classes):
            return
        if level == 1 and self.level:
            self.problem("a second title on the page", "write `##`: a page has one `# Title`", tree.text(inlines)[:20])
        elif level > self.level + 1:
            fix = f"write it with {self.level + 1} `#`" if self.level else "begin the page with `# Title {#sec-name}`"
            self.problem(f"a heading of level {level} follows level {self.level}", fix, tree.text(inlines)[:20])
        number = self.number_heading(level, "unnumbered" in classes)
        if id and (id.startswith("sec-") or not self.free and self.known(id, "sec")):
            chapter = "Appendix" if self.doc.appendix else "Chapter"
            self.define(id, inlines, number, chapter if level == 1 else "Section")
        anchor = id or slug(tree.text(inlines), self.taken)
        self.taken.add(anchor)
        self.level = level
        self.doc.headings.append(Heading(level, anchor, number, inlines))
        if level == 1 and not self.doc.title:
            self.doc.title = inlines
        node["c"][1] = [anchor, classes, [*keys, ["number", number]]]

    def number_heading(self, level: int, unnumbered: bool) -> str:
        if unnumbered:
            return ""
        if level == 1:
            self.numbers[self.doc.appendix] += 1
            n = self.numbers[self.doc.appendix]
            self.doc.number = chr(ord("A") + n - 1) if self.doc.appendix else str(n)
            return self.doc.number
        if not self.doc.number:
            return ""
        self.sections[level] += 1
        self.sections[level + 1 :] = [0] * (6 - level)
        return ".".join([self.doc.number, *map(str, self.sections[2 : level + 1])])

    def on_BlockQuote(self, node: dict) -> None:
        if len(self.doc.headings) == 1 and not self.doc.summary:
            self.doc.summary = tree.text(node["c"])

    # Divs: callouts, tabs, figures and tables.
    def on_Div(self, node: dict) -> list | None:
        (id, classes, keys), blocks = node["c"]
        kinds = [name[8:] for name in classes if name.startswith("callout")]
        if id.startswith("generated-"):
            self.generated += 1
            node["c"][1] = tree.transform(blocks, self.visit)
            self.generated -= 1
            return [node]
        if "subtitle" in classes and not self.doc.summary:
            self.doc.summary = tree.text(blocks)
        if kinds:
            self.callout(kinds, keys, blocks)
        elif "panel-tabset" in classes:
            self.tabs(blocks)
        elif id == "refs":
            self.book.references_page = self.doc
        elif id and self.known(id, "fig", "tbl"):
            self.float(id, dict(keys), blocks)
        elif not id and not self.free and self.doc.path.endswith(".ipynb") and not set(classes) & DIVS:
            near = get_close_matches(" ".join(classes), [*DIVS, *(f"callout-{kind}" for kind in CALLOUTS)], 1)
            fix = f"did you mean `.{near[0]}`?" if near else "use a callout, a panel-tabset, `#fig-…` or `#tbl-…`"
            self.problem(f"`::: {{.{' .'.join(classes)}}}` is not in the book's Markdown", fix, " ".join(classes))
        return None

    def callout(self, kinds: list[str], keys: list, blocks: list) -> None:
        for kind in kinds:
            if kind not in CALLOUTS:
                near = get_close_matches(kind, CALLOUTS, 1)
                fix = f"did you mean `callout-{near[0]}`?" if near else f"known are {', '.join(f'callout-{k}' for k in CALLOUTS)}"
                self.problem(f"there is no callout `callout-{kind}`", fix, f"callout-{kind}")
        for key, value in keys:
            if key not in CALLOUT_OPTIONS:
                self.problem(f"callouts have no option `{key}`", f"known are {', '.join(CALLOUT_OPTIONS)}", key)
            elif CALLOUT_OPTIONS[key] is not None and value not in CALLOUT_OPTIONS[key]:
                fix = f"write one of {', '.join(sorted(CALLOUT_OPTIONS[key]))}"
                self.problem(f"`{key}` of a callout can't be `{value}`", fix, f"{key}=")
        first = next((block for block in blocks if block["t"] != "RawBlock"), None)
        if first and first["t"] == "Header":
            first["c"][1][1].append("callout-title")

    def tabs(self, blocks: list) -> None:
        levels = [block["c"][0] for block in blocks if block["t"] == "Header"]
        if not levels:
            self.problem("a panel-tabset has no tabs", "begin each tab with a heading", "panel-tabset")
        for block in blocks:
            if block["t"] == "Header" and block["c"][0] == min(levels):
                block["c"][1][1].append("tab-title")

    def float(self, id: str, keys: dict, blocks: list) -> None:
        "A figure or table between `:::`: its last paragraph is the caption."
        what = KINDS[id.split("-")[0]].lower()
        self.define(id)
        if not blocks or blocks[-1]["t"] != "Para" or only_image(blocks[-1]):
            self.problem(f"the {what} `{id}` has no caption", "end its block with a paragraph that says what one sees", id)
        if what == "figure" and not keys.get("fig-alt") and not images_in(blocks):
            self.problem(f"the figure `{id}` has no alt text", "add `fig-alt` with what a reader who can't see it should know", id)

    # Figures, tables and equations in Markdown.
    def on_Figure(self, node: dict) -> None:
        id = node["c"][0][0]
        if not id or not self.known(id, "fig"):
            return
        self.define(id)
        for image in images_in(node["c"][2]):
            if not tree.pairs(image["c"][0]).get("fig-alt"):
                self.problem(f"the figure `{id}` has no alt text", f'write `{{#{id} fig-alt="…"}}` with what one sees', id)

    def on_Image(self, node: dict) -> None:
        attr, inlines, (target, _) = node["c"]
        if not tree.pairs(attr).get("fig-alt") and not tree.text(inlines).strip():
            self.problem(f"the image `{target}` has no alt text", f"write `![what one sees]({target})`", target)

    def on_Table(self, node: dict) -> None:
        id = node["c"][0][0]
        if id and self.known(id, "tbl"):
            self.define(id)
            if not node["c"][1][1]:
                self.problem(f"the table `{id}` has no caption", f"write `: Caption {{#{id}}}` below it", id)

    def on_Para(self, node: dict) -> None:
        node["c"] = self.label_equations(node["c"])

    on_Plain = on_Para

    def label_equations(self, inlines: list) -> list:
        "Turn `$$ … $$ {#eq-x}` into a span that holds the formula."
        if not any(inline["t"] == "Math" for inline in inlines):
            return inlines
        done = []
        for inline in inlines:
            match = re.fullmatch(r"\{#([\w-]+)\}(\W*)", inline["c"]) if inline["t"] == "Str" else None
            formula = [node for node in done[-2:] if node["t"] == "Math" and node["c"][0]["t"] == "DisplayMath"][-1:]
            if not (match and formula) or not self.known(match[1], "eq"):
                done.append(inline)
                continue
            while done.pop() is not formula[0]:
                pass
            self.define(match[1])
            done.append(tree.span(formula, match[1], ("equation",)))
            if match[2]:
                done.append({"t": "Str", "c": match[2]})
        return done

    # What is looked up for the whole book at once.
    def on_Math(self, node: dict) -> None:
        self.doc.math = True
        self.book.formulas[node["c"][1].strip(), node["c"][0]["t"] == "DisplayMath"] = {}

    def on_Cite(self, node: dict) -> list | None:
        if not is_reference(node):
            self.book.citations[citation_key(node)] = node
        return [node]


def only_image(block: dict) -> bool:
    return all(inline["t"] == "Image" for inline in block["c"])


def images_in(blocks: list) -> list[dict]:
    found = []
    tree.transform(blocks, lambda node: found.append(node) if node["t"] == "Image" else None)
    return found


def is_reference(cite: dict) -> bool:
    "Whether `@id` refers to something in the book rather than to a publication."
    return all(citation["citationId"].split("-")[0] in KINDS and "-" in citation["citationId"] for citation in cite["c"][0])


def citation_key(cite: dict) -> str:
    "What a citation's text depends on."
    parts = []
    for citation in cite["c"][0]:
        affixes = [tree.text(citation["citationPrefix"]), tree.text(citation["citationSuffix"])]
        parts.append("|".join([citation["citationId"], citation["citationMode"]["t"], *affixes]))
    return ";".join(parts)

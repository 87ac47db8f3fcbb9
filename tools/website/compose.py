"""Quarto's constructs as HTML: numbered headings, callouts, tabs, code cells, figures, tables, formulas and references.

Each method `on_…` takes a node of pandoc's tree and returns the nodes that replace it; pandoc writes the rest.
"""
from __future__ import annotations

import hashlib
import posixpath
import re

from . import references, tree
from .model import Book, Doc, Heading, Label
from .survey import CALLOUTS, images_in

LOCAL_IMAGES = {".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif"}
LONG_FORMULA = 60  # characters of TeX from which an inline formula may scroll on a phone


class Composer:
    "One page's tree, rewritten in reading order."

    def __init__(self, book: Book, doc: Doc):
        self.book, self.doc = book, doc
        self.tabsets = 0

    def page(self) -> list:
        "The blocks of the finished page."
        self.doc.cell = 0
        blocks = self.inner(self.doc.blocks)
        if self.doc.cited and not self.book.references_page:
            heading = {"t": "Header", "c": [2, ["references", ["unnumbered"], []], tree.words("References")]}
            self.doc.headings.append(Heading(2, "references", "", tree.words("References")))
            blocks += [*self.on_Header(heading), references.list_of(self.book, self.doc.cited)]
        return blocks

    def inner(self, nodes: list) -> list:
        return tree.transform(nodes, self.visit)

    def visit(self, node: dict) -> list | None:
        handler = getattr(self, f"on_{node['t']}", None)
        return handler(node) if handler else None

    # Marks and headings.
    def on_RawBlock(self, node: dict) -> list | None:
        form, content = node["c"]
        if form == tree.CELL:
            self.doc.cell = int(content)
            return [tree.raw(f"<!--cell {content}-->")]
        return [node]

    def on_Header(self, node: dict) -> list:
        level, (id, classes, keys), inlines = node["c"]
        inlines, number = self.inner(inlines), dict(keys).get("number", "")
        if number:
            label = f"{'Appendix' if self.doc.appendix else 'Chapter'} {number}" if level == 1 else number
            inlines = [tree.span(tree.words(label), classes=("number",)), {"t": "Space"}, *inlines]
        if level > 1 and id:
            name = tree.escape(tree.text(node["c"][2]))
            inlines.append(tree.raw_inline(f'<a class="anchor" href="#{id}" aria-label="Link to “{name}”"></a>'))
        return [{"t": "Header", "c": [level, [id, [], []], inlines]}]

    # Divs.
    def on_Div(self, node: dict) -> list | None:
        (id, classes, keys), blocks = node["c"]
        kind = next((name[8:] for name in classes if name.startswith("callout-")), None)
        if kind:
            return self.callout(kind if kind in CALLOUTS else "note", dict(keys), blocks)
        if "panel-tabset" in classes:
            return self.tabset(blocks)
        if id == "refs":
            return [references.list_of(self.book, set(self.book.references))]
        if id in self.book.labels:
            return self.float(self.book.labels[id], blocks, classes)
        return None

    def callout(self, kind: str, options: dict, blocks: list) -> list:
        marks, title = [], None
        for position, block in enumerate(blocks):
            if block["t"] == "Header" and "callout-title" in block["c"][1][1]:
                title = self.inner(block["c"][2])
                blocks = blocks[position + 1 :]
                break
            if block["t"] != "RawBlock":
                break
            marks.append(block)
        named = title or tree.words(options.get("title") or CALLOUTS[kind])
        shown = title or options.get("title") or options.get("appearance") != "simple" and options.get("appearance") != "minimal"
        look = options.get("appearance", "default")
        classes = f"callout callout-{kind} callout-{look}"
        body = [tree.div(self.inner(blocks), classes=("callout-body",))]
        head = {"t": "Plain", "c": named}
        if "collapse" in options:
            opened = "" if options["collapse"] == "true" else " open"
            start = f'<details class="{classes}"{opened}><summary class="callout-title">'
            return [*self.inner(marks), tree.raw(start), head, tree.raw("</summary>"), *body, tree.raw("</details>")]
        title_block = [tree.raw('<p class="callout-title">'), head, tree.raw("</p>")] if shown else []
        return [*self.inner(marks), tree.raw(f'<div class="{classes}">'), *title_block, *body, tree.raw("</div>")]

    def tabset(self, blocks: list) -> list:
        "Tabs as sections with titles; book.js makes them tabs."
        self.tabsets += 1
        out, open_tab = [tree.raw('<div class="tabset">')], False
        for block in blocks:
            if block["t"] == "Header" and "tab-title" in block["c"][1][1]:
                out.append(tree.raw(("</section>" if open_tab else "") + '<section class="tab"><p class="tab-title">'))
                out += [{"t": "Plain", "c": self.inner(block["c"][2])}, tree.raw("</p>")]
                open_tab = True
            else:
                out += self.inner([block])
        return [*out, tree.raw("</section></div>" if open_tab else "</div>")]

    # Figures and tables.
    def float(self, label: Label, blocks: list, classes: list) -> list:
        "A `::: {#fig-x}` or `::: {#tbl-x}` block, whose last paragraph is the caption."
        caption = []
        if blocks and blocks[-1]["t"] == "Para":
            blocks, caption = blocks[:-1], blocks[-1]["c"]
        return self.figure(label, self.inner(blocks), self.inner(caption))

    def figure(self, label: Label | None, content: list, caption: list) -> list:
        table = label.kind == "tbl" if label else any(block["t"] == "Div" for block in content)
        number = []
        if label:
            number = [tree.span(tree.words(f"{label.name} {label.number}:"), classes=("float-number",)), {"t": "Space"}]
        captioned = [tree.raw("<figcaption>"), {"t": "Plain", "c": [*number, *caption]}, tree.raw("</figcaption>")]
        body = [tree.div(content, classes=("float-body",))]
        id = f' id="{label.id}"' if label else ""
        start = tree.raw(f'<figure{id} class="{"float-table" if table else "float-figure"}">')
        return [start, *(captioned + body if table else body + captioned), tree.raw("</figure>")]

    def on_Figure(self, node: dict) -> list:
        (id, _, _), (_, caption), blocks = node["c"]
        for image in images_in(blocks):
            image["c"][1] = []  # its words are the caption; the alt text is `fig-alt`, or else these words too
            keys = image["c"][0][2]
            if "fig-alt" not in dict(keys):
                keys.append(["fig-alt", tree.text(caption)])
        inlines = [inline for block in caption for inline in block["c"]]
        return self.figure(self.book.labels.get(id), self.inner(blocks), self.inner(inlines))

    def on_Image(self, node: dict) -> list:
        (id, classes, keys), inlines, (target, title) = node["c"]
        self.take_image(target)
        keys = dict(keys)
        alt = keys.pop("fig-alt", "") or tree.text(inlines)
        attr = [id, classes, [*map(list, keys.items()), ["loading", "lazy"]]]
        return [{"t": "Image", "c": [attr, [{"t": "Str", "c": alt}], [target, title]]}]

    def take_image(self, target: str) -> None:
        "See that a local image is there and have it copied into the site."
        root = self.book.project.root
        place = posixpath.normpath(posixpath.join(posixpath.dirname(self.doc.path), target))
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.I):
            fix = "put the file beside the notebook: pages make no external request"
            self.problem(f"the image `{target}` comes from the network", fix, target)
        elif place.startswith("..") or target.startswith("/"):
            self.problem(f"the image `{target}` lies outside the book", "put it beside the notebook", target)
        elif posixpath.splitext(place)[1].lower() not in LOCAL_IMAGES:
            self.problem(f"`{target}` is not an image", f"use one of {', '.join(sorted(LOCAL_IMAGES))}", target)
        elif not (root / place).is_file():
            self.problem(f"the image `{target}` does not exist", f"add {place}, or correct the path", target)
        else:
            self.book.images[place] = hashlib.sha256((root / place).read_bytes()).hexdigest()

    def on_Table(self, node: dict) -> list:
        attr, caption, columns, *rest = node["c"]
        columns = [[align, {"t": "ColWidthDefault"}] for align, _ in columns]
        label = self.book.labels.get(attr[0])
        inlines = self.inner([inline for block in caption[1] for inline in block["c"]])
        plain = {"t": "Table", "c": [["", attr[1], []], [None, []], columns, *self.inner(rest)]}
        scroller = tree.div([plain], classes=("scroll",))
        return self.figure(label, [scroller], inlines) if inlines else [scroller]

    # Code.
    def on_CodeBlock(self, node: dict) -> list:
        (id, classes, keys), code = node["c"]
        options = dict(keys)
        language = [name for name in classes if name != "cell-code"]
        block = {"t": "CodeBlock", "c": [[id, language, []], code]}
        if "cell-code" not in classes:
            return [block]
        fold = options.get("code-fold", "false")
        if fold == "false":
            return [tree.div([block], classes=("cell",))]
        summary = tree.escape(options.get("code-summary", "Code"))
        opened = " open" if fold == "show" else ""
        start = f'<details class="cell fold"{opened}><summary>{summary}</summary>'
        return [tree.raw(start), block, tree.raw("</details>")]

    # Inline.
    def on_Math(self, node: dict) -> list:
        tex, display = node["c"][1].strip(), node["c"][0]["t"] == "DisplayMath"
        result = self.book.formulas.get((tex, display), {})
        if "html" not in result:
            reason = result.get("error", "not typeset").removeprefix("KaTeX parse error: ")
            self.problem(f"KaTeX does not read `{tex[:80]}`: {reason}", "correct the TeX", tex.split("\n")[0])
            return [tree.raw_inline(f"<code>{tree.escape(tex)}</code>")]
        if display:
            return [tree.raw_inline(f'<span class="math-display scroll">{result["html"]}</span>')]
        long = len(tex) > LONG_FORMULA
        return [tree.raw_inline(f'<span class="math-long">{result["html"]}</span>' if long else result["html"])]

    def on_Span(self, node: dict) -> list | None:
        (id, classes, _), inlines = node["c"]
        if "equation" not in classes:
            return None
        number = self.book.labels[id].number
        shown = tree.raw_inline(f'<span class="equation-number">({number})</span>')
        return [tree.span([*self.inner(inlines), shown], id, ("equation",))]

    def on_Cite(self, node: dict) -> list:
        return references.resolve(self.book, self.doc, node)

    def on_Link(self, node: dict) -> list:
        attr, inlines, (target, title) = node["c"]
        path, mark, anchor = target.partition("#")
        if not re.match(r"[a-z][a-z0-9+.-]*:|/", path, re.I) and path.endswith((".ipynb", ".qmd")):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(self.doc.path), path))
            found = next((doc for doc in self.book.docs if doc.path == place), None)
            if found:
                target = ("" if found is self.doc and anchor else self.doc.href(found.url)) + mark + anchor
        return [{"t": "Link", "c": [["", attr[1], attr[2]], self.inner(inlines), [target, title]]}]

    def problem(self, message: str, fix: str, find: str = "") -> None:
        self.book.report(self.doc, message, fix, find)


def inline_html(book: Book, inlines: list) -> str:
    "A heading's words as HTML, for the table of contents and the sidebar."
    tags = {"Emph": "em", "Strong": "strong"}
    out = []
    for node in inlines:
        kind, content = node["t"], node.get("c")
        if kind == "Code":
            out.append(f"<code>{tree.escape(content[1])}</code>")
        elif kind == "Math":
            out.append(book.formulas.get((content[1].strip(), False), {}).get("html", tree.escape(content[1])))
        elif kind in tags:
            out.append(f"<{tags[kind]}>{inline_html(book, content)}</{tags[kind]}>")
        elif kind in ("Link", "Span"):
            out.append(inline_html(book, content[1]))
        elif kind != "RawInline":
            out.append(tree.escape(tree.text([node])))
    return "".join(out)

"""What the steps of the renderer hand to each other: a `Book` of `Doc`s, and the labels that they define."""
from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from project import Origin, Problem, Project

KINDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}  # prefixes of labels


@dataclass
class Heading:
    level: int
    id: str
    number: str
    inlines: list


@dataclass
class Label:
    "Something that `@id` can refer to."

    id: str
    kind: str  # one of KINDS
    number: str  # "" where it has none
    url: str  # the page that it is on
    origin: Origin
    title: list = field(default_factory=list)  # of a section
    name: str = ""  # "Chapter", "Figure", … as it stands in a reference


@dataclass
class Doc:
    "A page on its way to HTML."

    page: object
    blocks: list
    appendix: bool = False
    number: str = ""  # "3", "A", or "" when its heading is unnumbered
    title: list = field(default_factory=list)
    summary: str = ""  # the line quoted under the title
    headings: list[Heading] = field(default_factory=list)
    cited: set[str] = field(default_factory=set)
    cell: int = 0  # position of the cell that is being looked at
    math: bool = False

    @property
    def path(self) -> str:
        return self.page.path

    @property
    def url(self) -> str:
        return url_of(self.page.path)

    @property
    def origin(self) -> Origin:
        "The cell that is being looked at."
        cells = self.page.cells
        return cells[min(self.cell, len(cells) - 1)].origin if cells else Origin(self.page.path)

    @property
    def generated(self) -> bool:
        "Whether that cell was made from an output."
        return self.origin.id.endswith("-output")

    def href(self, url: str) -> str:
        "The way from this page to another file of the site."
        return posixpath.relpath(url, posixpath.dirname(self.url) or ".")


@dataclass
class Book:
    "All pages, and everything that one page must know about the others."

    project: Project
    docs: list[Doc] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    formulas: dict[tuple[str, bool], dict] = field(default_factory=dict)  # (TeX, display) → {"html"} or {"error"}
    citations: dict[str, dict] = field(default_factory=dict)  # key → Cite node, later its inline nodes
    entries: list[dict] = field(default_factory=list)  # of the bibliography
    references: dict[str, dict] = field(default_factory=dict)  # bibliography key → block in the list of references
    references_page: Doc | None = None
    images: dict[str, str] = field(default_factory=dict)  # where on the site → sha256
    katex: Path | None = None  # the folder that the formulas were typeset with
    problems: list[Problem] = field(default_factory=list)

    def report(self, doc: Doc, message: str, fix: str = "", find: str = "") -> None:
        "Note a problem in the cell that `doc` is at; `find` is a piece of its source, to name the line."
        cell = doc.page.cells[doc.cell] if doc.page.cells else None
        rows = cell.source.splitlines() if cell else []
        line = next((n for n, row in enumerate(rows, 1) if find and find in row), None)
        source = "\n".join(shortened(row, find) for row in rows)
        self.problems.append(Problem(doc.origin, message, fix, line, source))


def shortened(row: str, find: str, width: int = 110) -> str:
    "The part of a long line that is around `find`: paragraphs are often written as one line."
    if len(row) <= width:
        return row
    start = max(0, row.find(find) - width // 2)
    return ("…" if start else "") + row[start : start + width] + ("…" if start + width < len(row) else "")


def url_of(path: str) -> str:
    "Where a source file's page is on the site: `nbs/10_layers.ipynb` is `nbs/10_layers.html`."
    return posixpath.splitext(path)[0] + ".html"

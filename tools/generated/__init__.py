"""Pages that are computed from the book: each function returns the Markdown that fills a `::: {#generated-NAME}` block.

A function that finds something wrong in the book raises `BuildError`.
"""
from __future__ import annotations

from collections.abc import Callable

from .book import Book
from .build import cost_figure, costs, summary, versions
from .cover import cover
from .glossary import glossary
from .paths import contents, paths
from .reference import reference
from .stairs import stairs

PAGES: dict[str, Callable[[Book], str]] = {
    "build-summary": summary,
    "build-figure": cost_figure,
    "build-costs": costs,
    "build-versions": versions,
    "contents": contents,
    "cover": cover,
    "glossary": glossary,
    "paths": paths,
    "reference": reference,
    "stairs": stairs,
}

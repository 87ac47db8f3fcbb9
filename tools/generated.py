"""Pages that are computed from the book: each function returns the Markdown that fills a `::: {#generated-NAME}` block."""
from __future__ import annotations

import ast
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from cells import EXPORTED, code_of, directives_of, parse, source_of
from notebook_filter import Context
from project import Chapter, Project


@dataclass
class Book:
    "All that is known once every chapter has run."

    project: Project
    notebooks: dict[str, dict]  # executed, by path
    runs: dict[str, object]  # `execute.Run` by path
    cost: dict[str, dict]  # by chapter name
    context: Context

    def title(self, chapter: Chapter) -> str:
        text = next(source_of(cell) for cell in self.notebooks[chapter.path]["cells"] if cell["cell_type"] == "markdown")
        return text.splitlines()[0].lstrip("# ").split(" {#")[0]


def reference(book: Book) -> str:
    "Every public symbol with its signature as written, its docstring, and the place that builds it."
    parts = []
    for chapter in sorted(book.project.chapters, key=lambda chapter: chapter.number):
        entries = []
        for cell in book.notebooks[chapter.path]["cells"]:
            entries += symbol_entries(cell, chapter)
        if entries:
            module = f"{book.project.lib_name}.{chapter.name}"
            parts.append(f"## `{module}` {{#ref-{chapter.name}}}\n\nBuilt in [{book.title(chapter)}]({chapter.path}).")
            parts += entries
    return "\n\n".join(parts)


def symbol_entries(cell: dict, chapter: Chapter) -> list[str]:
    "One entry for each function and class that a cell exports."
    if cell["cell_type"] != "code":
        return []
    source = code_of(source_of(cell))
    bare = {name for _, name, value in directives_of(source_of(cell)) if value is None}
    tree = parse(source) if "export" in bare & EXPORTED else None
    entries = []
    for node in tree.body if tree else ():
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            doc = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            link = f"[where it is built]({chapter.path}#api-{node.name})"
            entries.append(
                f"### `{node.name}` {{#ref-{chapter.name}-{node.name}}}\n\n"
                f"```python\n{signature(source, node)}\n```\n\n{doc} ({link})"
            )
    return entries


def signature(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    "The lines of a definition up to its body, docments included; for a class, those of `__init__` and the public methods."
    lines = source.splitlines()

    def header(definition: ast.AST) -> str:
        body = definition.body[0]
        first = body.lineno - (len(body.decorator_list) if isinstance(body, (ast.FunctionDef, ast.ClassDef)) else 0)
        last = first - 1 if first > definition.lineno else definition.lineno
        while last > definition.lineno and not lines[last - 1].split("#")[0].rstrip().endswith(":") and not lines[last - 1].strip():
            last -= 1
        return "\n".join(lines[definition.lineno - 1 : last]).rstrip()

    if isinstance(node, ast.FunctionDef):
        return header(node)
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and (m.name == "__init__" or not m.name.startswith("_"))]
    fields = [ast.get_source_segment(source, n) for n in node.body if isinstance(n, ast.AnnAssign)]
    return "\n".join([lines[node.lineno - 1], *(f"    {text}" for text in fields), *map(header, methods)])


def build(book: Book) -> str:
    "How this build went: what ran, what it cost, with which versions."
    rows = ["| chapter | code cells | checks | CPU-seconds | peak memory |", "|:--|--:|--:|--:|--:|"]
    chapters = {chapter.name: chapter for chapter in book.project.chapters}
    for name, spent in book.cost.items():
        title = f"[{book.title(chapters[name])}]({chapters[name].path})"
        rows.append(f"| {title} | {spent['cells']} | {spent['checks']} | {spent['cpu_s']:.1f} | {spent['mem_bytes'] / 2**20:.0f} MB |")
    total = {key: sum(spent[key] for spent in book.cost.values()) for key in ("cells", "checks", "cpu_s")}
    peak = max((spent["mem_bytes"] for spent in book.cost.values()), default=0)
    rows.append(f"| **all** | **{total['cells']}** | **{total['checks']}** | **{total['cpu_s']:.1f}** | **{peak / 2**20:.0f} MB** |")
    versions = ["| software | version |", "|:--|:--|", f"| Python | {platform.python_version()} on {platform.system()} ({platform.machine()}) |"]
    versions += [f"| {name} | {version} |" for name in ("torch", "numpy", "nbdev", "nbclient", "matplotlib", "pypandoc_binary") if (version := installed(name))]
    return "\n".join(rows) + "\n\n" + "\n".join(versions)


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


PAGES: dict[str, Callable[[Book], str]] = {"reference": reference, "build": build}

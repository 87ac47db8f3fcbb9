"""The reference: every public name of the package as it is written, and the place that builds it."""
from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from cells import EXPORTED, code_of, directives_of, parse, source_of
from project import Chapter

from .book import Book, heading_text

LONGEST_VALUE = 6  # lines of a constant's value that are shown
CODE = re.compile(r"(`[^`]*`|\$[^$\s](?:[^$\n]*[^$\s])?\$)")


@dataclass
class Symbol:
    "A public name and what is shown of it."

    name: str
    code: str  # as written, without bodies
    words: str  # its docstring, as Markdown
    section: str  # heading under which it is built


def reference(book: Book) -> str:
    "All modules in the order in which they may import each other."
    parts = []
    for chapter in sorted(book.project.chapters, key=lambda chapter: chapter.number):
        if symbols := symbols_of(book.notebooks[chapter.path]):
            parts += [module(book, chapter, symbols), *(entry(chapter, symbol) for symbol in symbols)]
    return "\n\n".join(parts)


def module(book: Book, chapter: Chapter, symbols: list[Symbol]) -> str:
    "The head of a module: where it is built, and its names in alphabetical order."
    names = sorted((symbol.name for symbol in symbols), key=str.casefold)
    index = " · ".join(f"[`{name}`](#ref-{chapter.name}-{name})" for name in names)
    return f"## `{book.project.lib_name}.{chapter.name}` {{#ref-{chapter.name}}}\n\nBuilt in {book.link(chapter)}.\n\n{index}"


def entry(chapter: Chapter, symbol: Symbol) -> str:
    where = f"[{symbol.section}]({chapter.path}#api-{symbol.name})"
    body = f"### `{symbol.name}` {{#ref-{chapter.name}-{symbol.name}}}\n\n```python\n{symbol.code}\n```"
    return "\n\n".join(filter(None, [body, symbol.words, f"[Built in {where}]{{.where}}"]))


def symbols_of(nb: dict) -> list[Symbol]:
    "The public functions, classes and constants that a notebook exports, in the order in which it does."
    found, section = [], ""
    for cell in nb["cells"]:
        text = source_of(cell)
        if cell["cell_type"] == "markdown":
            section = next((heading_text(line) for line in reversed(text.splitlines()) if re.match(r"#{1,3} ", line)), section)
        elif cell["cell_type"] == "code" and {name for _, name, value in directives_of(text) if value is None} & {"export"} & EXPORTED:
            source = code_of(text)
            tree = parse(source)
            found += [symbol for node in (tree.body if tree else ()) if (symbol := symbol_of(node, source, section))]
    return found


def symbol_of(node: ast.AST, source: str, section: str) -> Symbol | None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        name, code, words = node.name, definition(node, source.splitlines()), prose(ast.get_docstring(node) or "")
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(target := getattr(node, "target", None) or node.targets[0], ast.Name):
        name, code, words = target.id, constant(node, source.splitlines()), ""
    else:
        return None
    return None if name.startswith("_") else Symbol(name, code, words, section)


def constant(node: ast.AST, lines: list[str]) -> str:
    rows = lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(rows if len(rows) <= LONGEST_VALUE else [*rows[: LONGEST_VALUE - 1], "    …"])


def definition(node: ast.AST, lines: list[str]) -> str:
    "A definition without its body; of a class its fields and its public methods, each with the first line of what it says."
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    if not isinstance(node, ast.ClassDef):
        return "\n".join(lines[first - 1 : header_end(node, lines)])
    rows = [*lines[first - 1 : header_end(node, lines)]]
    for part in node.body:
        if isinstance(part, (ast.AnnAssign, ast.Assign)):
            rows += lines[part.lineno - 1 : part.end_lineno]
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and (part.name in ("__init__", "__call__") or not part.name.startswith("_")):
            said = (ast.get_docstring(part) or "").split("\n")[0]
            rows += ["", definition(part, lines), *([f'{" " * (part.col_offset + 4)}"{said}"'] if said else [])]
    return "\n".join(rows)


def header_end(node: ast.AST, lines: list[str]) -> int:
    "The last line of `def …:` or `class …:`, with the comment that may follow it."
    body = node.body[0]
    start = min([body.lineno, *(decorator.lineno for decorator in getattr(body, "decorator_list", []))])
    if start == node.lineno:
        return start
    end = start - 1
    while end > node.lineno and not lines[end - 1].split("#")[0].rstrip().endswith(":"):
        end -= 1
    return end


def prose(docstring: str) -> str:
    "A docstring as Markdown: outside of code and formulas its characters stand for themselves."
    pieces = CODE.split(docstring)
    plain = [re.sub(r"([\\*_<>@\[\]{}|#~^])", r"\\\1", piece) if n % 2 == 0 else piece for n, piece in enumerate(pieces)]
    return re.sub(r"\n[ \t]+", "\n", "".join(plain))

"""What the tools ask of a cell's text. Standard library only, because Quarto runs the filter with any Python."""
from __future__ import annotations

import ast
import re

BARE = {"export", "exporti", "exports", "default_exp", "hide", "slow", "gpu", "notest"}
EXPORTED = {"export", "exporti", "exports"}
OPTIONS = {"label", "fig-cap", "fig-alt", "tbl-cap", "code-fold", "code-summary", "echo", "eval", "output"}

# Text in which nothing is replaced: fenced code, inline code, math, links with their targets, headings.
FENCE = r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[`~]*[ \t]*$"
INLINE = r"(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)(?P<attr>\{[^}]*\})?"
MATH = r"\$\$.*?\$\$|(?<![\\$\w])\$(?=\S)[^$\n]*?(?<=\S)\$(?!\d)"
LINK = r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)\n]*\)"
HEADING = r"^#{1,6} [^\n]*$"
PIECES = re.compile(f"(?P<fenced>{FENCE})|(?P<heading>{HEADING})|(?P<link>{LINK})|(?P<inline>{INLINE})|(?P<math>{MATH})", re.M | re.S)


def source_of(cell: dict) -> str:
    "A cell's text, which the format allows to be a string or a list of lines."
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def head_of(source: str) -> int:
    "How many lines of directives (and blanks) a code cell begins with."
    lines = source.splitlines()
    return next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#|")), len(lines))


def directives_of(source: str) -> list[tuple[int, str, str | None]]:
    "`(line, name, value)` of each: `#| export` is `(1, 'export', None)`, `#| label: fig-x` is `(1, 'label', 'fig-x')`."
    found = []
    for n, line in enumerate(source.splitlines()[: head_of(source)], start=1):
        if line.startswith("#|"):
            name, colon, value = line[2:].strip().partition(":")
            if not colon and name.startswith("default_exp "):
                name, value, colon = "default_exp", name.split(None, 1)[1], ":"
            found.append((n, name.strip(), value.strip() if colon else None))
    return found


def code_of(source: str) -> str:
    "A code cell without its directives."
    return "\n".join(source.splitlines()[head_of(source) :])


def parse(source: str) -> ast.Module | None:
    "The syntax tree of a cell, lines of IPython's magic left out; None where it isn't Python."
    plain = "\n".join("" if re.match(r"\s*[%!]", line) else line for line in source.splitlines())
    try:
        return ast.parse(plain)
    except (SyntaxError, ValueError):
        return None


def defined_names(tree: ast.Module) -> set[str]:
    "Names that code binds at its top level."
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def public_names(tree: ast.Module) -> set[str]:
    "Functions, classes and constants that a cell adds to its module's public face: imports and `_names` are not."
    own = ast.Module([node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))], [])
    return {name for name in defined_names(own) if not name.startswith("_")}

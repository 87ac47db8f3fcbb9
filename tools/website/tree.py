"""Pandoc's document tree, as JSON gives it: nodes are `{"t": type, "c": content}`, `Attr` is `[id, classes, pairs]`."""
from __future__ import annotations

import html
import re
from typing import Callable

LEAVES = {"Str", "Space", "SoftBreak", "LineBreak", "Code", "Math", "CodeBlock", "RawInline", "RawBlock"}  # hold no nodes
CELL = "cell"  # format of the raw blocks that mark where a cell begins: their text is the cell's position on the page


def transform(tree, visit: Callable[[dict], list | None]):
    """Rebuild `tree` in reading order: `visit(node)` returns what replaces a node, or None to go on inside it."""
    if isinstance(tree, list):
        rebuilt = []
        for item in tree:
            kind = item.get("t") if isinstance(item, dict) else None
            new = visit(item) if kind else None
            if new is not None:
                rebuilt.extend(new)
            else:
                rebuilt.append(item if kind in LEAVES else transform(item, visit))
        return rebuilt
    if isinstance(tree, dict):
        return {key: transform(value, visit) if isinstance(value, (list, dict)) else value for key, value in tree.items()}
    return tree


def text(tree) -> str:
    "The words of some nodes, without any markup."
    if isinstance(tree, list):
        return "".join(map(text, tree))
    if not isinstance(tree, dict):
        return ""
    kind, content = tree.get("t"), tree.get("c")
    if kind == "Str":
        return content
    if kind in ("Space", "SoftBreak", "LineBreak"):
        return " "
    if kind in ("Code", "Math"):
        return content[1]
    if kind == "Quoted":
        left, right = ("‘", "’") if content[0]["t"] == "SingleQuote" else ("“", "”")
        return left + text(content[1]) + right
    if kind in ("Note", "RawInline", "RawBlock"):
        return ""
    return text(content) if isinstance(content, list) else ""


def words(string: str) -> list[dict]:
    "A plain string as inline nodes."
    parts = re.split(r"( )", string)
    return [{"t": "Space"} if part == " " else {"t": "Str", "c": part} for part in parts if part]


def raw(markup: str) -> dict:
    return {"t": "RawBlock", "c": ["html", markup]}


def raw_inline(markup: str) -> dict:
    return {"t": "RawInline", "c": ["html", markup]}


def span(inlines: list, id: str = "", classes: tuple = ()) -> dict:
    return {"t": "Span", "c": [[id, list(classes), []], inlines]}


def div(blocks: list, id: str = "", classes: tuple = (), pairs: tuple = ()) -> dict:
    return {"t": "Div", "c": [[id, list(classes), [list(pair) for pair in pairs]], blocks]}


def link(inlines: list, target: str, classes: tuple = (), pairs: tuple = ()) -> dict:
    return {"t": "Link", "c": [["", list(classes), [list(pair) for pair in pairs]], inlines, [target, ""]]}


def pairs(attr: list) -> dict[str, str]:
    "The `key=value` pairs of an attribute."
    return dict(attr[2])


def escape(string: str) -> str:
    return html.escape(string, quote=True)

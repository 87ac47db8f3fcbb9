"""From an executed notebook to what both renderers see: plain Markdown and clean code, outputs written as Markdown.

Standard library only: `_quarto.yml` names this file as an `ipynb-filters` entry, so that plain `quarto preview` on a
checkout shows much the same. There it reads a notebook on standard input; what it knows about the rest of the book
comes from `_executed/context.json`, which the last build left. A staged copy has been through it and passes unchanged.
"""
from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cells import EXPORTED, PIECES, code_of, directives_of, parse, public_names, source_of
from terms import anchored, terms

RECORD = "application/vnd.llm-book.record+json"
STAGED = "llm-book-staged"

KEY = re.compile(r"\{\{([^{}\s]+)\}\}")
SECTION = re.compile(r"(?<![\w@\\])-?@(sec-[A-Za-z0-9][\w-]*[\w])")


@dataclass
class Context:
    "What a page may refer to, beyond itself. Everything is plain JSON."

    values: dict[str, str] = field(default_factory=dict)  # "seconds:layers" -> "12", for all pages
    names: dict[str, list[str]] = field(default_factory=dict)  # "RMSNorm" -> ["nbs/10_layers.ipynb", "api-RMSNorm"]
    planned: dict[str, str] = field(default_factory=dict)  # "sec-train" -> "Training"
    unnumbered: dict[str, list[str]] = field(default_factory=dict)  # "sec-overview" -> [page, title]
    colors: dict[str, str] = field(default_factory=dict)  # "#1a1a2e" -> "currentColor"
    strict: bool = True  # unknown keys are told to `problem`; otherwise they show as an ellipsis


Problems = Callable[[int, str, str], None]  # (cell index from 1, message, fix)


def filter_notebook(nb: dict, page: str, context: Context, problem: Problems) -> list[dict]:
    "The cells of an executed notebook as a reader sees them; each keeps `index`, its place in the notebook."
    values = {**context.values, **recorded(nb)}
    exercises = is_exercises(nb)
    explained = {} if exercises or not page.endswith(".ipynb") else terms(nb)
    cells = []
    for index, cell in enumerate(nb["cells"], start=1):
        if cell["cell_type"] == "markdown":
            text = anchored(source_of(cell), explained.get(index, []))
            text = filter_markdown(text, page, context, values, lambda m, f, n=index: problem(n, m, f))
            cells.append(markdown(cell["id"], index, unnumbered_exercises(text) if exercises else subtitle(text)))
        elif cell["cell_type"] == "code":
            cells += filter_code(cell, index, context, lambda m, f, n=index: problem(n, m, f))
    return cells


def markdown(id: str, index: int, text: str) -> dict:
    return {"cell_type": "markdown", "id": id, "index": index, "source": text}


def recorded(nb: dict) -> dict[str, str]:
    "What the cells gave to `record`."
    found = {}
    for cell in nb["cells"]:
        for output in cell.get("outputs", ()):
            if entry := output.get("data", {}).get(RECORD):
                entry = json.loads(entry) if isinstance(entry, str) else entry
                found[entry["key"]] = str(entry["value"])
    return found


# Prose


def subtitle(text: str) -> str:
    "The quoted line under a chapter's title is its subtitle."
    return re.sub(r"\A(# [^\n]+\n)\s*\n?> ([^\n]+)", r"\1\n::: {.subtitle}\n\2\n:::", text)


def is_exercises(nb: dict) -> bool:
    modules = (value for cell in nb["cells"] if cell["cell_type"] == "code" for _, name, value in directives_of(source_of(cell)) if name == "default_exp")
    return any((value or "").startswith("exercises.") for value in modules)


def unnumbered_exercises(text: str) -> str:
    "Exercises have names of their own: `### layers.3 ★★ Title` gets no section number in front of it."
    return re.sub(r"^(### [a-z][a-z0-9_]*\.\d+ [^\n{]*?)[ \t]*$", r"\1 {.unnumbered}", text, flags=re.M)


def filter_markdown(text: str, page: str, context: Context, values: dict, problem: Callable[[str, str], None]) -> str:
    "Values for `{{key}}`, links for names of the package, titles for chapters that have no number."

    def value(match: re.Match) -> str:
        if match[1] in values:
            return values[match[1]]
        if context.strict:
            near = ", ".join(sorted(key for key in values if ":" not in key)) or "none"
            problem(f"`{{{{{match[1]}}}}}` is a value that no cell recorded", f"record it: `record(\"{match[1]}\", …)`; recorded on this page: {near}")
        return "…"

    def section(match: re.Match) -> str:
        if match[1] in context.planned:
            return f"*{context.planned[match[1]]}* (to come)"
        if match[1] in context.unnumbered:
            target, title = context.unnumbered[match[1]]
            return f"[{title}]({relative(page, target)}#{match[1]})" if target != page else title
        return match[0]

    def piece(match: re.Match) -> str:
        if match["inline"]:
            return name_link(match, page, context)
        if match["math"]:
            return KEY.sub(lambda m: values.get(m[1], m[0]), match[0])
        return KEY.sub(value, match[0]) if match["heading"] or match["link"] else match[0]

    out, end = [], 0
    for match in PIECES.finditer(text):
        out += [SECTION.sub(section, KEY.sub(value, text[end : match.start()])), piece(match)]
        end = match.end()
    return "".join([*out, SECTION.sub(section, KEY.sub(value, text[end:]))])


def name_link(match: re.Match, page: str, context: Context) -> str:
    "`` `RMSNorm` `` as a link to where it is defined."
    target = None if match["attr"] else context.names.get(match["code"].removesuffix("()"))
    return f"[{match[0]}]({relative(page, target[0])}#{target[1]})" if target else match[0]


def relative(page: str, target: str) -> str:
    "The path from one page to another, as written in a link."
    if page == target:
        return ""
    here, there = page.split("/")[:-1], target.split("/")
    while here and there[:-1] and here[0] == there[0]:
        here, there = here[1:], there[1:]
    return "/".join([".."] * len(here) + there)


# Code and outputs


def filter_code(cell: dict, index: int, context: Context, problem: Callable[[str, str], None]) -> Iterator[dict]:
    "The code without its directives, preceded by anchors for what it exports, followed by its outputs."
    source = source_of(cell)
    options = {name: unquote(value) for _, name, value in directives_of(source) if value is not None}
    bare = {name for _, name, value in directives_of(source) if value is None}
    code = code_of(source).strip("\n")
    if "hide" in bare or "default_exp" in options:
        return
    if bare & EXPORTED and (tree := parse(code)):
        names = sorted(public_names(tree)) if "export" in bare else []
        if names:
            yield markdown(cell["id"] + "-api", index, "".join(f"[]{{#api-{name}}}" for name in names))
    if code and options.get("echo") != "false":
        kept = "".join(f"#| {name}: {options[name]}\n" for name in ("code-fold", "code-summary") if name in options)
        yield {"cell_type": "code", "id": cell["id"], "index": index, "source": kept + code}
    if options.get("output") != "false":
        text = "\n\n".join(filter(None, outputs(cell, options, context, problem)))
        if text:
            yield markdown(cell["id"] + "-output", index, text)


def unquote(value: str) -> str:
    "An option's value without YAML's quotes."
    if len(value) > 1 and value[0] == value[-1] == '"':
        return json.loads(value)
    return value[1:-1].replace("''", "'") if len(value) > 1 and value[0] == value[-1] == "'" else value


def outputs(cell: dict, options: dict, context: Context, problem: Callable[[str, str], None]) -> Iterator[str]:
    "Each output as Markdown; the one that the cell's label means, as a numbered figure or table."
    label = options.get("label", "")
    blocks = [block for output in cell.get("outputs", ()) if (block := output_block(output, cell["id"], options, context))]
    shown = [block for kind, block in blocks if kind == "figure"]
    if shown and not options.get("fig-alt"):
        problem("a figure without alt text", "say what it shows, for somebody who can't see it: `#| fig-alt: \"…\"`")
    main = next((n for n, (kind, _) in enumerate(blocks) if kind == ("figure" if label.startswith("fig-") else "table")), None)
    if label and main is None and cell.get("outputs"):
        problem(f"the label `{label}` is on a cell that shows no figure or table", "end the cell with the figure or table")
    for n, (_, block) in enumerate(blocks):
        caption = options.get("fig-cap") or options.get("tbl-cap") or ""
        alt = f' fig-alt="{escape(options["fig-alt"])}"' if "fig-alt" in options else ""
        yield f"::: {{#{label}{alt}}}\n{block}\n\n{caption}\n:::" if label and n == main else block


def output_block(output: dict, id: str, options: dict, context: Context) -> tuple[str, str] | None:
    "`(kind, Markdown)` of one output; None for what is not shown."
    data = output.get("data", {})
    if output["output_type"] == "stream":
        return "text", text_block(joined(output["text"]))
    if RECORD in data or output["output_type"] == "error":
        return None
    if "image/svg+xml" in data:
        return "figure", raw(inline_svg(joined(data["image/svg+xml"]), id, options.get("fig-alt", ""), context.colors))
    if "image/png" in data:
        image = base64.b64encode(base64.b64decode(joined(data["image/png"]))).decode()
        return "figure", raw(f'<img alt="{escape(options.get("fig-alt", ""))}" src="data:image/png;base64,{image}">')
    if "text/html" in data:
        return "table", raw(joined(data["text/html"]))
    if "text/markdown" in data:
        return "table", joined(data["text/markdown"]).strip()
    return ("text", text_block(joined(data["text/plain"]))) if "text/plain" in data else None


def joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def text_block(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"::: {{.cell-output}}\n{ticks}\n{text}\n{ticks}\n:::" if text else ""


def raw(html: str) -> str:
    "Raw HTML as a block of Markdown. Blank lines would not end it, but backticks could."
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", html)), default=0))
    return f"{ticks}{{=html}}\n{html.strip()}\n{ticks}"


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def inline_svg(svg: str, id: str, alt: str, colors: dict[str, str]) -> str:
    "An SVG made part of the page: it takes the page's ink and palette, and its ids don't meet another figure's."
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"<style[^>]*>\s*\*\s*\{[^}]*\}\s*</style>", "", svg, flags=re.S)
    svg = re.sub(r"<defs>\s*</defs>", "", svg)
    svg = re.sub(r'\bid="', f'id="{id}-', svg)
    svg = re.sub(r"url\(#", f"url(#{id}-", svg)
    svg = re.sub(r'(xlink:href|href)="#', rf'\1="#{id}-', svg)
    for color, variable in colors.items():
        svg = re.sub(re.escape(color) + r"\b", variable, svg, flags=re.I)
    width = re.search(r'<svg[^>]*?\bwidth="([\d.]+)pt"', svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1), count=1)
    size = f' style="width:{float(width[1]) * 4 / 3:.0f}px"' if width else ""
    svg = re.sub(r"\n\s*", "\n", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"{size}', 1)


# As Quarto's ipynb-filter


def staged_notebook(cells: list[dict], nb: dict) -> dict:
    "A notebook of filtered cells, which this filter passes unchanged."
    plain = []
    for cell in cells:
        lines = cell["source"].splitlines(keepends=True)
        code = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
        plain.append({"cell_type": cell["cell_type"], "id": cell["id"], "metadata": {}, "source": lines, **code})
    kernel = {"kernelspec": nb.get("metadata", {}).get("kernelspec", {"name": "python3", "display_name": "python3", "language": "python"})}
    return {"cells": plain, "metadata": {**kernel, STAGED: True}, "nbformat": 4, "nbformat_minor": 5}


def find_root(start: Path) -> Path | None:
    return next((folder for folder in (start, *start.parents) if (folder / "settings.ini").is_file()), None)


def with_outputs(nb: dict, root: Path, page: str) -> dict:
    "The notebook with the outputs of the last build, where its code cells are the same."
    stored = root / "_executed" / page
    if not stored.is_file():
        return nb
    old = [cell for cell in json.loads(stored.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    new = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    if [code_of(source_of(cell)) for cell in old] == [code_of(source_of(cell)) for cell in new]:
        for cell, source in zip(new, old, strict=True):
            cell["outputs"] = source["outputs"]
    return nb


def preview(nb: dict, root: Path) -> dict:
    "What Quarto shows for a notebook of the checkout itself, its exercises included."
    file = root / "_executed" / "context.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    context = Context(**{**known, "strict": False})
    module = next((v for c in nb["cells"] if c["cell_type"] == "code" for _, n, v in directives_of(source_of(c)) if n == "default_exp"), "")
    page = next((f"nbs/{file.name}" for file in (root / "nbs").glob("*.ipynb") if file.stem.split("_", 1)[-1] == module), "")
    silent = lambda index, message, fix: None  # noqa: E731
    cells = filter_notebook(with_outputs(nb, root, page), page, context, silent)
    exercises = root / page.replace("nbs/", "nbs/exercises/")
    if page and exercises.is_file():
        more = json.loads(exercises.read_text(encoding="utf-8"))
        cells += filter_notebook(with_outputs(more, root, page.replace("nbs/", "nbs/exercises/")), page, context, silent)
    return staged_notebook(cells, nb)


def main() -> None:
    nb = json.load(sys.stdin.buffer)
    root = find_root(Path.cwd())
    if root and not nb.get("metadata", {}).get(STAGED):
        nb = preview(nb, root)
    json.dump(nb, sys.stdout, indent=1)


if __name__ == "__main__":
    main()

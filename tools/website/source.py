"""From cells to one Markdown text per page, and the faults that only the text shows, such as an unclosed `:::`."""
from __future__ import annotations

import re
from difflib import get_close_matches

from project import Problem

from . import tree

CELL_OPTIONS = {"code-fold": {"true", "false", "show"}, "code-summary": None}  # None: any value
FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")
COLONS = re.compile(r"(\s*)(:{3,})[ \t]*(.*?)[ \t]*$")
OPENS = re.compile(r"(\{[^{}]*\}|[\w-]+)[ \t]*:*")


def markdown(page) -> str:
    "The page's cells as one Markdown text, each preceded by a mark with its position."
    parts = []
    for position, cell in enumerate(page.cells):
        parts.append(f"```{{={tree.CELL}}}\n{position}\n```")
        parts.append(code_block(cell) if cell.kind == "code" else cell.source.strip("\n"))
    return "\n\n".join(parts) + "\n"


def code_block(cell) -> str:
    "A code cell as a fenced block that no backticks inside it can end."
    ticks = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", cell.source))])
    pairs = "".join(f' {key}="{value}"' for key, value in quoted(cell.options) if key in CELL_OPTIONS)
    code = cell.source.strip("\n")
    return f"{ticks} {{.python .cell-code{pairs}}}\n{code}\n{ticks}"


def quoted(options: dict) -> list[tuple[str, str]]:
    "Options with their values as pandoc reads them between quotation marks."
    return [(key, str(value).strip('"').replace("\\", "\\\\").replace('"', '\\"')) for key, value in options.items()]


def problems(page) -> list[Problem]:
    "What is wrong with the text of a page, before pandoc reads it."
    return unknown_options(page) + unbalanced(page) + yaml_headers(page)


def cell_at(text: str, line: int) -> int:
    "Which cell of a page's Markdown a line stands in."
    before = "\n".join(text.split("\n")[:line])
    marks = re.findall(rf"^```\{{={tree.CELL}\}}\n(\d+)$", before, re.M)
    return int(marks[-1]) if marks else 0


def yaml_headers(page) -> list[Problem]:
    fix = "delete it: the title is the page's `# Title`, everything else stands in _quarto.yml"
    return [
        Problem(cell.origin, "a YAML header is not in the book's Markdown", fix, 1, cell.source)
        for cell in page.cells
        if cell.kind == "markdown" and re.match(r"---[ \t]*\n(?!\s*\n)", cell.source)
    ]


def unknown_options(page) -> list[Problem]:
    found = []
    for cell in page.cells:
        for key, value in cell.options.items():
            allowed = CELL_OPTIONS.get(key, ())
            if key not in CELL_OPTIONS:
                near = get_close_matches(key, CELL_OPTIONS, 1)
                fix = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(CELL_OPTIONS))}"
                found.append(Problem(cell.origin, f"the cell option `{key}` is not known", fix))
            elif allowed is not None and str(value).strip('"') not in allowed:
                message = f"the cell option `{key}` can't be `{value}`"
                found.append(Problem(cell.origin, message, f"write one of {', '.join(sorted(allowed))}"))
    return found


def unbalanced(page) -> list[Problem]:
    "Fenced divs that are not closed, closed twice, or indented, and code fences that their cell does not close."
    found, open_divs = [], []
    for cell in page.cells:
        if cell.kind == "markdown":
            found += check_fences(cell, open_divs)
    for cell, line, opening in open_divs:
        fix = "close it with a line `:::` in this cell or a later one"
        found.append(Problem(cell.origin, f"`{opening}` is never closed", fix, line, cell.source))
    return found


def check_fences(cell, open_divs: list) -> list[Problem]:
    "Follow one cell line by line; `open_divs` is the stack of `(cell, line, text)` shared by the page's cells."
    found, fence, fence_line = [], "", 0
    lines = cell.source.splitlines()
    for number, line in enumerate(lines, 1):
        code = FENCE.match(line)
        if fence:
            if code and code[2].startswith(fence) and not code[3].strip():
                fence = ""
        elif code and "`" not in code[3]:
            fence, fence_line = code[2], number
        elif colons := COLONS.match(line):
            before = lines[number - 2] if number > 1 else ""
            found += check_div(cell, number, line, colons, before, open_divs)
    if fence:
        fix = f"end the code with a line `{fence}`"
        found.append(Problem(cell.origin, f"the code fence `` {fence} `` is never closed", fix, fence_line, cell.source))
    return found


def check_div(cell, number: int, line: str, colons, before: str, open_divs: list) -> list[Problem]:
    def problem(message: str, fix: str) -> list[Problem]:
        return [Problem(cell.origin, message, fix, number, cell.source)]

    indent, _, rest = colons.groups()
    if indent:
        return problem("a `:::` line is indented", "move it to the first column, outside of lists and quotes")
    if not rest:
        if not open_divs:
            return problem("this `:::` closes nothing", "delete it, or write the opening line it belongs to")
        open_divs.pop()
        return []
    if not OPENS.fullmatch(rest):
        fix = 'write it as `::: {.callout-note}` or `::: {#fig-x fig-alt="…"}`'
        return problem(f"`{line.strip()}` is not a valid opening", fix)
    open_divs.append((cell, number, line.strip()))
    if before.strip() and not before.startswith(":::"):
        return problem(f"`{line.strip()}` directly follows text", "put an empty line before it")
    return []

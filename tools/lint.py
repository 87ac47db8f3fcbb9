"""What must be true of a notebook before anything is exported or run: each rule is one function over one notebook.

Most of the rules are there because the tools below would stay silent: nbdev exports nothing for `#| export: true`,
overwrites a module that two notebooks claim, and exports code with a syntax error in it.
"""
from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cells import BARE, EXPORTED, OPTIONS, directives_of, head_of, source_of
from project import CHAPTER_FILE, Origin, Problem, Project

CODE_WIDTH = 88
CONFLICT = re.compile(r'^\s*["`]*(<{7}|>{7})(?= |\\n|`|"|$)', re.M)


@dataclass(frozen=True)
class CodeCell:
    "A code cell, its directives apart from its code."

    origin: Origin
    source: str

    @cached_property
    def head(self) -> int:
        return head_of(self.source)

    @cached_property
    def directives(self) -> list[tuple[int, str, str | None]]:
        return directives_of(self.source)

    def has(self, *names: str) -> bool:
        return any(name in names for _, name, _ in self.directives)

    def option(self, wanted: str) -> str | None:
        return next((value for _, name, value in self.directives if name == wanted), None)

    @property
    def exported(self) -> bool:
        return self.has(*EXPORTED)

    @property
    def runs(self) -> bool:
        "Is it executed when the book is built?"
        return not self.has("slow", "gpu", "notest") and self.option("eval") != "false"

    @cached_property
    def python(self) -> str:
        "The code with IPython's magics turned into Python, line for line."
        from IPython.core.inputtransformer2 import TransformerManager

        lines = self.source.splitlines(keepends=True)
        blanked = ["\n"] * self.head + lines[self.head :]
        return TransformerManager().transform_cell("".join(blanked))

    @cached_property
    def tree(self) -> ast.Module | None:
        try:
            return ast.parse(self.python)
        except (SyntaxError, ValueError):
            return None

    def problem(self, message: str, fix: str, line: int | None = None) -> Problem:
        return Problem(self.origin, message, fix, line, self.source)


@dataclass(frozen=True)
class Notebook:
    "A notebook that could be read."

    path: str  # relative to the root
    data: dict

    def origin(self, n: int) -> Origin:
        return Origin(self.path, n, self.data["cells"][n - 1].get("id", ""))

    @cached_property
    def code(self) -> list[CodeCell]:
        return [
            CodeCell(self.origin(n), source_of(cell))
            for n, cell in enumerate(self.data["cells"], start=1)
            if cell["cell_type"] == "code"
        ]

    @property
    def exports_to(self) -> str | None:
        return next((cell.option("default_exp") for cell in self.code if cell.option("default_exp")), None)


# Reading


def read(project: Project, path: str) -> tuple[Notebook | None, list[Problem]]:
    "The notebook, or why it can't be read."
    raw = (project.root / path).read_bytes().decode("utf-8", errors="replace")
    if clash := CONFLICT.search(raw):
        line = raw.count("\n", 0, clash.start()) + 1
        where = origin_of_line(raw, path, line)
        return None, [Problem(where, "has the marks of a merge conflict", "choose one side and delete the marks (CONTRIBUTING, 'Conflicts')", line, raw)]
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:
        where = origin_of_line(raw, path, error.lineno)
        return None, [Problem(where, f"is not valid JSON: {error.msg}", "mend that line, or take the file from git again", error.lineno, raw)]
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list) or not all(isinstance(c, dict) and {"cell_type", "source"} <= c.keys() for c in cells):
        return None, [Problem(Origin(path), "is JSON but not a notebook", "take the file from git again")]
    return Notebook(path, data), []


def origin_of_line(raw: str, path: str, line: int) -> Origin:
    "The cell that a line of the file's text belongs to, as far as a broken file tells."
    above = "\n".join(raw.splitlines()[:line])
    index = above.count('"cell_type":')
    ids = re.findall(r'^   "id": "([^"]+)"', above, re.M)
    return Origin(path, index, ids[-1] if ids else "") if index else Origin(path)


# Rules over one notebook


def check_ids(nb: Notebook) -> Iterator[Problem]:
    fix = f"python tools/hooks.py clean {nb.path}"
    seen: dict[str, int] = {}
    for n, cell in enumerate(nb.data["cells"], start=1):
        if not cell.get("id"):
            yield Problem(nb.origin(n), "the cell has no id, so each export would differ from the last", fix)
        elif seen.setdefault(cell["id"], n) != n:
            yield Problem(nb.origin(n), f"the id '{cell['id']}' is that of cell {seen[cell['id']]} too", "give one of them another id")
    if nb.data.get("nbformat_minor", 0) < 5:
        yield Problem(Origin(nb.path), "is in a notebook format without cell ids (older than 4.5)", fix)


def check_outputs(nb: Notebook) -> Iterator[Problem]:
    for n, cell in enumerate(nb.data["cells"], start=1):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield Problem(
                nb.origin(n),
                "the cell has outputs, which are not committed: the site shows those of the build",
                f"python tools/hooks.py clean {nb.path} (`make hooks` does it at each commit)",
            )
            return


def check_directives(nb: Notebook) -> Iterator[Problem]:
    for cell in nb.code:
        for line, name, value in cell.directives:
            if name in BARE and value is not None and name != "default_exp":
                yield cell.problem(f"`#| {name}: {value}` does nothing: nbdev takes this directive bare", f"write `#| {name}`", line)
            elif name == "error":
                yield cell.problem("`#| error` hides a failing cell from the tests", "catch the exception and assert its message", line)
            elif name.split()[0] in EXPORTED and name not in EXPORTED:
                yield cell.problem(f"exports into another module, `{name.split()[1]}`", "move the cell to that chapter's notebook", line)
            elif name not in BARE | OPTIONS:
                known = ", ".join(sorted(BARE | OPTIONS))
                yield cell.problem(f"`#| {name}` is not a directive of this book", f"use one of {known}", line)
            elif name in OPTIONS and value is None:
                yield cell.problem(f"`#| {name}` needs a value", f"write `#| {name}: …`", line)
        for line, text in enumerate(cell.source.splitlines(), start=1):
            if line > cell.head and text.startswith("#|"):
                yield cell.problem("a directive below code is not seen by nbdev", "move it to the top of the cell", line)


def check_module(project: Project, nb: Notebook) -> Iterator[Problem]:
    "The notebook says which module it is, and its file says the same."
    path = Path(nb.path)
    inside = path.parent.name == "exercises"
    if not CHAPTER_FILE.fullmatch(path.name):
        yield Problem(Origin(nb.path), "is not named like a chapter", "rename it to NN_name.ipynb, NN being two digits")
        return
    expected = ("exercises." if inside else "") + path.stem.split("_", 1)[1]
    named = [(cell, line, value) for cell in nb.code for line, name, value in cell.directives if name == "default_exp"]
    if not named:
        yield Problem(Origin(nb.path), "doesn't say which module it exports to", f"begin a code cell with `#| default_exp {expected}`")
    for cell, line, value in named:
        if value != expected:
            yield cell.problem(f"exports to `{value}`, but its file is named for `{expected}`", f"write `#| default_exp {expected}`", line)


def check_syntax(nb: Notebook) -> Iterator[Problem]:
    for cell in nb.code:
        try:
            ast.parse(cell.python)
        except (SyntaxError, ValueError) as error:
            yield cell.problem(f"SyntaxError: {getattr(error, 'msg', error)}", "mend the syntax", getattr(error, "lineno", None))


def check_width(nb: Notebook) -> Iterator[Problem]:
    "A page shows this many columns of code without a scroll bar."
    for cell in nb.code:
        for line, text in enumerate(cell.source.splitlines(), start=1):
            if line > cell.head and len(text) > CODE_WIDTH and not cell.has("hide"):
                yield cell.problem(f"the line has {len(text)} characters, and pages show {CODE_WIDTH}", "break it, or say it shorter", line)


def check_imports(project: Project, nb: Notebook) -> Iterator[Problem]:
    "Exported code imports by name, and only from chapters before its own."
    number = int(Path(nb.path).stem.split("_", 1)[0])
    inside = Path(nb.path).parent.name == "exercises"
    numbers = {chapter.name: chapter.number for chapter in project.chapters}
    for cell in nb.code:
        if not cell.exported or cell.tree is None:
            continue
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield cell.problem(f"a star import from {node.module}", "name what is imported", node.lineno)
            for module in imported_chapters(node, project.lib_name):
                other = numbers.get(module)
                if other is None:
                    continue
                allowed = other <= number or other >= 90 if inside else other <= number  # its own name: `python -m`
                if not allowed:
                    yield cell.problem(
                        f"imports `{module}` ({other:02}), which comes after this chapter ({number:02})",
                        "import only from chapters with a lower number, or take the part as an argument",
                        node.lineno,
                    )


def imported_chapters(node: ast.AST, lib_name: str) -> Iterator[str]:
    "Names of the book's modules that an import statement names."
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith(lib_name + "."):
                yield alias.name.split(".")[1]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            yield from [module.split(".")[0]] if module else [alias.name for alias in node.names]
        elif module == lib_name:
            yield from (alias.name for alias in node.names)
        elif module.startswith(lib_name + "."):
            yield module.split(".")[1]


# Rules over the book


def check_contents(project: Project) -> Iterator[Problem]:
    "The table of contents names every notebook, and only what is there."
    listed = set(project.pages)
    for page, times in Counter(project.pages).items():
        if times > 1:
            yield Problem(Origin("_quarto.yml"), f"names {page} {times} times", "keep one of them")
        if not (project.root / page).is_file():
            yield Problem(Origin("_quarto.yml"), f"names {page}, which is not there", "write it (`make chapter`) or take it out")
    for file in sorted(project.nbs.glob("*.ipynb")):
        path = project.relative(file)
        if not file.name.startswith("_") and path not in listed:
            yield Problem(Origin(path), "is a notebook that the table of contents does not name", "add it to book: chapters: in _quarto.yml")
    for file in sorted((project.nbs / "exercises").glob("*.ipynb")):
        if not file.name.startswith("_") and not (project.nbs / file.name).is_file():
            yield Problem(Origin(project.relative(file)), f"holds exercises for a chapter that is not there, {file.name}", "rename it like its chapter")


def check_shared_names(project: Project, notebooks: list[Notebook]) -> Iterator[Problem]:
    "No two notebooks claim one module or one number: nbdev would let the second overwrite the first."
    owner: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for nb in notebooks:
        module = nb.exports_to
        if module and module in owner:
            yield Problem(Origin(nb.path), f"exports to `{module}`, as {owner[module]} does: one would overwrite the other", "give one of them another `default_exp`")
        owner.setdefault(module or nb.path, nb.path)
        number = str(Path(nb.path).parent / Path(nb.path).stem.split("_", 1)[0])
        if number in numbers:
            yield Problem(Origin(nb.path), f"has the number of {numbers[number]}", "give it a free number")
        numbers.setdefault(number, nb.path)


def committed(project: Project, path: str) -> bool:
    "Do the outputs stand in the last commit? Outside a git checkout, every file counts as committed."
    git = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=project.root, capture_output=True)
    if git.returncode:
        inside = subprocess.run(["git", "rev-parse", "--verify", "-q", "HEAD"], cwd=project.root, capture_output=True)
        return inside.returncode != 0
    return any(cell.get("outputs") or cell.get("execution_count") for cell in json.loads(git.stdout)["cells"])


def check_style(project: Project, notebooks: list[Notebook]) -> Iterator[Problem]:
    "Ruff's rules of pyproject.toml, on all cells of all notebooks."
    config = project.root / "pyproject.toml"
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json", "--quiet"]
    command += ["--config", str(config)] if config.is_file() else ["--isolated", "--select=F,E7,E9", "--ignore=F722"]
    command += ["--config", "builtins = ['record']"]  # the notebook extension provides it
    run = subprocess.run([*command, *(nb.path for nb in notebooks)], cwd=project.root, capture_output=True, text=True)
    if not run.stdout.strip():
        yield Problem(Origin("pyproject.toml"), f"ruff could not run: {run.stderr.strip()[:300]}", "mend its configuration")
        return
    by_path = {str((project.root / nb.path).resolve()): nb for nb in notebooks}
    for found in json.loads(run.stdout):
        nb = by_path[str(Path(found["filename"]).resolve())]
        index = found.get("cell") or 1
        cell = next((c for c in nb.code if c.origin.index == index), None)
        fix = (found.get("fix") or {}).get("message") or "see the rule: `ruff rule " + str(found["code"]) + "`"
        line = found["location"]["row"]
        yield Problem(nb.origin(index), f"{found['message']} ({found['code']})", fix, line, cell.source if cell else "")


def lint(project: Project) -> tuple[list[Notebook], list[Problem]]:
    "Every notebook of the book, and every problem found without running anything."
    problems = list(check_contents(project))
    notebooks = []
    for path in project.notebooks:
        nb, unreadable = read(project, path)
        problems += unreadable
        if nb is None:
            continue
        notebooks.append(nb)
        for rule in (check_ids, check_directives, check_syntax, check_width):
            problems += rule(nb)
        problems += [*check_module(project, nb), *check_imports(project, nb)]
        outputs = list(check_outputs(nb))
        if outputs and committed(project, path):  # while a notebook is being edited, Jupyter's outputs are no fault
            problems += outputs
    problems += check_shared_names(project, notebooks)
    if not problems:
        problems += check_style(project, notebooks)
    return notebooks, problems

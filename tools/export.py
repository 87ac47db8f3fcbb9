"""From notebooks to the package: nbdev's export, made safe.

The export runs in a copy of the tree, so the package changes only when every rule held, and a module that somebody
edited by hand is noticed instead of overwritten.
"""
from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import env

if __name__ == "__main__":
    env.enter()

from cells import defined_names, public_names
from lint import Notebook, lint
from project import BuildError, Origin, Problem, Project, here, remove, stop_at, write

CELL = re.compile(r"^# %% (\S+\.ipynb) #(\S+)$", re.M)


def export(project: Project, change: bool = True) -> list[str]:
    "Write the package from the notebooks (`change=False`: only compare) and return the modules that changed."
    record = project.executed / "cache" / "export.json"
    key = inputs_key(project)
    last = json.loads(record.read_text()) if record.is_file() else {}
    if last.get("key") == key and last.get("modules") == hashes(project.lib):
        return []
    notebooks, problems = lint(project)
    stop_at(problems)
    with tempfile.TemporaryDirectory(prefix="llm-book-export-") as folder:
        fresh = run_nbdev(project, Path(folder))
        stop_at([*check_names(project, fresh, notebooks), *check_all(project, fresh, notebooks)])
        changed = differing(project, fresh)
        if change:
            stop_at([edited_by_hand(project, fresh, name) for name in changed if is_edited(project, name, last.get("modules", {}))])
            for name in changed:
                install(fresh / name, project.lib / name)
        else:
            stop_at([out_of_step(project, fresh, name) for name in changed])
    write(record, json.dumps({"key": key, "modules": hashes(project.lib)}, indent=1))
    return changed


def sha(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def inputs_key(project: Project) -> str:
    "One hash over all that the export depends on but the modules themselves."
    found = hashlib.sha256(version("nbdev").encode())
    sources = [*project.nbs.rglob("*.ipynb"), *Path(__file__).parent.glob("*.py")]
    for file in sorted([project.root / "settings.ini", project.root / "_quarto.yml", project.root / "pyproject.toml", *sources]):
        if file.is_file() and ".ipynb_checkpoints" not in file.parts:
            found.update(file.as_posix().encode() + sha(file.read_bytes()).encode())
    return found.hexdigest()


def modules(lib: Path) -> list[str]:
    "The generated files of a package; `assets` is kept by hand."
    return sorted(
        file.relative_to(lib).as_posix()
        for file in lib.rglob("*.py")
        if file.relative_to(lib).parts[0] != "assets" and file.relative_to(lib).as_posix() != "__init__.py"
    )


def hashes(lib: Path) -> dict[str, str]:
    return {name: sha((lib / name).read_bytes()) for name in modules(lib)}


def run_nbdev(project: Project, folder: Path) -> Path:
    "nbdev's own export on a copy of the sources; returns the package it wrote."
    shutil.copy(project.root / "settings.ini", folder)
    for path in project.notebooks:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.root / path, folder / path)
    lib = folder / project.settings["lib_path"]
    lib.mkdir(parents=True)
    shutil.copy(project.lib / "__init__.py", lib)
    call = "from nbdev.doclinks import nbdev_export; nbdev_export()"
    run = subprocess.run([sys.executable, "-c", call], cwd=folder, capture_output=True, text=True)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildError(Problem(Origin("settings.ini"), f"nbdev_export failed: {last}", "run `nbdev_export` by hand to see the whole of it"))
    return lib


def differing(project: Project, fresh: Path) -> list[str]:
    names = sorted({*modules(fresh), *modules(project.lib)})
    return [name for name in names if content(fresh / name) != content(project.lib / name)]


def content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def install(source: Path, target: Path) -> None:
    if source.is_file():
        write(target, source.read_bytes())
    else:
        remove(target)


def is_edited(project: Project, name: str, exported: dict[str, str]) -> bool:
    "Does the module hold something that neither the last export nor the last commit put there?"
    now = content(project.lib / name)
    if now is None or exported.get(name) == sha(now) or name == "_modidx.py":
        return False
    path = project.relative(project.lib / name)
    head = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=project.root, capture_output=True)
    return head.returncode != 0 or head.stdout != now


def first_difference(fresh: Path, name: str, lib: Path) -> tuple[int | None, str]:
    "The first line of the package's module that the export would not have written, and its text."
    have = (content(lib / name) or b"").decode(errors="replace")
    want = (content(fresh / name) or b"").decode(errors="replace")
    rows = have.splitlines(), want.splitlines()
    line = next((n for n, (a, b) in enumerate(zip(*rows, strict=False), start=1) if a != b), min(map(len, rows)) + 1)
    return (line, have) if line <= len(rows[0]) else (None, have)


def cell_of_line(project: Project, file: Path, line: int) -> Origin | None:
    "The notebook cell that a line of a generated module comes from."
    above = "\n".join(file.read_text(encoding="utf-8").splitlines()[:line])
    marks = CELL.findall(above)
    if not marks:
        return None
    notebook = (file.parent / marks[-1][0]).resolve()
    path = next((p for p in project.notebooks if notebook.as_posix().endswith("/" + p)), None)
    if path is None:
        return None
    cells = json.loads((project.root / path).read_text(encoding="utf-8"))["cells"]
    index = next((n for n, cell in enumerate(cells, start=1) if cell.get("id") == marks[-1][1]), None)
    return Origin(path, index, marks[-1][1])


def edited_by_hand(project: Project, fresh: Path, name: str) -> Problem:
    path = project.relative(project.lib / name)
    line, have = first_difference(fresh, name, project.lib)
    source = cell_of_line(project, project.lib / name, line or 1)
    message = "was edited by hand, but it is generated" + (f" from {source}" if source else "")
    fix = f"carry the edit into the notebook (`nbdev_update --fname {path}`), or drop it (delete the file; the next export writes it anew)"
    return Problem(Origin(path), message, fix, line, have)


def out_of_step(project: Project, fresh: Path, name: str) -> Problem:
    path = project.relative(project.lib / name)
    line, have = first_difference(fresh, name, project.lib)
    if not (project.lib / name).is_file():
        return Problem(Origin(path), "is missing: a notebook exports it", "make export")
    if not (fresh / name).is_file():
        return Problem(Origin(path), "is exported by no notebook", "make export deletes it")
    return Problem(Origin(path), "is not what its notebook exports", "`make export`, and edit the notebook, never the module", line, have)


# Rules over the exported package


def check_names(project: Project, fresh: Path, notebooks: list[Notebook]) -> Iterator[Problem]:
    "Exported code uses only what exported cells define or import (ruff's F rules)."
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select=F", "--ignore=F722", "--output-format=json", "."]
    run = subprocess.run(command, cwd=fresh, capture_output=True, text=True)
    for found in json.loads(run.stdout or "[]"):
        file, line = Path(found["filename"]), found["location"]["row"]
        origin = cell_of_line(project, file, line) or Origin(project.relative(project.lib / file.relative_to(fresh.resolve())))
        message, fix = found["message"], "mend the cell"
        cell = next((c for nb in notebooks if nb.path == origin.path for c in nb.code if c.origin.index == origin.index), None)
        text = file.read_text(encoding="utf-8").splitlines()[line - 1]
        local = next((n for n, row in enumerate(cell.source.splitlines(), start=1) if row == text), None) if cell else None
        if found["code"] == "F821":
            name = message.split("`")[1]
            message = f"exported code uses `{name}`, which no exported cell defines or imports"
            fix = define_it(notebooks, origin.path, name)
        yield Problem(origin, f"{message} ({found['code']})", fix, local, cell.source if cell else "")


def define_it(notebooks: list[Notebook], path: str, name: str) -> str:
    "What to do about a name that only the notebook knows."
    for nb in notebooks:
        for cell in nb.code if nb.path == path else []:
            if not cell.exported and cell.tree and name in defined_names(cell.tree):
                return f"cell {cell.origin.index} ({cell.origin.id}) defines it: put `#| export` there, or pass it as an argument"
    return "define or import it in an exported cell"


def check_all(project: Project, fresh: Path, notebooks: list[Notebook]) -> Iterator[Problem]:
    "Every public name of an `#| export` cell stands in its module's `__all__`."
    for nb in notebooks:
        module = fresh / (str(nb.exports_to).replace(".", "/") + ".py")
        if not module.is_file():
            continue
        listed = re.search(r"^__all__ = (\[.*?\])", module.read_text(encoding="utf-8"), re.M | re.S)
        names = set(ast.literal_eval(listed[1])) if listed else set()
        for cell in nb.code:
            if cell.has("export") and cell.tree:
                for name in sorted(public_names(cell.tree) - names):
                    yield cell.problem(f"`{name}` is public but not in `__all__`", "define it by a plain `def`, `class` or assignment, or begin its name with `_`")


def main() -> None:
    changed = export(here())
    print("export: " + (", ".join(changed) + " written" if changed else "the package is in step with the notebooks"))


if __name__ == "__main__":
    from report import run

    run(main)

"""What the book consists of: `settings.ini`, `_quarto.yml` and the notebooks they name; and how a problem is told.

Every tool takes a `Project`, so that all of them work on the three-page book in `tests/fixtures` as on the real one.
"""
from __future__ import annotations

import configparser
import os
import re
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Origin:
    "A cell of a notebook, or a whole file where `index` is None."

    path: str  # relative to the project's root, with forward slashes
    index: int | None = None  # position of the cell in the notebook, from 1
    id: str = ""  # the cell's id

    def __str__(self) -> str:
        if self.index is None:
            return self.path
        return f"{self.path}:cell {self.index}" + (f" ({self.id})" if self.id else "")


@dataclass(frozen=True)
class Problem:
    "One thing that stops the build, told so that it can be mended: where, what, and how."

    origin: Origin
    message: str  # one sentence, without a full stop
    fix: str = ""  # what to do, in the imperative
    line: int | None = None  # line in the cell (or file), from 1
    source: str = ""  # the cell's source, quoted around `line`

    def __str__(self) -> str:
        where = f"{self.origin}" + (f":line {self.line}" if self.line else "")
        lines = [f"{where}: {self.message}"]
        if self.source and self.line:
            rows = self.source.splitlines()
            for n in range(max(1, self.line - 2), min(len(rows), self.line + 2) + 1):
                lines.append(f"  {'>' if n == self.line else ' '} {n:3} | {rows[n - 1]}")
        if self.fix:
            lines.append(f"  Fix: {self.fix}")
        return "\n".join(lines)


class BuildError(Exception):
    "The build stops here. `problems` say why."

    def __init__(self, problems: list[Problem] | Problem):
        self.problems = problems if isinstance(problems, list) else [problems]
        super().__init__("\n".join(map(str, self.problems)))


def stop_at(problems: list[Problem]) -> None:
    "Raise `BuildError` if there are any problems."
    if problems:
        raise BuildError(problems)


@dataclass(frozen=True)
class Chapter:
    "A notebook of the table of contents."

    path: str  # "nbs/10_layers.ipynb"
    part: str = ""  # title of its part, "" outside parts
    appendix: bool = False

    @property
    def name(self) -> str:
        "The module's name: `nbs/10_layers.ipynb` is `layers`."
        return Path(self.path).stem.split("_", 1)[-1]

    @property
    def number(self) -> int:
        "NN of the file's name, which orders files and imports."
        return int(Path(self.path).stem.split("_", 1)[0])

    @property
    def exercises(self) -> str:
        "Where its exercises are, if it has any."
        folder, file = self.path.rsplit("/", 1)
        return f"{folder}/exercises/{file}"


@dataclass
class Project:
    "A book: its root folder and what its two configuration files say."

    root: Path
    settings: dict = field(init=False)
    quarto: dict = field(init=False)

    def __post_init__(self):
        self.root = Path(self.root).resolve()
        self.settings = self._read_settings()
        self.quarto = self._read_quarto()

    def _read_settings(self) -> dict:
        file = self.root / "settings.ini"
        parser = configparser.ConfigParser()
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, configparser.Error) as error:
            raise BuildError(Problem(Origin("settings.ini"), f"can't be read: {error}", "restore it from git")) from None
        return dict(parser["DEFAULT"])

    def _read_quarto(self) -> dict:
        file = self.root / "_quarto.yml"
        try:
            return yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise BuildError(Problem(Origin("_quarto.yml"), f"can't be read: {error}", "restore it from git")) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = f"is not valid YAML: {getattr(error, 'problem', error)}"
            raise BuildError(Problem(Origin("_quarto.yml"), problem, "correct that line", mark and mark.line + 1)) from None

    # Folders. All but the sources are build products, listed in .gitignore.
    @property
    def lib_name(self) -> str:
        return self.settings["lib_name"]

    @property
    def lib(self) -> Path:
        return self.root / self.settings["lib_path"]

    @property
    def nbs(self) -> Path:
        return self.root / self.settings["nbs_path"]

    @property
    def executed(self) -> Path:
        "Executed notebooks, what they cost, and the caches of every step."
        return self.root / "_executed"

    @property
    def staged(self) -> Path:
        "A copy of the Quarto project with outputs and links in place."
        return self.root / "_staged"

    @property
    def site(self) -> Path:
        return self.root / "_book"

    # The table of contents.
    @cached_property
    def toc(self) -> list[tuple[str, list[str], bool]]:
        "`(part title, pages, appendix)` in reading order; pages outside parts have the title ''."
        book, groups = self.quarto.get("book", {}), []
        for key, appendix in (("chapters", False), ("appendices", True)):
            for entry in book.get(key) or []:
                if isinstance(entry, dict):
                    groups.append((str(entry["part"]), list(entry.get("chapters") or []), appendix))
                elif groups and groups[-1][0] == "" and groups[-1][2] == appendix:
                    groups[-1][1].append(entry)
                else:
                    groups.append(("", [entry], appendix))
        return groups

    @cached_property
    def pages(self) -> list[str]:
        "Every page of the table of contents, in reading order."
        return [page for _, pages, _ in self.toc for page in pages]

    @cached_property
    def chapters(self) -> list[Chapter]:
        "The notebooks of the table of contents, in reading order."
        return [
            Chapter(page, part, appendix)
            for part, pages, appendix in self.toc
            for page in pages
            if page.endswith(".ipynb")
        ]

    @cached_property
    def notebooks(self) -> list[str]:
        "Every notebook that is executed: chapters and their exercises."
        found = []
        for chapter in self.chapters:
            found += [path for path in (chapter.path, chapter.exercises) if (self.root / path).is_file()]
        return found

    # What is ours in _quarto.yml; Quarto ignores the key.
    @property
    def own(self) -> dict:
        return self.quarto.get("llm-book") or {}

    @cached_property
    def planned(self) -> dict[str, str]:
        "Chapters to come, `{'train': 'A loop that never loses a run'}`: references to them are text until they exist."
        have = {chapter.name for chapter in self.chapters}
        planned = {}
        for group in self.own.get("planned") or []:
            planned.update({name: title for name, title in group["chapters"].items() if name not in have})
        return planned

    def budget_s(self, name: str) -> float:
        "CPU-seconds that a chapter may take together with its exercises; it fails at twice as many."
        budgets = self.own.get("budget") or {}
        for seconds, names in budgets.items():
            if seconds != "default" and name in names:
                return float(seconds)
        return float(budgets.get("default", 30))

    @property
    def cell_timeout_s(self) -> int:
        return int(self.own.get("cell-timeout", 300))

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

    def relative(self, path: Path) -> str:
        return Path(path).resolve().relative_to(self.root).as_posix()


def here() -> Project:
    "The project that the tools work on: the folder they are called in, or LLM_BOOK_ROOT."
    return Project(Path(os.environ.get("LLM_BOOK_ROOT", ".")))


def write(path: Path, text: str | bytes) -> None:
    "Write a file in one step: whoever reads it sees the old text or the new one, never half."
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    if isinstance(text, bytes):
        aside.write_bytes(text)
    else:
        aside.write_text(text, encoding="utf-8", newline="\n")
    os.replace(aside, path)


def remove(path: Path) -> None:
    "Delete a file or a folder that may not be there."
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


CHAPTER_FILE = re.compile(r"\d\d_[a-z][a-z0-9_]*\.ipynb")

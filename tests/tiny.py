"The three-page book of tests/fixtures, in copies that a test may spoil."
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from book import build
from project import Project
from report import Report

ROOT = Path(__file__).resolve().parent.parent
FIXTURE = ROOT / "tests" / "fixtures" / "book"
WORDS, LINES, EXERCISES = "nbs/01_words.ipynb", "nbs/02_lines.ipynb", "nbs/exercises/01_words.ipynb"


class TinyBook:
    "A copy of the fixture that a test may spoil."

    def __init__(self, root: Path):
        self.root = root

    def text(self, path: str, old: str, new: str) -> None:
        "Replace text in a file; the text has to be there."
        file = self.root / path
        content = file.read_text(encoding="utf-8")
        assert old in content, f"{old!r} is not in {path}"
        file.write_text(content.replace(old, new), encoding="utf-8")

    def cell(self, path: str, id: str, /, source: str | None = None, old: str | None = None, new: str = "", **changes) -> None:
        "Change a cell: its whole source, a part of it, or other fields."
        file = self.root / path
        nb = json.loads(file.read_text(encoding="utf-8"))
        cell = next(cell for cell in nb["cells"] if cell["id"] == id)
        text = "".join(cell["source"])
        if old is not None:
            assert old in text
            source = text.replace(old, new)
        if source is not None:
            cell["source"] = source.splitlines(keepends=True)
        for name, value in changes.items():
            cell.pop(name) if value is None else cell.update({name: value})
        file.write_text(json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

    def build(self) -> Path:
        return build(Project(self.root), Report())

    def site(self) -> dict[str, str]:
        return {
            file.relative_to(self.root / "_book").as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted((self.root / "_book").rglob("*"))
            if file.is_file()
        }


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> TinyBook:
    "The unspoiled fixture, built."
    root = tmp_path_factory.mktemp("good") / "book"
    shutil.copytree(FIXTURE, root, ignore=shutil.ignore_patterns("_*book*", "_executed", "_staged", "__pycache__"))
    book = TinyBook(root)
    book.build()
    return book


@pytest.fixture
def book(good, tmp_path) -> TinyBook:
    shutil.copytree(good.root, tmp_path / "book")
    return TinyBook(tmp_path / "book")

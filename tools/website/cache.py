"""What the renderer keeps between two builds, keyed by content and by the renderer's own source."""
from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from project import remove, write

TOOLS = Path(__file__).resolve().parents[1]


@lru_cache
def own_source() -> str:
    "A hash of the renderer and its theme: with another renderer nothing old is used."
    digest = hashlib.sha256()
    files = [TOOLS / "render.py", TOOLS / "project.py", *(TOOLS / "website").glob("*.py"), *(TOOLS / "theme").iterdir()]
    for file in sorted(filter(Path.is_file, files)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


class Cache:
    "Small JSON files in a folder; those that a build did not use are dropped at its end."

    def __init__(self, folder: Path):
        self.folder = folder
        self.used: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def key(self, *parts: str) -> str:
        digest = hashlib.sha256(own_source().encode())
        for part in parts:
            digest.update(b"\0" + part.encode())
        return digest.hexdigest()[:32]

    def file(self, kind: str, key: str) -> Path:
        file = self.folder / kind / f"{key}.json"
        self.used.add(file)
        return file

    def get(self, kind: str, key: str):
        "What was kept, or None."
        try:
            return json.loads(self.file(kind, key).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, kind: str, key: str, value) -> None:
        write(self.file(kind, key), json.dumps(value, ensure_ascii=False))

    def drop_unused(self) -> None:
        for file in self.folder.glob("*/*.json*"):
            if file not in self.used and file.parent.name != "site":  # among them what a killed build left half-written
                remove(file)

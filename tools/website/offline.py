"""The whole site in one archive, to be read from a local server where there is no network."""
from __future__ import annotations

import zipfile
from pathlib import Path

NAME, FOLDER = "book.zip", "book"
WHEN = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can tell: the same site gives the same bytes


def pack(site: Path) -> None:
    "Write `site/book.zip` with every other file of the site under `book/`."
    (site / NAME).unlink(missing_ok=True)
    files = sorted((file for file in site.rglob("*") if file.is_file()), key=lambda file: file.relative_to(site).as_posix())
    with zipfile.ZipFile(site / NAME, "w") as archive:
        for file in files:
            member = zipfile.ZipInfo(f"{FOLDER}/{file.relative_to(site).as_posix()}", WHEN)
            member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(member, file.read_bytes())

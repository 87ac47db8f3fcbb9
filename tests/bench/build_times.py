"""How long the book takes to build from a fresh clone, and after edits: `python tests/bench/build_times.py [--clone]`.

With `--clone` it clones the last commit into a new folder and builds there from nothing, with an empty pip cache;
without it, it measures on the tree where it stands, which has to be built already. Medians of five, but for the clone.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def seconds(folder: Path, *command: str, **environment: str) -> float:
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def edit(notebook: Path, kind: str, text: str) -> None:
    "Append to the last cell of a kind that is neither a directive's nor a block's end."
    nb = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [c for c in nb["cells"] if c["cell_type"] == kind and not "".join(c["source"]).startswith(("#|", ":::"))]
    cells[-1]["source"].append(text)
    notebook.write_text(json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def after_edits(folder: Path, name: str, kind: str, text: str) -> float:
    "Median build time after five edits of one notebook, which is restored afterwards."
    notebook, times = folder / name, []
    before = notebook.read_bytes()
    try:
        for n in range(5):
            edit(notebook, kind, text.format(n=n))
            times.append(seconds(folder, "make", "book"))
    finally:
        notebook.write_bytes(before)
        seconds(folder, "make", "book")
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clone", action="store_true")
    folder = ROOT
    with tempfile.TemporaryDirectory() as scratch:
        if parser.parse_args().clone:
            folder = Path(scratch) / "book"
            subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
            print(f"fresh clone to site, no pip cache: {seconds(folder, 'make', 'book', PIP_NO_CACHE_DIR='1'):.0f} s", flush=True)
        print(f"nothing changed: {statistics.median(seconds(folder, 'make', 'book') for _ in range(5)):.1f} s", flush=True)
        prose = after_edits(folder, "nbs/00_overview.ipynb", "markdown", "\nEdit {n}.")
        print(f"after an edit of chapter 00's prose: {prose:.1f} s", flush=True)
        code = after_edits(folder, "nbs/93_notebook.ipynb", "code", "\n_edit = {n}")
        print(f"after an edit of a check in helper 93, which runs that notebook alone: {code:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"What every test can use: the repository's root, its tools as modules, one torch thread, and reasons to skip."
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tests run side by side, one core each
os.environ.setdefault("MPLBACKEND", "agg")

from tiny import book, good  # noqa: E402, F401 (fixtures; they need the tools on the path)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (apt-get install chromium)")
needs_quarto = pytest.mark.skipif(shutil.which("quarto") is None, reason="no Quarto on the PATH (make quarto)")


@pytest.fixture(scope="session")
def root() -> Path:
    "The repository."
    return ROOT


def toml(path: Path) -> dict:
    "A TOML file, read."
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(path.read_text(encoding="utf-8"))


def sources() -> list[str]:
    "The files that are committed or would be, by path from the root; what `.gitignore` names is not among them."
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(path for path in listed if (ROOT / path).is_file())

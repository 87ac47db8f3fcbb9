"""`make clean`: delete what was built. Sources, the package and the environment stay; `--all` deletes `.venv` too."""
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ["_book", "_book.*", "_executed", "_staged", "_proc", "dist", ".quarto", ".pytest_cache", ".ruff_cache", ".hypothesis"]


def main() -> None:
    patterns = BUILT + ([".venv"] if "--all" in sys.argv else [])
    for found in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        print(f"clean: {found.name} deleted")


if __name__ == "__main__":
    main()

"""Full-text search: pagefind's index over the finished pages, which a small dialog in book.js asks."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from project import BuildError, Origin, Problem, remove

# What the dialog needs of pagefind's output; its own dialogs stay out of the site.
KEEP = ("pagefind.js", "pagefind-worker.js", "pagefind-entry.json", "*.pagefind", "*.pf_*")


def index(site: Path) -> None:
    "Write `site/pagefind`."
    folders = ["--site", str(site), "--output-path", str(site / "pagefind")]
    command = [sys.executable, "-m", "pagefind", *folders, "--exclude-selectors", ".katex, .anchor", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=site)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip()[-500:]
        problem = Problem(Origin("tools/website/search.py"), f"pagefind failed: {reason}", "`pip install 'pagefind[bin]<2'`")
        raise BuildError(problem)
    for file in sorted((site / "pagefind").rglob("*")):
        if file.is_file() and not any(file.match(pattern) for pattern in KEEP):
            remove(file)

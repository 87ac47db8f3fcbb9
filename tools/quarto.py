"""Quarto, where it is there: renders the staged copy, and what it only warns about stops the build.

It is optional. Without it the embedded renderer's pages are the site; with it that renderer still runs, as the checker.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import env

if __name__ == "__main__":
    env.enter()

import yaml

from project import Origin, Problem, Project, remove, stop_at, write
from report import Report, run
from website import offline, template

WARNINGS = re.compile(
    r"Unable to resolve (?:crossref|link target).*|.*citation .* not found.*|The following string was found in the document.*|^ERROR.*", re.M
)


def program() -> str | None:
    return shutil.which("quarto")


def render(project: Project, pages: list, out: Path, report: Report) -> None:
    "Render the pages with Quarto and put the result in the place of `out`."
    from stage import write_staged

    staged = write_staged(project, pages)
    use_own_katex(project, staged)
    use_report_form(staged)
    write(staged / offline.NAME, b"")  # what the home page links to; `pack` fills it
    log = project.executed / "quarto.log"
    lines = []
    with subprocess.Popen(
        [program(), "render", "--no-execute"], cwd=staged, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout:
            lines.append(line)
            report.live(f"  quarto: {line.strip()}")
    text = re.sub(r"\x1b\[[0-9;]*m", "", "".join(lines))
    log.write_text(text, encoding="utf-8")
    built = staged / "_book"
    problems = list(complaints(text, built)) if built.is_dir() else []
    if process.returncode and not problems:
        problems = [Problem(Origin("_quarto.yml"), f"quarto ended with status {process.returncode}", f"read {project.relative(log)}")]
    stop_at(problems)
    offline.pack(built)
    remove(out)
    built.rename(out)


def use_own_katex(project: Project, staged: Path) -> None:
    "Let Quarto's pages take KaTeX from the site itself: the copy that the embedded renderer fetched and checked."
    found = sorted((project.executed / "cache").glob("katex-*/katex.min.js"))
    if not found:
        return  # a book without formulas
    shutil.copytree(found[-1].parent, staged / "katex")
    config = yaml.safe_load((staged / "_quarto.yml").read_text(encoding="utf-8"))
    config.setdefault("format", {}).setdefault("html", {})["html-math-method"] = {"method": "katex", "url": "/katex/"}
    config["project"].setdefault("resources", []).append("katex")
    write(staged / "_quarto.yml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def use_report_form(staged: Path) -> None:
    "Let “Report an issue” open the form for errors in the book."
    config = yaml.safe_load((staged / "_quarto.yml").read_text(encoding="utf-8"))
    repo = str(config["book"].get("repo-url") or "").rstrip("/")
    if repo:
        config["book"]["issue-url"] = f"{repo}/issues/new?template={template.REPORT_FORM}"
        write(staged / "_quarto.yml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def complaints(log: str, built: Path) -> Iterator[Problem]:
    "What Quarto warned of, and what it left in the pages without a warning."
    for found in sorted(set(WARNINGS.findall(log))):
        yield Problem(Origin("_quarto.yml"), f"quarto says: {found.strip()}", "mend the page it names")
    for page in sorted(built.rglob("*.html")):
        html = page.read_text(encoding="utf-8")
        if "quarto-unresolved-ref" in html:
            yield Problem(Origin(page.relative_to(built).as_posix()), "quarto left a reference unresolved", "look for a label that is missing")
        if re.search(r"<p>:::", html):
            yield Problem(Origin(page.relative_to(built).as_posix()), "quarto printed `:::` as text", "balance the page's `:::` blocks")


def install() -> None:
    "Install Quarto into `.venv` from its PyPI package, which downloads the program itself."
    if program():
        print(f"quarto: {program()} is there already; `make book` uses it")
        return
    print("quarto: its PyPI package downloads the program, about 130 MB", flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "quarto-cli"], capture_output=True)
    if done.returncode or not program():
        raise SystemExit(
            "quarto: could not be installed, probably because this machine doesn't reach the place its package downloads from. "
            "Fix: install it from quarto.org, or do without; the book is built either way."
        )
    print("quarto: installed; the next `make book` renders the published pages with it")


if __name__ == "__main__":
    run(install)

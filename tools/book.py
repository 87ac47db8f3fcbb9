"""`make book`: from the notebooks to a tested package and a finished site in `_book/`.

Four steps, each of which redoes only what changed: export, execute, stage, render. The new site is built beside the
old one and takes its place in one step when all of it is right.
"""
from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import env

if __name__ == "__main__":
    env.enter()

from filelock import FileLock, Timeout

import quarto
from execute import execute
from export import export
from project import Project, here, remove
from render import render
from report import Report, run
from stage import stage


def build(project: Project, report: Report) -> Path:
    "Compile the book; returns the site's folder."
    project.executed.mkdir(exist_ok=True)
    with one_at_a_time(project, report):
        for left in [*project.root.glob("_book.*"), *project.root.glob(".*.llm-book")]:
            remove(left)  # of a build that was killed
        changed = step(report, "export", lambda: export(project), lambda names: ", ".join(names) + " written" if names else "in step")
        runs = step(report, "execute", lambda: execute(project, report), lambda runs: summary(runs))
        del changed
        pages = stage(project, runs)
        aside = project.root / f"_book.{os.getpid()}"
        step(report, "render", lambda: render(project, pages, aside, lambda text: report.live(f"  {text}")), lambda _: f"{len(pages)} pages")
        if quarto.program():
            step(report, "quarto", lambda: quarto.render(project, pages, aside, report), lambda _: f"{len(pages)} pages")
        put_in_place(aside, project.site)
    return project.site


def step(report: Report, name: str, work, result) -> object:
    "Do one step and say in one line what came of it and how long it took."
    start = time.monotonic()
    value = work()
    report.line(f"{name:>8}: {result(value)} ({time.monotonic() - start:.1f} s)")
    return value


def summary(runs: list) -> str:
    fresh = [run for run in runs if not run.cached]
    text = f"{len(runs)} notebooks, {sum(run.cells for run in runs)} cells"
    return f"{text}; {len(fresh)} run" if fresh else f"{text}; nothing to run"


def one_at_a_time(project: Project, report: Report) -> FileLock:
    "A lock, so that a build on the command line and one of `make serve` don't meet."
    lock = FileLock(project.executed / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report.line("waiting for another build of this book to end")
        lock.acquire()
    return lock


def put_in_place(aside: Path, site: Path) -> None:
    "Let the new site take the old one's place: at every moment one of the two is there, whole."
    if not site.exists():
        os.rename(aside, site)
    elif exchange(aside, site):
        remove(aside)
    else:  # a system that can't exchange two folders: the old one waits under another name for an instant
        old = site.with_name(f"_book.{os.getpid()}.old")
        os.rename(site, old)
        os.rename(aside, site)
        remove(old)


def exchange(one: Path, other: Path) -> bool:
    "Swap two folders in one system call, where there is one."
    a, b = os.fsencode(one), os.fsencode(other)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            return libc.renameat2(-100, a, -100, b, 2) == 0  # AT_FDCWD, RENAME_EXCHANGE
        if sys.platform == "darwin":
            return libc.renamex_np(a, b, 2) == 0  # RENAME_SWAP
    except (OSError, AttributeError, TypeError):
        pass
    return False


def main() -> None:
    report = Report()
    project = here()
    site = build(project, report)
    report.line(f"\nThe book is in {os.path.relpath(site)}/ ({report.elapsed_s:.0f} s). To look at it: make serve")


if __name__ == "__main__":
    run(main)

"""Each fault that the build has to survive, planted in the three-page book of tests/fixtures: one message, which names
the notebook, the cell and the fix; and the last good site stays as it was.
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from project import BuildError
from tiny import FIXTURE, LINES, ROOT, WORDS, TinyBook


def test_the_unspoiled_book_passes(good):
    pages = set(good.site())
    assert {"index.html", "nbs/01_words.html", "nbs/02_lines.html"} <= pages
    page = (good.root / "_book/nbs/01_words.html").read_text(encoding="utf-8")
    assert "has the frequency 0.33" in page, "a recorded value stands in the prose"
    assert re.search(r"words\.1 ★", page), "the exercises stand on the chapter's page"
    committed = {path: (FIXTURE / path).read_text() for path in ("tinybook/words.py", "tinybook/lines.py", "tinybook/exercises/words.py")}
    assert {path: (good.root / path).read_text() for path in committed} == committed, "the fixture's package is in step"


# fault: (plant, the notebook or file it must name, the cell's id, words of the message, words of the fix)
FAULTS = {
    "a cell that raises": (
        lambda b: b.cell(LINES, "lines-check", "x = 1\nraise ValueError('no such word')"),
        LINES, "lines-check", "ValueError: no such word", "Jupyter",
    ),
    "a cell that raises inside the package": (
        lambda b: b.cell(LINES, "lines-check", "by_line(3)"),
        LINES, "lines-check", "AttributeError", "Jupyter",
    ),
    "a cell that never ends": (
        lambda b: (b.text("_quarto.yml", "cell-timeout: 20", "cell-timeout: 2"), b.cell(LINES, "lines-check", "while True:\n    pass")),
        LINES, "lines-check", "did not end within 2 s", "slow",
    ),
    "a kernel that dies": (
        lambda b: b.cell(LINES, "lines-check", "import os\n\nos._exit(3)"),
        LINES, "lines-check", "the kernel died", "memory",
    ),
    "invalid JSON": (
        lambda b: b.text(LINES, '"id": "lines-check",', '"id": "lines-check"'),
        LINES, "lines-check", "is not valid JSON", "git",
    ),
    "merge-conflict marks": (
        lambda b: b.text(LINES, '   "id": "lines-code",\n', '<<<<<<< HEAD\n   "id": "lines-code",\n=======\n   "id": "other",\n>>>>>>> theirs\n'),
        LINES, "", "merge conflict", "choose one side",
    ),
    "merge-conflict marks as cells": (
        lambda b: b.cell(LINES, "lines-check", "`<<<<<<< HEAD`", cell_type="markdown"),
        LINES, "lines-check", "merge conflict", "choose one side",
    ),
    "a missing cell id": (
        lambda b: b.cell(LINES, "lines-check", id=None),
        LINES, "", "has no id", "hooks.py clean",
    ),
    "a cell id that stands twice": (
        lambda b: b.cell(LINES, "lines-check", id="lines-import"),
        LINES, "lines-import", "is that of cell 3 too", "another id",
    ),
    "two notebooks with one default_exp": (
        lambda b: (
            shutil.copy(b.root / LINES, b.root / "nbs/03_lines.ipynb"),
            b.text("_quarto.yml", "- nbs/02_lines.ipynb", "- nbs/02_lines.ipynb\n        - nbs/03_lines.ipynb"),
        ),
        "nbs/03_lines.ipynb", "", "exports to `lines`, as nbs/02_lines.ipynb does", "another `default_exp`",
    ),
    "a default_exp that is not the file's name": (
        lambda b: b.cell(LINES, "lines-exp", "#| default_exp rows"),
        LINES, "lines-exp", "named for `lines`", "#| default_exp lines",
    ),
    "export: true": (
        lambda b: b.cell(LINES, "lines-code", old="#| export", new="#| export: true"),
        LINES, "lines-code", "does nothing", "write `#| export`",
    ),
    "an unknown directive": (
        lambda b: b.cell(LINES, "lines-code", old="#| export", new="#| exprt"),
        LINES, "lines-code", "`#| exprt` is not a directive", "use one of",
    ),
    "exported code that uses a notebook-only name": (
        lambda b: (
            b.cell(LINES, "lines-import", "#| export\nfrom tinybook.words import frequencies"),
            b.cell(LINES, "lines-code", old="frequencies(line)", new="frequencies(strip(line))"),
            b.cell(LINES, "lines-exp", "#| default_exp lines\nstrip = str.strip"),
        ),
        LINES, "lines-code", "uses `strip`, which no exported cell defines", "cell 2 (lines-exp) defines it",
    ),
    "a public name that nbdev leaves out of __all__": (
        lambda b: b.cell(LINES, "lines-code", old="def by_line", new="if True:\n    LIMIT = 3\n\n\ndef by_line"),
        LINES, "lines-code", "`LIMIT` is public but not in `__all__`", "plain `def`",
    ),
    "a star import": (
        lambda b: b.cell(LINES, "lines-import", "#| export\nfrom tinybook.words import *"),
        LINES, "lines-import", "a star import", "name what is imported",
    ),
    "an import of a later chapter": (
        lambda b: b.cell(WORDS, "words-import", "#| export\nfrom collections import Counter\n\nfrom tinybook.lines import by_line as rows\n\nROWS = rows"),
        WORDS, "words-import", "imports `lines` (02), which comes after this chapter (01)", "lower number",
    ),
    "a syntax error in an exported cell": (
        lambda b: b.cell(LINES, "lines-code", "#| export\ndef by_line(text:\n    return 1"),
        LINES, "lines-code", "SyntaxError", "mend the syntax",
    ),
    "a line of code that pages would cut off": (
        lambda b: b.cell(LINES, "lines-check", "x = 1\n" + "y = " + " + ".join("1" * 30)),
        LINES, "lines-check", "the line has 121 characters, and pages show 88", "break it",
    ),
    "an unknown cross-reference": (
        lambda b: b.cell(LINES, "lines-text", old="@fig-bars", new="@fig-baars"),
        LINES, "lines-text", "fig-baars", "fig-bars",
    ),
    "an unknown citation": (
        lambda b: b.cell(WORDS, "words-math", old="[@shannon1948]", new="[@shanon1948]"),
        WORDS, "words-math", "shanon1948", "shannon1948",
    ),
    "an unknown link": (
        lambda b: b.cell(LINES, "lines-text", old="see also", new="see [there](03_pages.ipynb) or"),
        LINES, "lines-text", "03_pages", "",
    ),
    "a link to an unknown anchor": (
        lambda b: b.cell(LINES, "lines-text", old="see also", new="see [there](01_words.ipynb#no-such-place) or"),
        LINES, "lines-text", "no-such-place", "",
    ),
    "an unknown key": (
        lambda b: b.cell(WORDS, "words-value", old="{{to}}", new="{{too}}"),
        WORDS, "words-value", "`{{too}}` is a value that no cell recorded", "to",
    ),
    "an unbalanced callout": (
        lambda b: b.cell(WORDS, "words-promise", old="\n:::", new=""),
        WORDS, "words-promise", "never closed", ":::",
    ),
    "a stray end of a callout": (
        lambda b: b.cell(LINES, "lines-text", old="see also", new="see\n\n:::\n\nalso"),
        LINES, "lines-text", "closes nothing", "delete it",
    ),
    "a duplicate label": (
        lambda b: b.cell(LINES, "lines-text", old="{#sec-lines-of-words}", new="{#sec-frequency}"),
        LINES, "lines-text", "sec-frequency", "",
    ),
    "a missing image": (
        lambda b: b.cell(LINES, "lines-text", old="images/dot.svg", new="images/dott.svg"),
        LINES, "lines-text", "dott.svg", "",
    ),
    "TeX that does not parse": (
        lambda b: b.cell(WORDS, "words-math", old="\\frac{n_w}{N}", new="\\frac{n_w}{N}_{1}_{2}"),
        WORDS, "words-math", "", "",
    ),
    "a figure without alt text": (
        lambda b: b.cell(WORDS, "words-figure", old='#| fig-alt: "A bar twice as long as the other."\n', new=""),
        WORDS, "words-figure", "alt text", "fig-alt",
    ),
    "an image without alt text": (
        lambda b: b.cell(LINES, "lines-text", old=' fig-alt="One dot."', new=""),
        LINES, "lines-text", "alt text", "fig-alt",
    ),
    "an edited module": (
        lambda b: b.text("tinybook/words.py", "words = text.split()", "words = text.lower().split()"),
        "tinybook/words.py", "", "was edited by hand", "nbdev_update",
    ),
    "committed outputs": (
        lambda b: b.cell(LINES, "lines-check", outputs=[{"name": "stdout", "output_type": "stream", "text": ["hello"]}]),
        LINES, "lines-check", "has outputs", "hooks.py clean",
    ),
    "a notebook that the contents don't name": (
        lambda b: b.text("_quarto.yml", "        - nbs/02_lines.ipynb\n", "") or b.text("index.qmd", "@sec-lines", "@sec-words"),
        LINES, "", "does not name", "_quarto.yml",
    ),
    "a chapter that is not there": (
        lambda b: b.text("_quarto.yml", "nbs/02_lines.ipynb", "nbs/02_lines.ipynb\n        - nbs/03_pages.ipynb"),
        "_quarto.yml", "", "names nbs/03_pages.ipynb, which is not there", "make chapter",
    ),
    "a cell that opens a network connection": (
        lambda b: b.cell(LINES, "lines-check", "from urllib.request import urlopen\n\nurlopen('http://192.0.2.1/')"),
        LINES, "lines-check", "the network is closed", "ships or makes",
    ),
    "a subprocess that opens a network connection": (
        lambda b: b.cell(
            LINES, "lines-check",
            "import subprocess\nimport sys\n\ncode = \"import socket; socket.create_connection(('192.0.2.1', 80), 1)\"\n"
            "done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)\nassert not done.returncode, done.stderr[-300:]",
        ),
        LINES, "lines-check", "AssertionError", "",
    ),
    "an output that differs in every run": (
        lambda b: b.cell(LINES, "lines-check", "print(object())"),
        LINES, "lines-check", "memory address", "show something else",
    ),
    "settings that are no YAML": (
        lambda b: b.text("_quarto.yml", "book:\n", "book: [\n"),
        "_quarto.yml", "", "is not valid YAML", "correct",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_stops_the_build_with_one_message(book, fault):
    plant, path, id, message, fix = FAULTS[fault]
    before = book.site()
    plant(book)
    with pytest.raises(BuildError) as stopped:
        book.build()
    problems = stopped.value.problems
    assert len(problems) == 1, "\n\n".join(map(str, problems))
    told = problems[0]
    assert told.origin.path == path, told
    assert told.origin.id.startswith(id), told
    if path.endswith(".ipynb") and (id or "id" in fault):
        assert told.origin.index, f"no cell is named: {told}"
    assert message in told.message, told
    assert told.fix and fix in told.fix, told
    assert book.site() == before, "the last good site was touched"


def test_the_command_tells_all_problems_and_fails(book):
    book.cell(WORDS, "words-value", old="{{to}}", new="{{too}}")
    book.cell(LINES, "lines-code", old="#| export", new="#| export: true")
    done = run_book(book, text=True)
    assert done.returncode == 1
    assert "nbs/02_lines.ipynb:cell 5 (lines-code):line 1" in done.stderr and "Traceback" not in done.stderr
    book.cell(LINES, "lines-code", old="#| export: true", new="#| export")
    done = run_book(book, text=True)
    assert "nbs/01_words.ipynb:cell 9 (words-value)" in done.stderr and "1 problem." in done.stderr


def command() -> list[str]:
    return [sys.executable, str(ROOT / "tools/book.py")]


def run_book(book: TinyBook, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(), env={**os.environ, "LLM_BOOK_ROOT": str(book.root)}, capture_output=True, timeout=120, **options)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_an_interrupted_build_ends_at_once_and_leaves_no_kernel_behind(book):
    before = book.site()
    book.cell(LINES, "lines-check", "import pathlib\nimport time\n\npathlib.Path('started').touch()\ntime.sleep(60)")
    process = subprocess.Popen(
        command(),
        env={**os.environ, "LLM_BOOK_ROOT": str(book.root)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it, and hand that down
    )
    until(lambda: (book.root / "nbs/started").exists(), seconds=60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and "Nothing is lost" in said and "Traceback" not in said
    assert book.site() == before
    until(lambda: not kernels_of(book), seconds=20)


def until(true, seconds: float) -> None:
    "Wait until a condition holds."
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it took more than {seconds} s"
        time.sleep(0.1)


def kernels_of(book: TinyBook) -> list[int]:
    "Processes that run a chapter of this copy of the book."
    found = []
    for process in psutil.process_iter():
        try:
            if str(book.root) in process.environ().get("LLM_BOOK_WATCH", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            pass
    return found


@pytest.mark.skipif(os.name == "nt", reason="kills a process group, which Windows doesn't have")
def test_killed_at_ten_random_moments_the_site_is_always_whole(book):
    "Every edit changes all pages. After each kill the site is that of the edit before, or that of this one."
    moments = random.Random(0)
    book.text("index.qmd", "It begins", "Edition 0. It begins")
    start = time.monotonic()
    assert run_book(book).returncode == 0
    duration, whole = time.monotonic() - start, book.site()
    for edition in range(1, 11):
        book.text("index.qmd", f"Edition {edition - 1}.", f"Edition {edition}.")
        book.cell(LINES, "lines-check", f'assert by_line("to be")\nprint({edition})')
        process = subprocess.Popen(
            command(), env={**os.environ, "LLM_BOOK_ROOT": str(book.root)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(moments.uniform(0, duration * 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        after = book.site()
        finished = f"Edition {edition}." in (book.root / "_book/index.html").read_text(encoding="utf-8")
        assert finished or after == whole, f"the site of edition {edition - 1} is damaged"
        done = run_book(book, text=True)
        assert done.returncode == 0, f"the build after kill {edition} failed:\n{done.stderr}"
        whole = book.site()
        assert not finished or after == whole, f"the site of edition {edition} was not whole"
        assert f"Edition {edition}." in (book.root / "_book/index.html").read_text(encoding="utf-8")
    assert not list(book.root.glob("_book.*")), "half-built sites are left behind"
    until(lambda: not kernels_of(book), seconds=20)

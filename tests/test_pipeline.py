"The compile pipeline on the three-page book: what is run again and what is not, what pages contain, what commands do."
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from urllib.request import urlopen

import pytest
import yaml

import chapter
import env
import export
import notebook_filter
import quarto
import serve
import stage
from book import build, put_in_place
from conftest import sources
from execute import execute
from lint import lint
from notebook_filter import Context, filter_markdown, filter_notebook, inline_svg, relative
from project import BuildError, Project
from report import Report
from tiny import EXERCISES, LINES, ROOT, WORDS, TinyBook


def fresh_runs(book: TinyBook) -> list[str]:
    "Notebooks that a build runs now."
    export.export(Project(book.root))
    return [run.path for run in execute(Project(book.root), Report()) if not run.cached]


# What is run again


def test_nothing_changed_nothing_runs(book):
    assert fresh_runs(book) == []


def test_prose_and_captions_run_nothing_but_show(book):
    book.cell(WORDS, "words-value", old="Among six words", new="Among these six words")
    book.cell(WORDS, "words-figure", old='"Two bars."', new='"Two long bars."')
    book.text(WORDS, "> Counting words", "> Weighing words")  # it becomes the module's docstring, which chapter 02 imports
    assert fresh_runs(book) == []
    book.build()
    page = (book.root / "_book/nbs/01_words.html").read_text(encoding="utf-8")
    assert "Among these six words" in page and "Two long bars." in page and "Weighing words" in page


def test_a_changed_function_runs_its_chapter_and_those_that_use_it(book):
    book.cell(WORDS, "words-frequencies", old="words = text.split()", new="words = text.split(None)")
    assert fresh_runs(book) == [WORDS, EXERCISES, LINES]


def test_a_changed_cell_that_is_not_exported_runs_its_chapter_alone(book):
    book.cell(WORDS, "words-check", old="2 / 6", new="1 / 3")
    assert fresh_runs(book) == [WORDS]


def test_a_file_that_a_chapter_or_its_child_read_counts(book):
    (book.root / "nbs/data.txt").write_text("to be")
    child = "import subprocess\nimport sys\n\nsubprocess.run([sys.executable, '-c', 'open(\"data.txt\").read()'], check=True)"
    book.cell(LINES, "lines-check", child)
    assert fresh_runs(book) == [LINES]
    assert fresh_runs(book) == []
    (book.root / "nbs/data.txt").write_text("not to be")
    assert fresh_runs(book) == [LINES]


def test_cells_that_are_flagged_do_not_run(book):
    for flag in ("#| eval: false", "#| slow", "#| gpu", "#| notest"):
        book.cell(LINES, "lines-check", f"{flag}\nraise SystemError('ran')")
        fresh_runs(book)


def test_outputs_of_two_runs_are_the_same_bytes(book, good):
    (book.root / "_executed/cache/execute" / (WORDS + ".json")).unlink()
    assert fresh_runs(book) == [WORDS]
    assert (book.root / "_executed" / WORDS).read_bytes() == (good.root / "_executed" / WORDS).read_bytes()


def test_what_a_chapter_costs_is_recorded_and_limited(book):
    record = json.loads((book.root / "_executed/cache/execute" / (WORDS + ".json")).read_text())
    assert 0.05 < record["cpu_s"] < 60 and 10 * 2**20 < record["mem_bytes"] < 2**32 and record["cells"] == 6
    book.text("_quarto.yml", "  cell-timeout: 20\n", "  cell-timeout: 20\n  budget: {default: 1}\n")
    book.cell(LINES, "lines-check", "import time\n\nwhile time.process_time() < 2.5:\n    pass")
    with pytest.raises(BuildError, match="more than twice its budget of 1") as stopped:
        book.build()
    assert [problem.origin.path for problem in stopped.value.problems] == [LINES]


def test_junit_names_the_cell_that_failed(book):
    book.cell(LINES, "lines-check", "assert 1 == 2, 'no'")
    with pytest.raises(BuildError):
        book.build()
    cases = ET.parse(book.root / "_executed/junit.xml").getroot().iter("testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == [f"{LINES}:cell 6 (lines-check)"]


# The package and the notebooks


def test_export_follows_the_notebook_and_deletes_what_no_notebook_exports(book):
    book.cell(LINES, "lines-code", old="text.splitlines()", new='text.split("\\n")')
    project = Project(book.root)
    with pytest.raises(BuildError, match="is not what its notebook exports"):
        export.export(project, change=False)
    assert "splitlines" in (book.root / "tinybook/lines.py").read_text(), "a check changes nothing"
    assert export.export(project) == ["lines.py"]
    assert export.export(project) == [] and 'split("\\n")' in (book.root / "tinybook/lines.py").read_text()
    (book.root / LINES).unlink()
    book.text("_quarto.yml", "        - nbs/02_lines.ipynb\n", "")
    assert export.export(Project(book.root)) == ["_modidx.py", "lines.py"]
    assert not (book.root / "tinybook/lines.py").exists()


def test_in_a_checkout_outputs_and_modules_may_differ_only_where_they_are_being_edited(book):
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=book.root, check=True)
    output = [{"name": "stdout", "output_type": "stream", "text": ["hello"]}]
    book.cell(LINES, "lines-check", outputs=output)
    assert lint(Project(book.root))[1] == [], "while it is being edited, a notebook may hold Jupyter's outputs"
    subprocess.run([*git, "commit", "-q", "-a", "-m", "outputs"], cwd=book.root, check=True)
    assert ["has outputs" in problem.message for problem in lint(Project(book.root))[1]] == [True]
    book.cell(LINES, "lines-check", outputs=[])
    book.cell(LINES, "lines-code", old="text.splitlines()", new='text.split("\\n")')
    (book.root / "_executed/cache/export.json").unlink()
    assert export.export(Project(book.root)) == ["lines.py"], "the module is as committed, so the notebook is what changed"


# Pages


CONTEXT = Context(
    values={"seconds:words": "3"},
    names={"frequencies": ["nbs/01_words.ipynb", "api-frequencies"]},
    planned={"sec-train": "Training"},
    unnumbered={"sec-overview": ["nbs/00_overview.ipynb", "In one sitting"]},
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It took {{seconds:words}} s.", "It took 3 s."),
        ("`{{seconds:words}}` is code", "`{{seconds:words}}` is code"),
        ("$x = {{seconds:words}}$ and $a_{{b}}$", "$x = 3$ and $a_{{b}}$"),
        ("```\n{{seconds:words}} `frequencies` @sec-train\n```", "```\n{{seconds:words}} `frequencies` @sec-train\n```"),
        ("Use `frequencies`.", "Use [`frequencies`](01_words.ipynb#api-frequencies)."),
        ("Use `frequencies()`.", "Use [`frequencies()`](01_words.ipynb#api-frequencies)."),
        ("Use ``frequencies(x)``.", "Use ``frequencies(x)``."),
        ("[`frequencies`](there.ipynb)", "[`frequencies`](there.ipynb)"),
        ("## `frequencies`\n\n`frequencies`", "## `frequencies`\n\n[`frequencies`](01_words.ipynb#api-frequencies)"),
        ("see @sec-train.", "see *Training* (to come)."),
        ("see @sec-overview.", "see [In one sitting](00_overview.ipynb#sec-overview)."),
        ("see @sec-words and a@sec-train", "see @sec-words and a@sec-train"),
        ("costs $5 and {{seconds:words}}$ more", "costs $5 and 3$ more"),
    ],
)
def test_prose_is_filled_and_linked(text, shown):
    problems = []
    assert filter_markdown(text, "nbs/02_lines.ipynb", CONTEXT, CONTEXT.values, lambda *told: problems.append(told)) == shown
    assert problems == []


def test_links_are_relative_to_the_page():
    assert relative("nbs/02_lines.ipynb", "nbs/01_words.ipynb") == "01_words.ipynb"
    assert relative("nbs/02_lines.ipynb", "reference.qmd") == "../reference.qmd"
    assert relative("index.qmd", "nbs/01_words.ipynb") == "nbs/01_words.ipynb"
    assert relative("index.qmd", "index.qmd") == ""


def code(id: str, source: str, *outputs: dict) -> dict:
    return {"cell_type": "code", "id": id, "source": source, "outputs": list(outputs)}


def shown(*cells: dict) -> str:
    told = []
    out = filter_notebook({"cells": list(cells)}, "nbs/01_words.ipynb", CONTEXT, lambda *problem: told.append(problem))
    assert not told, told
    return "\n".join(cell["source"] for cell in out)


def data(**bundle) -> dict:
    return {"output_type": "display_data", "data": {name.replace("__", "/"): value for name, value in bundle.items()}}


def test_cells_lose_directives_and_keep_what_a_reader_sees():
    assert shown(code("a", "#| hide\nx = 1")) == ""
    assert shown(code("a", "#| default_exp words")) == ""
    assert shown(code("a", "#| export\ndef f():\n    pass")) == "[]{#api-f}\ndef f():\n    pass"
    assert shown(code("a", "#| exporti\ndef f():\n    pass")) == "def f():\n    pass"
    assert shown(code("a", "#| echo: false\nx", data(text__plain="1"))) == "::: {.cell-output}\n```\n1\n```\n:::"
    assert shown(code("a", "#| output: false\nx", data(text__plain="1"))) == "x"
    assert "1 {.note}" not in shown(code("a", "x\n", data(text__plain="```\nquoted\n```"))).split("````")[0]


def test_an_html_output_becomes_a_raw_block_and_a_table_can_be_numbered():
    table = data(text__html="<table><tr><td>1</td></tr></table>", text__plain="1")
    assert "```{=html}\n<table>" in shown(code("a", "x", table))
    numbered = shown(code("a", '#| label: tbl-x\n#| tbl-cap: "All of it."\nx', table))
    assert "::: {#tbl-x}" in numbered and "All of it.\n:::" in numbered


def test_svg_takes_the_pages_ink_and_keeps_its_ids_to_itself():
    svg = '<?xml?><svg width="72pt" height="36pt" xmlns:xlink="x"><style>*{stroke-linejoin: round}</style><g id="axes_1" stroke="#1a1a2e">'
    svg += '<use xlink:href="#m1" clip-path="url(#p1)" fill="#2b62d9"/></g></svg>'
    out = inline_svg(svg, "cell", 'A "bar" & a line', {"#1a1a2e": "currentColor", "#2b62d9": "var(--fig-1, #2b62d9)"})
    assert out.startswith('<svg role="img" aria-label="A &quot;bar&quot; &amp; a line" style="width:96px"')
    assert 'id="cell-axes_1" stroke="currentColor"' in out and 'href="#cell-m1"' in out and "url(#cell-p1)" in out
    assert "var(--fig-1, #2b62d9)" in out and "<style" not in out and 'height="36pt"' not in out


def test_reading_times_count_prose_and_code_that_is_open():
    text = {"cell_type": "markdown", "id": "t", "source": "two words"}
    folded, hidden = code("b", "#| code-fold: true\nlong = code"), code("c", "#| hide\ny")
    assert stage.words({"cells": [text, code("a", "#| export\nx = one"), folded, hidden]}) == 4


def test_two_chapters_that_export_one_name_are_linked_by_module(book):
    book.cell(LINES, "lines-code", old="def by_line", new="def frequencies_of(text):\n    return frequencies(text)\n\n\ndef by_line")
    book.cell(EXERCISES, "ex-solution", old="def top", new="def by_line(\n    text: str,  # any text\n) -> str:  # the same\n    return text\n\n\ndef top")
    notebooks = {path: json.loads((book.root / path).read_text()) for path in (WORDS, LINES, EXERCISES)}
    names = stage.names(Project(book.root), notebooks)
    assert "by_line" not in names and names["lines.by_line"] == [LINES, "api-by_line"] and "frequencies_of" in names


# Quarto


def test_the_staged_copy_is_a_quarto_project_that_the_filter_passes_unchanged(book):
    project = Project(book.root)
    staged = stage.write_staged(project, stage.stage(project, execute(project, Report())))
    config = yaml.safe_load((staged / "_quarto.yml").read_text())
    pages = [page for entry in config["book"]["chapters"] for page in (entry["chapters"] if isinstance(entry, dict) else [entry])]
    assert all((staged / page).is_file() for page in pages) and (staged / "nbs/images/dot.svg").is_file()
    text = (staged / WORDS).read_text(encoding="utf-8")
    nb = json.loads(text)
    assert all(isinstance(cell["source"], list) for cell in nb["cells"]), "Quarto drops newlines of sources that are strings"
    assert len({cell["id"] for cell in nb["cells"]}) == len(nb["cells"])
    assert not any(cell.get("outputs") for cell in nb["cells"]) and "words.1 ★" in text and "{{" not in text
    run = [sys.executable, str(ROOT / "tools/notebook_filter.py")]
    done = subprocess.run(run, input=text, cwd=staged / "nbs", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == nb


def test_the_filter_alone_shows_a_checkout_with_the_last_outputs(book):
    run = [sys.executable, "-S", str(ROOT / "tools/notebook_filter.py")]  # -S: the standard library alone
    text = (book.root / WORDS).read_text(encoding="utf-8")
    done = subprocess.run(run, input=text, cwd=book.root / "nbs", capture_output=True, text=True, check=True)
    page = "".join("".join(cell["source"]) for cell in json.loads(done.stdout)["cells"])
    assert "has the frequency 0.33" in page and "words.1 ★" in page and "<svg role" in page and "#| export" not in page
    (book.root / "_executed/context.json").unlink()
    done = subprocess.run(run, input=text, cwd=book.root / "nbs", capture_output=True, text=True, check=True)
    assert "#| export" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Quarto is a shell script")
def test_quartos_warnings_stop_the_build_and_its_pages_are_published(book, tmp_path, monkeypatch):
    "A stand-in for Quarto: prints what a test wants and writes one page."
    script = tmp_path / "bin/quarto"
    script.parent.mkdir()
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    def stand_in(says: str, page: str) -> None:
        script.write_text(f"#!/bin/sh\necho '{says}'\nmkdir -p _book\necho '{page}' > _book/index.html\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    before = book.site()
    for says, page, told in (
        ("WARNING: Unable to resolve crossref @fig-x", "<p>fine</p>", "Unable to resolve crossref @fig-x"),
        ("fine", '<a class="quarto-unresolved-ref">?</a>', "left a reference unresolved"),
        ("fine", "<p>::: {.callout}</p>", "printed `:::` as text"),
    ):
        stand_in(says, page)
        with pytest.raises(BuildError, match=told):
            book.build()
        assert book.site() == before
    stand_in("fine", "<p>by Quarto</p>")
    book.build()
    assert "by Quarto" in (book.root / "_book/index.html").read_text()
    assert quarto.program() == str(script)


# Commands


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_nothing_is_installed_through_a_link_to_another_checkouts_environment(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".venv").symlink_to(tmp_path / "theirs")
    monkeypatch.setattr(env, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(env.subprocess, "run", lambda *_, **__: pytest.fail("it ran something"))
    with pytest.raises(SystemExit, match=r"is a link to .*theirs.*Fix: delete the link"):
        env.install()
    assert list((tmp_path / "theirs").iterdir()) == []


def test_what_can_be_no_chapter_is_refused_and_nothing_is_written(book):
    before = (book.root / "_quarto.yml").read_text()
    for number, name, told in (
        ("2", "pages", "has the number 02 already"),
        ("38", "lines", "is called `lines` already"),
        ("38", "My-Chapter", "not a module's name"),
        ("x", "pages", "not a number"),
        ("95", "pages", "numbers from 90 are helpers"),
    ):
        with pytest.raises(BuildError, match=told):
            chapter.create(Project(book.root), number, name)
        assert (book.root / "_quarto.yml").read_text() == before and not list(book.root.glob("nbs/*pages*"))


def test_a_new_chapter_of_the_real_book_builds_at_once(tmp_path):
    for path in [*sources(), *(["_executed"] if (ROOT / "_executed").is_dir() else [])]:
        source, target = ROOT / path, tmp_path / path
        if source.is_dir():
            shutil.copytree(source, target)
        elif path.split("/")[0] not in ("tests", "tools", ".github"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    chapter.create(Project(tmp_path), "38", "my_chapter", title='What a "chapter" is')
    build(Project(tmp_path), Report())
    page = (tmp_path / "_book/nbs/38_my_chapter.html").read_text(encoding="utf-8")
    assert "What a “chapter” is" in page and "my_chapter.1 ★" in page
    assert (tmp_path / "llm_book/my_chapter.py").is_file() and (tmp_path / "llm_book/exercises/my_chapter.py").is_file()


@pytest.mark.parametrize(
    ("path", "part", "order"),
    [
        ("nbs/02_b.ipynb", None, ["One", "Two", "Four"]),
        ("nbs/03_c.ipynb", "Three", ["One", "Two", "Three", "Four"]),
        ("nbs/38_x.ipynb", "New", ["One", "Two", "Four", "New"]),
    ],
)
def test_a_chapter_is_entered_where_its_number_puts_it(path, part, order):
    config = "book:\n  title: T\n  chapters:\n    - index.qmd\n    - nbs/00_o.ipynb\n"
    for number, title in ((1, "One"), (2, "Two"), (4, "Four")):
        config += f'    - part: "{title}"\n      chapters:\n        - nbs/{number:02}_a.ipynb\n'
    config += "  appendices:\n    - nbs/90_plot.ipynb\n"
    entries = yaml.safe_load(chapter.entered(config, path, part))["book"]["chapters"]
    assert entries[:2] == ["index.qmd", "nbs/00_o.ipynb"] and [e["part"] for e in entries[2:]] == order
    assert sum(path in entry["chapters"] for entry in entries[2:]) == 1


def test_serve_rebuilds_what_is_saved_and_tells_open_pages(book):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=serve.serve, args=(book.root, port), daemon=True).start()
    address = f"http://127.0.0.1:{port}/"

    def page(path: str) -> str:
        return urlopen(address + path, timeout=5).read().decode()

    def eventually(what, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                assert what()
                return
            except (OSError, AssertionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    eventually(lambda: "EventSource" in page(""))
    events = urlopen(address + "--changes", timeout=30)
    book.cell(WORDS, "words-value", old="Among six words", new="Among half a dozen words")
    eventually(lambda: "Among half a dozen words" in page("nbs/01_words.html"))
    assert events.readline() == b"data: changed\n"
    book.cell(WORDS, "words-value", old="{{to}}", new="{{too}}")
    time.sleep(2)
    assert "Among half a dozen words" in page("nbs/01_words.html"), "after a mistake the last good site is served"


def test_a_site_takes_the_place_of_another_whole(tmp_path):
    old, new = tmp_path / "_book", tmp_path / "_book.1"
    for folder in (old, new):
        folder.mkdir()
        (folder / "index.html").write_text(folder.name)
    put_in_place(new, old)
    assert (old / "index.html").read_text() == "_book.1" and not new.exists()


def test_builds_wait_for_each_other(book):
    done = []
    threads = [threading.Thread(target=lambda: done.append(build(Project(book.root), Report()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 2


def test_help_lists_every_target():
    text = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in "help book test test-slow serve chapter export check clean quarto hooks constraints".split():
        assert f"make {target} " in text, target


def test_the_filter_reads_no_third_party_package():
    code = "import sys; sys.path.insert(0, 'tools'); import notebook_filter; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "yaml" not in loaded.split() and notebook_filter.STAGED

"""The generated pages: terms and glossary, reading paths, reference, the record of the build, and the pages by hand."""
import json
import re
import shutil
import zipfile
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

import generated
import quarto
from conftest import ROOT
from generated.paths import misnamed
from generated.stairs import drawing
from notebook_filter import Context, filter_notebook
from project import BuildError, Origin, Project
from stage import Cell, Page, write_staged
from terms import anchored, terms, terms_of
from website import offline


def notebook(*cells, path: str = "") -> dict:
    "Text is a Markdown cell, a tuple a code cell: `(source, recorded values)`."
    made = []
    for n, cell in enumerate(cells, 1):
        source, values = cell if isinstance(cell, tuple) else (cell, None)
        outputs = [{"output_type": "display_data", "data": {"application/vnd.llm-book.record+json": {"key": k, "value": v}}} for k, v in (values or {}).items()]
        kind = {"cell_type": "markdown"} if values is None else {"cell_type": "code", "outputs": outputs}
        made.append({"id": f"cell-{n}", "source": source, **kind})
    return {"cells": made}


LAYERS = "# Layers {#sec-layers}\n\n> A volume knob."
START = "# The start {#sec-start .unnumbered}"


@pytest.fixture
def book(tmp_path):
    "A book of two chapters and one helper, of which nothing was run."

    def make(layers: dict, start: dict | None = None, own: dict | None = None) -> generated.Book:
        config = {
            "book": {"title": "Small", "chapters": ["index.qmd", "nbs/00_start.ipynb", {"part": "One", "chapters": ["nbs/10_layers.ipynb"]}]},
            "llm-book": {"planned": [{"part": "One", "chapters": {"layers": "Layers", "attention": "Attention"}}], **(own or {})},
        }
        (tmp_path / "_quarto.yml").write_text(json.dumps(config))
        (tmp_path / "index.qmd").write_text("# Home {#sec-home}\n")
        shutil.copy(ROOT / "settings.ini", tmp_path)
        notebooks = {"nbs/00_start.ipynb": start or notebook(START), "nbs/10_layers.ipynb": layers}
        values = {"minutes:start": "10", "seconds:start": "5", "minutes:layers": "20", "seconds:layers": "90", "minutes:index": "0"}
        costs = {"layers": {"cpu_s": 12.34, "mem_bytes": 300 * 2**20, "cells": 9, "checks": 4}}
        return generated.Book(Project(tmp_path), notebooks, {path: None for path in notebooks}, costs, Context(values=values))

    return make


# Terms and the glossary


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A piece is called a **token**. Next.", [("token", "A piece is called a **token**.")]),
        ("First. Then a **gate** opens: it can.\nMore. Last.", [("gate", "Then a **gate** opens: it can.")]),
        ("The `x.y` of a **norm** is 1.5 [@a]. B.", [("norm", "The `x.y` of a **norm** is 1.5 [@a].")]),
        ("This is the **loss**:\n\n$$\nx = 1,\n$$ {#eq-x}\n\nwhere", [("loss", "This is the **loss**: $$ x = 1 $$")]),
        ("It is. About $N$ of the **law** are\n\n$$\nx.\n$$ {#eq-x}", [("law", "About $N$ of the **law** are $$ x. $$")]),
        ("First. So\n\n$$\nx = y,\n$$ {#eq-x}\n\nwhich is a **rule**. Last.", [("rule", "So $$ x = y, $$ which is a **rule**.")]),
        ("So **the chance that it is new** falls.", []),
        ("- one\n- the **mask**, which hides\n- three", [("mask", "the **mask**, which hides")]),
        ("A **b** and a **c**.[^1]\n\n[^1]: Note.", [("b", "A **b** and a **c**."), ("c", "A **b** and a **c**.")]),
        ("**Layer normalization** treats each. B.", [("Layer normalization", "**Layer normalization** treats each.")]),
        ("**A block** is two layers.", [("block", "**A block** is two layers.")]),
        ("**The whole model** is. **You need** it. **Shape**: 2.", []),
        ("**Looking back.** Every token.", []),
        ("It ends. **Needs:** nothing. **It runs** fast.", []),
        ("- **It forgets.** More.\n- **Pre-norm** keeps.", []),
        ("| a | the **cell** |\n|---|---|", []),
        (": The **caption** {#tbl-x}", []),
        ("## A **heading** here", []),
        ("Not `**code**` and not $a **b** c$.", []),
        ("```text\na **fence** b\n```", []),
        ("::: {.callout-note}\nThe **box** is.\n:::\n\nThe **rest** is.", [("rest", "The **rest** is.")]),
    ],
)
def test_terms_are_bold_inside_a_sentence(text, found):
    assert [(term.words, term.sentence) for term in terms_of(text)[0]] == found


def test_a_box_over_several_cells_holds_no_terms():
    nb = notebook("::: {.callout-tip}\n## Solution", "The **inner** term.", ":::", "The **outer** term.")
    assert {n: [term.words for term in found] for n, found in terms(nb).items()} == {4: ["outer"]}


def test_terms_get_an_anchor_where_they_stand():
    text = "A **b** and the **learning rate**."
    assert anchored(text, terms_of(text)[0]) == "A [**b**]{#term-b} and the [**learning rate**]{#term-learning-rate}."
    cells = filter_notebook(notebook(LAYERS, text), "nbs/10_layers.ipynb", Context(), print)
    assert "[**b**]{#term-b}" in cells[1]["source"]


def test_the_glossary_has_every_term_once_in_order_with_its_values_and_links(book):
    nb = notebook(LAYERS, ("record('n', 3)", {"n": "3"}), "A [**x**](y.ipynb). The **norm** of {{n}} ([here](../start.qmd), [b](00_start.ipynb#c)). An **Attention** head.")
    page = generated.PAGES["glossary"](book(nb))
    entries = re.findall(r"^(.+)\n: {3}(.+)$", page, re.M)
    assert [name for name, _ in entries] == ["Attention", "norm"]
    assert "The **norm** of 3 ([here](start.qmd), [b](nbs/00_start.ipynb#c))." in entries[1][1]
    assert "[[Layers](nbs/10_layers.ipynb#term-norm)]{.where}" in entries[1][1]


def test_a_term_that_is_bold_twice_is_an_error_that_names_both_cells(book):
    with pytest.raises(BuildError) as caught:
        generated.PAGES["glossary"](book(notebook(LAYERS, "The **norm** is."), notebook(START, "A **Norm** is.")))
    (problem,) = caught.value.problems
    assert str(problem.origin) == "nbs/10_layers.ipynb:cell 2 (cell-2)" and "nbs/00_start.ipynb:cell 2 (cell-2)" in problem.message


def test_exercises_have_names_and_no_numbers():
    nb = notebook(("#| default_exp exercises.layers", {}), "## Exercises {#sec-layers-exercises}", "### layers.3 ★★ The **gate**\n\nA **word** here.")
    cells = filter_notebook(nb, "nbs/10_layers.ipynb", Context(), print)
    assert cells[0]["source"] == "## Exercises {#sec-layers-exercises}"
    assert cells[1]["source"] == "### layers.3 ★★ The **gate** {.unnumbered}\n\nA **word** here.", "and no terms"


# The home page


def test_paths_list_what_exists_with_times_and_name_what_is_to_come(book):
    path = {"name": "For all", "who": "You read.", "pages": ["index", "start", "layers", "attention"]}
    page = generated.PAGES["paths"](book(notebook(LAYERS), own={"paths": [path]}))
    assert "1. [Home](index.qmd)\n1. [The start](nbs/00_start.ipynb) [10 min, 5 s to run]{.time}" in page
    assert "[Layers](nbs/10_layers.ipynb) [20 min, 90 s to run]{.time}" in page
    assert "[30 min to read, 95 s to run]{.total}" in page and "[To come: *Attention*]{.later}" in page


def test_a_path_to_no_page_is_an_error(book):
    path = {"name": "For all", "who": "You read.", "pages": ["layer"]}
    with pytest.raises(BuildError, match="names `layer`, which is no page") as caught:
        generated.PAGES["paths"](book(notebook(LAYERS), own={"paths": [path]}))
    assert "layers" in caught.value.problems[0].fix


def test_contents_tell_what_there_is_and_what_is_to_come(book):
    page = generated.PAGES["contents"](book(notebook(LAYERS)))
    assert "2 chapters of 3 can be read today" in page
    assert "One\n:   [Layers](nbs/10_layers.ipynb) [20 min, 90 s to run]{.time} · *Attention*" in page


def test_the_paths_of_the_book_name_pages_and_chapters_of_the_plan():
    project = Project(ROOT)
    names = SimpleNamespace(project=project)
    assert len(project.own["paths"]) == 4
    assert [told for path in project.own["paths"] for told in misnamed(names, path)] == []
    for path in project.own["paths"]:
        assert len(set(path["pages"])) == len(path["pages"])


def test_the_cover_needs_the_values_that_it_draws(book):
    with pytest.raises(BuildError, match="the cover draws blind_bits"):
        generated.PAGES["cover"](book(notebook(LAYERS)))


def test_the_staircase_needs_the_values_that_it_draws(book):
    with pytest.raises(BuildError, match="the staircase draws stairs_floor_0, .*, stairs_steps, which no cell"):
        generated.PAGES["stairs"](book(notebook(LAYERS)))


def test_the_staircase_has_a_step_for_each_floor():
    floors = {"guess": 1.1, "one": 1.0, "two": 0.9, "limit": 0.7}
    curve = [(1.0, 1.1), (10.0, 1.0), (100.0, 0.9), (2000.0, 0.7)]
    drawn = [ElementTree.fromstring(part) for part in drawing(floors, curve)]
    floor_heights = [float(path.get("d").split()[1].split("H")[0]) for path in drawn if "H" in path.get("d", "")]
    points = next(path.get("d")[1:].split() for path in drawn if path.get("stroke") == "var(--fig-1)")
    assert [float(point.split(",")[1]) for point in points] == floor_heights == sorted(floor_heights)
    xs = [float(point.split(",")[0]) for point in points]
    assert xs[0] == 0 and xs[-1] == 640 and abs((xs[2] - xs[1]) - (xs[1] - xs[0])) < 0.2  # logarithmic
    assert {"guess 1.10", "limit 0.70", "1 training step", "1,000"} <= {part.text for part in drawn}


# Reference and build


REFERENCE = '''#| export
SIZE = 3  # of all

class Norm(Base):
    "Keep the *size* of `x` steady, $x < 1$."
    eps: float = 1e-6  # added

    def __init__(
        self,
        d: int,  # width
    ):
        super().__init__()

    @property
    def width(self) -> int:
        "How wide."
        return 1

    def _hidden(self): return 2

def scale(
    x: int,  # what
    by: int = 2,
) -> int:  # more
    "Scale @all <b>."
    return x * by

def _private(): ...
'''


def test_the_reference_shows_public_names_as_written(book):
    page = generated.PAGES["reference"](book(notebook(LAYERS, "## Keep the size {#sec-size}", (REFERENCE, {}))))
    assert re.findall(r"^### `(\w+)`", page, re.M) == ["SIZE", "Norm", "scale"]
    assert "SIZE = 3  # of all" in page and "_private" not in page and "_hidden" not in page and "return" not in page
    assert "    eps: float = 1e-6  # added\n\n    def __init__(\n        self,\n        d: int,  # width\n    ):" in page
    assert '    @property\n    def width(self) -> int:\n        "How wide."' in page
    assert "    by: int = 2,\n) -> int:  # more\n```" in page
    assert r"Keep the \*size\* of `x` steady, $x < 1$." in page and r"Scale \@all \<b\>." in page
    assert "[Built in [Keep the size](nbs/10_layers.ipynb#api-scale)]{.where}" in page
    assert "[`Norm`](#ref-layers-Norm) · [`scale`](#ref-layers-scale) · [`SIZE`](#ref-layers-SIZE)" in page


def test_the_build_tells_what_ran(book):
    made = book(notebook(LAYERS))
    assert "2 notebooks with 9 code cells" in generated.PAGES["build-summary"](made)
    assert "| [Layers](nbs/10_layers.ipynb) | 9 | 4 | 12.3 | 300 MB |" in generated.PAGES["build-costs"](made)
    figure = generated.PAGES["build-figure"](made)
    assert "12.3 s" in figure and "Layers 12.3 of 30" in figure
    assert "| Python | " in generated.PAGES["build-versions"](made)


# Pages written by hand


def test_the_code_of_the_refresher_runs():
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "start.qmd").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 5
    exec(compile("\n".join(blocks), "start.qmd", "exec"), {})


def test_every_dimension_in_the_chapters_is_in_the_notation():
    table = (ROOT / "notation.qmd").read_text(encoding="utf-8").split(": The letters of the book.")[0]
    known = {letter for cell in re.findall(r"^\| (\$[^|]*)\|", table, re.M) for pair in re.findall(r"\$(\w)\$|`(\w+)`", cell) for letter in pair if letter}
    used = set()
    for chapter in Project(ROOT).chapters:
        file = ROOT / "llm_book" / f"{chapter.name}.py"
        if chapter.appendix:  # helpers draw any matrix, with letters of their own
            continue
        for shape in re.findall(r'(?:Float|Int|Bool|Shaped|Num)\w*\[\w+(?:\.\w+)?, "([^"]*)"\]', file.read_text(encoding="utf-8")):
            used |= {name for name in re.findall(r"(?<![\w*])[A-Z][a-z]?\b", shape)}
    assert {"B", "T", "D"} <= used and used <= known, used - known
    names = set(re.findall(r"\| `(\w+)`", table))
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "llm_book").rglob("*.py"))
    assert {"d_model", "n_heads", "n_layers", "vocab_size", "context"} <= {name for name in names if re.search(rf"\b{name}\b", code)}


def test_the_comparison_is_dated_and_names_each_work():
    text = (ROOT / "compare.qmd").read_text(encoding="utf-8")
    assert "as of November 2026" in text
    for work in ("Raschka", "nanoGPT", "nanochat", "CS336", "D2L", "Hugging Face"):
        assert work in text
    assert text.count("*Better there:*") == text.count("*Better here:*") == 5


# For Quarto


def test_quarto_gets_the_form_for_errors_and_a_short_contents_of_long_pages(book, tmp_path):
    project = book(notebook(LAYERS)).project
    config = json.loads((tmp_path / "_quarto.yml").read_text())
    config["book"]["repo-url"] = "https://github.com/some/book"
    (tmp_path / "_quarto.yml").write_text(json.dumps(config))
    long = "# Long\n\n" + "## Section\n\nText.\n\n" * 41
    pages = [Page(path, [Cell("markdown", text, {}, Origin(path))]) for path, text in (("index.qmd", "# Home\n\n## One"), ("long.qmd", long))]
    staged = write_staged(project, pages)
    quarto.use_report_form(staged)
    assert "https://github.com/some/book/issues/new?template=error-in-the-book.yml" in (staged / "_quarto.yml").read_text(encoding="utf-8")
    assert (staged / "long.qmd").read_text(encoding="utf-8").startswith("---\ntoc-depth: 2\n---\n\n# Long")
    assert (staged / "index.qmd").read_text(encoding="utf-8").startswith("# Home")


# The archive


def test_the_archive_has_the_same_bytes_for_the_same_site(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "nbs").mkdir(parents=True)
        for path in ("nbs/b.html", "index.html", "a.css")[:: 1 if name == "one" else -1]:
            (tmp_path / name / path).write_text(path)
        offline.pack(tmp_path / name)
    offline.pack(tmp_path / "two")  # over the old one, which it does not contain
    assert (tmp_path / "one/book.zip").read_bytes() == (tmp_path / "two/book.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one/book.zip") as archive:
        assert archive.namelist() == ["book/a.css", "book/index.html", "book/nbs/b.html"]

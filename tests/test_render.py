"""The embedded renderer: what a page becomes, and every fault that it must stop at."""
import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from project import BuildError, Origin, Project
from render import render
from stage import Cell, Page
from website import katex, source, tree

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = ["index.qmd", "nbs/00_start.ipynb", "nbs/10_layers.ipynb", "nbs/11_next.ipynb"]
APPENDIX = "nbs/90_plot.ipynb"
BIBLIOGRAPHY = """
@article{knuth1984, author = {Knuth, Donald E.}, title = {Literate Programming}, journal = {The Computer Journal}, volume = {27}, year = {1984}}
@book{strunk1918, author = {Strunk, William}, title = {The Elements of Style}, publisher = {Private}, year = {1918}}
"""
SVG = '<svg role="img" aria-label="a line" viewBox="0 0 9 9"><path d="M0 0L9 9" stroke="currentColor"/></svg>'
FIGURE = f'::: {{#fig-line fig-alt="a line"}}\n```{{=html}}\n{SVG}\n```\n\nA *line*.\n:::'


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Project:
    "One project for all faults: what is the same in each is read once."
    return make_project(tmp_path_factory.mktemp("faulty"))


def make_project(root: Path) -> Project:
    (root / "nbs").mkdir()
    shutil.copy(ROOT / "settings.ini", root)
    book = {
        "title": "A small book", "author": "Somebody", "repo-url": "https://github.com/some/book",
        "chapters": [*CHAPTERS[:2], {"part": "One part", "chapters": CHAPTERS[2:]}], "appendices": [APPENDIX],
    }
    (root / "_quarto.yml").write_text(json.dumps({"book": book, "bibliography": "references.bib", "lang": "en-US"}))
    (root / "references.bib").write_text(BIBLIOGRAPHY)
    (root / "nbs" / "box.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return Project(root)


def page(path: str, *cells) -> Page:
    "Cells are Markdown, or `(kind, source, options, id)` as far as they differ from that."
    made = []
    for n, cell in enumerate(cells, 1):
        kind, text, options, id = (cell if isinstance(cell, tuple) else ("markdown", cell)) + ({}, f"cell-{n}")[(len(cell) if isinstance(cell, tuple) else 2) - 2 :]
        made.append(Cell(kind, text, options, Origin(path, n, id)))
    return Page(path, made)


def pages(*layers, **others) -> list[Page]:
    "The book's pages, with these cells after the title of `layers`."
    return [
        page("index.qmd", "# Welcome {.unnumbered}\n\nSee @sec-layers and @fig-line."),
        page("nbs/00_start.ipynb", "# The start {#sec-start .unnumbered}\n\n> It begins.", "## First {#sec-first}"),
        page("nbs/10_layers.ipynb", "# Layers {#sec-layers}\n\n> A volume knob.", ("markdown", FIGURE, {}, "line-output"), *layers),
        page("nbs/11_next.ipynb", "# Next {#sec-next}", *others.get("next", ())),
        page(APPENDIX, "# Plots {#sec-plot}", *others.get("plot", ())),
    ]


def rendered(project: Project, content: list[Page]) -> Path:
    out = project.root / "_book"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    render(project, content, out, lambda text: None)
    return out


def html(project: Project, *cells, name: str = "nbs/10_layers.html", **others) -> str:
    return (rendered(project, pages(*cells, **others)) / name).read_text(encoding="utf-8")


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", markup))


# Numbers and references


def test_numbers_are_those_of_quarto_books(project):
    text = html(
        project,
        "## One {#sec-one}\n\n### Deeper {#sec-deeper}\n\n## Two {#sec-two}\n\n### Deeper again {#sec-again}\n\n## None {.unnumbered}",
        "$$\nx\n$$ {#eq-x}\n\nand\n\n$$ y $$ {#eq-y}.",
        "| a |\n|---|\n| b |\n\n: Costs {#tbl-costs}",
        "@sec-one, @sec-deeper, @sec-two, @sec-again, @eq-y, @tbl-costs, @fig-line, -@fig-line, [@eq-x; @eq-y], [Fig. @fig-line], @sec-layers, @sec-start, @sec-plot, @sec-deep-in-plot.",
        plot=["## Deep {#sec-deep-in-plot}\n\n$$ z $$ {#eq-z}\n\n@eq-z"],
    )
    expected = (
        "Section 1.1, Section 1.1.1, Section 1.2, Section 1.2.1, Equation 1.2, Table 1.1, Figure 1.1, 1.1, Equation 1.1, Equation 1.2, "
        "Fig. 1.1, Chapter 1, The start, Appendix A, Section A.1."
    )
    assert expected in words(text).replace("\xa0", " ")
    assert "Table 1.1: Costs" in words(text) and "Figure 1.1: A line." in words(text)
    assert '<h1 id="sec-layers"><span class="number">Chapter 1</span> Layers</h1>' in text
    assert 'href="#eq-y"' in text and 'href="90_plot.html#sec-deep-in-plot"' in text and 'href="00_start.html#sec-start"' in text
    plot = (project.root / "_book/nbs/90_plot.html").read_text(encoding="utf-8")
    assert "Appendix A" in plot and "(A.1)" in plot


def test_figures_of_unnumbered_pages_have_plain_numbers(project):
    content = pages()
    content[1] = page("nbs/00_start.ipynb", "# The start {#sec-start .unnumbered}", '![A box](box.svg){#fig-box fig-alt="a box"}\n\n## First\n\n@fig-box')
    out = rendered(project, content)
    text = (out / "nbs/00_start.html").read_text(encoding="utf-8")
    assert "Figure 1: A box" in words(text) and '<h2 id="first">First' in text
    assert 'alt="a box"' in text and (out / "nbs/box.svg").is_file()


def test_citations_and_their_list(project):
    text = html(project, "As @knuth1984 says [see @strunk1918, p. 3].", next=["Nothing cited."])
    assert "As Knuth (1984) says (see Strunk 1918, 3)." in words(text)
    assert 'href="#ref-knuth1984"' in text and 'id="ref-knuth1984"' in text and 'href="#references"' in text
    assert "References" not in (project.root / "_book/nbs/11_next.html").read_text(encoding="utf-8")


def test_citations_lead_to_the_page_of_references_where_there_is_one(project):
    text = html(project, "As @knuth1984 says.", plot=["::: {#refs}\n:::"])
    assert 'href="90_plot.html#ref-knuth1984"' in text and 'id="ref-knuth1984"' not in text
    assert 'id="ref-knuth1984"' in (project.root / "_book/nbs/90_plot.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [("@article{a, title = {Unclosed", "not valid BibTeX"), ("@book{a, year={1}}\n@book{a, year={2}}", "two entries `a`"), (None, "which is not there")],
)
def test_a_faulty_bibliography_is_told(project, text, message):
    file = project.root / "references.bib"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(BuildError, match=message):
        rendered(project, pages())


# Blocks


def test_a_collapsed_callout_spans_cells_and_opens_by_keyboard(project):
    text = html(project, '::: {.callout-tip collapse="true"}\n## Solution', ("code", "x = 1"), "Done.\n:::", "After.")
    details = re.search(r'<details class="callout callout-tip callout-default"><summary class="callout-title">\s*Solution\s*</summary>.*?</details>', text, re.S)
    assert details and "Done." in details[0] and "sourceCode" in details[0] and "After." not in details[0]
    assert "On this page" not in text, "the callout's title is not a section"


def test_callouts_without_title_are_named_by_kind_unless_simple(project):
    text = html(project, "::: {.callout-warning}\nA.\n:::", '::: {.callout-note appearance="simple"}\nB.\n:::')
    assert text.count('class="callout-title"') == 1 and "Warning" in words(text)


def test_code_cells_fold_and_keep_any_backticks(project):
    code = 'text = """\n````\n```\n"""  # <b> & "c"'
    text = html(project, ("code", code), ("code", "y = 2", {"code-fold": "true", "code-summary": '"Draw it"'}), ("code", "z = 3", {"code-fold": "show"}))
    assert "````" in text and "&lt;b&gt; &amp;" in text
    assert '<details class="cell fold"><summary>Draw it</summary>' in text and '<details class="cell fold" open>' in text
    assert "cb1-1" not in text, "no anchors for single lines"


def test_tabs_are_sections_that_read_well_without_javascript(project):
    text = html(project, "::: {.panel-tabset}\n## PyTorch\n\nOne.\n\n## NumPy\n\nTwo.\n:::\n\nAfter.")
    assert re.search(r'<div class="tabset">\s*<section class="tab"><p class="tab-title">\s*PyTorch\s*</p>\s*<p>One.</p>\s*</section><section', text)
    assert "After." in text.split("</section></div>")[1]


def test_tables_scroll_in_their_own_box_and_have_no_forced_widths(project):
    row = "| " + "long words " * 20 + "| 1 |"
    text = html(project, f"| a | b |\n|---|--:|\n{row}\n\n: Long {{#tbl-long}}")
    assert '<figure id="tbl-long" class="float-table">' in text and '<div class="scroll">' in text and "<col " not in text


def test_formulas_are_typeset_with_mathml_and_no_script(project):
    out = rendered(project, pages(r"Inline $x_1$ and $$\frac{a}{b}$$ {#eq-ab}"))
    text = (out / "nbs/10_layers.html").read_text(encoding="utf-8")
    assert text.count("<math ") == 2 and "katex.min.css" in text and 'id="eq-ab"' in text
    fonts = {file.suffix for file in (out / "katex/fonts").iterdir()}
    assert fonts == {".woff2"} and not list(out.rglob("katex*.js"))
    css = (out / "katex/katex.min.css").read_text(encoding="utf-8")
    assert "woff2" in css and ".ttf" not in css and ".woff)" not in css
    assert "katex.min.css" not in (out / "nbs/11_next.html").read_text(encoding="utf-8"), "a page without formulas loads nothing"


def test_a_book_without_formulas_needs_no_katex(project, monkeypatch):
    monkeypatch.setattr(katex, "katex", lambda *_: pytest.fail("KaTeX was asked for"))
    assert not (rendered(project, pages("No formulas.")) / "katex").exists()


def test_links_between_sources_become_links_between_pages(project):
    anchored = ("markdown", "[]{#api-norm}", {}, "cell-3")
    text = html(project, anchored, "[a](11_next.ipynb) [b](../index.qmd) [c](00_start.ipynb#sec-first) [d](#api-norm) [e](10_layers.ipynb#api-norm) <https://example.org/x.ipynb>")
    for target in ("11_next.html", "../index.html", "00_start.html#sec-first", "#api-norm", "https://example.org/x.ipynb"):
        assert f'href="{target}"' in text
    assert text.count('href="#api-norm"') == 2


# The page


def test_pages_have_landmarks_titles_and_neighbors(project):
    text = html(project, "## One")
    assert "<title>Layers – A small book</title>" in text and '<meta name="description" content="A volume knob.">' in text
    assert '<html lang="en-US">' in text and '<main id="book-main"' in text and 'href="#book-main"' in text
    assert '<a href="10_layers.html" aria-current="page"><span class="number">1</span> Layers</a>' in text
    assert '<p class="part">One part</p>' in text and '<p class="part">Appendices</p>' in text
    assert re.search(r'rel="prev" class="prev" href="00_start.html".*The start', text) and 'href="11_next.html"' in text
    assert "https://github.com/some/book/blob/main/nbs/10_layers.ipynb" in text
    assert "https://colab.research.google.com/github/some/book/blob/main/nbs/10_layers.ipynb" in text
    assert "https://github.com/some/book/issues/new?template=error-in-the-book.yml&amp;where=nbs/10_layers.ipynb" in text
    assert "<!--cell" not in text


def test_pages_load_nothing_from_elsewhere(project):
    out = rendered(project, pages("$x$"))
    for file in [*out.rglob("*.html"), out / "book.css", out / "katex/katex.min.css"]:
        text = file.read_text(encoding="utf-8")
        loaded = re.findall(r'(?:src=|<link[^>]*href=|url\()"?([^")]*)', text)
        assert not [address for address in loaded if re.match(r"https?:|//", address)], file
        for address in loaded:
            assert address.startswith("data:") or (file.parent / address).is_file(), (file, address)


def test_only_the_text_is_indexed_for_search(project):
    out = rendered(project, pages("Find the xylophone in $x$."))
    kept = {file.suffix for file in (out / "pagefind").rglob("*") if file.is_file()}
    assert kept <= {".js", ".json", ".pagefind", ".pf_meta", ".pf_index", ".pf_fragment"}
    assert json.loads((out / "pagefind/pagefind-entry.json").read_text())["languages"]["en-us"]["page_count"] == 5
    assert "<article data-pagefind-body>" in (out / "index.html").read_text(encoding="utf-8")


# Builds


def digests(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_two_builds_are_byte_identical(project):
    first = digests(rendered(project, pages("$x$, @knuth1984", ("code", "x = 1"))))
    assert digests(rendered(project, pages("$x$, @knuth1984", ("code", "x = 1")))) == first, "from the cache"
    shutil.rmtree(project.executed / "cache" / "render")
    assert digests(rendered(project, pages("$x$, @knuth1984", ("code", "x = 1")))) == first, "from nothing"


def test_what_changes_is_built_again(project):
    before = digests(rendered(project, pages("![Box](box.svg)")))
    (project.root / "nbs/box.svg").write_text("<svg/>")
    after = digests(rendered(project, pages("![Box](box.svg)")))
    assert {name for name in after if after[name] != before.get(name)} == {"nbs/box.svg", "book.zip"}
    assert "Another sentence." in html(project, "![Box](box.svg)\n\nAnother sentence.")


def test_a_failed_build_writes_nothing(project):
    with pytest.raises(BuildError):
        rendered(project, pages("@fig-nowhere"))
    assert not list((project.root / "_book").iterdir())
    assert "Mended." in html(project, "Mended.")


# Faults. Each: the cells, what the message says, what the fix says; the first cell of them is cell 3 of the page.

FAULTS = {
    "unknown reference": (["See @fig-lime."], "`@fig-lime` refers to no label", "did you mean @fig-line?"),
    "unknown reference among others": (["See [@fig-line; @eq-nowhere]."], "`@eq-nowhere` refers to no label", "define the label"),
    "duplicate label": (["## Again {#sec-first}"], "`sec-first` is defined twice", "nbs/00_start.ipynb:cell 2"),
    "duplicate figure": (['![B](box.svg){#fig-line fig-alt="b"}'], "`fig-line` is defined twice", "nbs/10_layers.ipynb:cell 2"),
    "unknown citation": (["As @knuth1985 says."], "`@knuth1985` is not in the bibliography", "did you mean @knuth1984?"),
    "unknown citation in brackets": (["As said [@knuth1984; @nobody2000]."], "`@nobody2000` is not in the bibliography", "references.bib"),
    "link to no page": (["[x](10_layer.ipynb)"], "`10_layer.ipynb` leads to no page", "did you mean 10_layers.ipynb"),
    "link to another file": (["[x](../settings.ini)"], "`../settings.ini` leads to no page", "https"),
    "link to no anchor": (["[x](00_start.ipynb#sec-frist)"], "leads to an anchor that is not there", "did you mean #sec-first"),
    "link to no anchor here": (["[x](#nowhere)"], "leads to an anchor that is not there", "no such heading"),
    "option": ([("code", "x = 1", {"code-flod": "true"})], "the cell option `code-flod` is not known", "did you mean `code-fold`?"),
    "value of an option": ([("code", "x = 1", {"code-fold": "yes"})], "`code-fold` can't be `yes`", "false, show, true"),
    "callout kind": (["::: {.callout-nots}\nA.\n:::"], "there is no callout `callout-nots`", "did you mean `callout-note`?"),
    "callout option": (["::: {.callout-note colapse=true}\nA.\n:::"], "callouts have no option `colapse`", "collapse"),
    "callout value": (["::: {.callout-note collapse=yes}\nA.\n:::"], "`collapse` of a callout can't be `yes`", "false, true"),
    "unknown div": (["::: {.panel-tabsets}\nA.\n:::"], "not in the book's Markdown", "did you mean `.panel-tabset`?"),
    "tabset without tabs": (["::: {.panel-tabset}\nA.\n:::"], "a panel-tabset has no tabs", "heading"),
    "unclosed div": (["::: {.callout-note}\nA.", "B."], "`::: {.callout-note}` is never closed", "`:::`"),
    "stray div": (["A.\n\n:::"], "this `:::` closes nothing", "delete it"),
    "indented div": (["- a\n\n  ::: {.callout-note}\n  b\n  :::"], "a `:::` line is indented", "first column"),
    "div glued to text": (["Text\n::: {.callout-note}\nA.\n:::"], "directly follows text", "empty line"),
    "broken opening": (["::: {.callout-note\nA.\n:::"], "is not a valid opening", "::: {.callout-note}"),
    "unclosed code": (["```python\nx = 1"], "the code fence `` ``` `` is never closed", "end the code"),
    "second title": (["# Another"], "a second title on the page", "##"),
    "level jump": (["### Deep"], "a heading of level 3 follows level 1", "2 `#`"),
    "TeX": ([r"So $\frac{a}$."], r"KaTeX does not read `\frac{a}`", "correct the TeX"),
    "TeX of a display": (["$$\nx_{1}_{2}\n$$"], "Double subscript", "correct the TeX"),
    "figure without alt text": (["![A box](box.svg){#fig-box}"], "the figure `fig-box` has no alt text", "fig-alt"),
    "figure block without alt text": (["::: {#fig-b}\n```python\nx\n```\n\nCaption.\n:::"], "the figure `fig-b` has no alt text", "fig-alt"),
    "figure without caption": (['::: {#fig-b fig-alt="b"}\n```python\nx\n```\n:::'], "the figure `fig-b` has no caption", "paragraph"),
    "image without alt text": (["See ![](box.svg) here."], "the image `box.svg` has no alt text", "![what one sees]"),
    "missing image": (["![A box](bix.svg)"], "the image `bix.svg` does not exist", "nbs/bix.svg"),
    "image from the network": (["![A box](https://example.org/box.svg)"], "comes from the network", "beside the notebook"),
    "image outside": (["![A box](../../box.svg)"], "lies outside the book", "beside"),
    "not an image": (["![A box](../settings.ini)"], "is not an image", ".svg"),
    "label without prefix": (["## Two {#two}"], "the label `two` has no known prefix", "`#sec-…`"),
    "label of another kind": (["## Two {#fig-two}"], "the label `fig-two` has no known prefix", "`#sec-…`"),
    "label of a listing": (["::: {#lst-x}\nA.\n:::"], "the label `lst-x` has no known prefix", "`#fig-…` or `#tbl-…`"),
    "label of text": (["[text]{#sec-text}"], "`#sec-text` labels plain text", "headings"),
    "label that nothing takes": (["Text {#eq-x}"], "a label that belongs to nothing", "closing"),
    "table without caption": (["::: {#tbl-t}\n| a |\n|---|\n| b |\n:::"], "the table `tbl-t` has no caption", "paragraph"),
    "raw HTML": (["A <b>bold</b> word."], "raw HTML is not in the book's Markdown", "Markdown"),
    "raw HTML block": (["<div>\n\nText\n\n</div>"], "raw HTML is not in the book's Markdown", "Markdown"),
    "raw HTML fence": (["```{=html}\n<p>\n```"], "raw HTML is not in the book's Markdown", "Markdown"),
    "HTML comment": (["<!-- a note -->"], "raw HTML is not in the book's Markdown", "Markdown"),
    "shortcode": (["{{< video x.mp4 >}}"], "a Quarto shortcode", "Markdown"),
    "front matter": (["---\ntitle: x\n---"], "a YAML header is not in the book's Markdown", "_quarto.yml"),
    "horizontal rule": (["A.\n\n---\n\nB."], "a horizontal rule is not", "heading"),
    "indented code": (["Text\n\n    code"], "a code block does not say its language", "```text"),
    "fence without language": (["```\ncode\n```"], "a code block does not say its language", "```text"),
    "definition list": (["Word\n:   meaning"], "a definition list is not", "table or a list"),
    "line block": (["| a\n| b"], "a line block", "paragraphs"),
    "subscript": (["H~2~O"], "subscript between `~`", "$x_2$"),
    "open display math": (["$$\nx\n\ny"], "display math that is not closed", "$$"),
    "footnote without text": (["A.[^1]"], "a footnote without text", "[^name]:"),
    "footnote defined twice": (["A.[^1]\n\n[^1]: b\n\n[^1]: c"], "pandoc warns", ""),
    "script in an output": ([("markdown", "```{=html}\n<script src='https://example.org/x.js'></script>\n```", {}, "c-output")], "pages load nothing", "table or a figure"),
    "script that fetches": ([("markdown", "```{=html}\n<script>import('https://example.org/x.js')</script>\n```", {}, "c-output")], "pages load nothing", "table or a figure"),
    "frame in an output": ([("markdown", "```{=html}\n<iframe srcdoc='x'></iframe>\n```", {}, "c-output")], "pages load nothing", "table or a figure"),
    "output without alt text": ([("markdown", "```{=html}\n<svg viewBox='0 0 1 1'></svg>\n```", {}, "c-output")], "<svg> has no alt text", "fig-alt"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(faulty, fault):
    cells, message, fix = FAULTS[fault]
    with pytest.raises(BuildError) as caught:
        rendered(faulty, pages(*cells))
    problems = caught.value.problems
    assert len({(p.origin, p.message, p.line) for p in problems}) == len(problems), "each is told once"
    first = [problem for problem in problems if message in problem.message]
    assert first, problems
    assert fix in first[0].fix
    assert (first[0].origin.path, first[0].origin.index) == ("nbs/10_layers.ipynb", 3)


def test_a_fault_names_its_line_and_leads_to_no_others(project):
    with pytest.raises(BuildError) as caught:
        rendered(project, pages("One.\n\nTwo @fig-lime."))
    (problem,) = caught.value.problems
    assert problem.line == 3 and "> " in str(problem) and "Two @fig-lime." in str(problem)


def test_of_a_long_line_the_part_around_the_fault_is_shown(project):
    with pytest.raises(BuildError) as caught:
        rendered(project, pages("word " * 100 + "@fig-lime " + "word " * 100))
    assert "@fig-lime" in str(caught.value).split("> ")[1] and max(map(len, str(caught.value).splitlines())) < 140


def test_all_faults_of_all_pages_are_told_at_once_in_reading_order(project):
    with pytest.raises(BuildError) as caught:
        rendered(project, pages("@fig-a", r"$\frac$", "[x](y.ipynb)", next=["@knuth1"], plot=["![](box.svg)"]))
    where = [(problem.origin.path, problem.origin.index) for problem in caught.value.problems]
    assert where == [(CHAPTERS[2], 3), (CHAPTERS[2], 4), (CHAPTERS[2], 5), (CHAPTERS[3], 2), (APPENDIX, 2)]


def test_a_page_needs_a_title(project):
    content = pages()
    content[3] = page("nbs/11_next.ipynb", "Just text.")
    with pytest.raises(BuildError, match="the page has no title"):
        rendered(project, content)


def test_colons_and_fences_inside_code_do_not_count(project):
    text = html(project, "````markdown\n::: {.callout-note}\n```\n:::\n````", "~~~text\n:::\n~~~", ("code", 'x = "::: {.callout-note}"\n# {{< x >}}'))
    assert "callout-note" in words(text)


def test_generated_blocks_may_hold_any_html(project):
    content = pages(("markdown", "```{=html}\n<table><tr><td>1</td></tr></table>\n```", {}, "frame-output"))
    content[0] = page("index.qmd", "# Welcome {.unnumbered}\n\n::: {#generated-list}\n<b>bold</b>\n\n```{=html}\n<p id='x'></p>\n```\n:::")
    assert "<td>1</td>" in (rendered(project, content) / "nbs/10_layers.html").read_text(encoding="utf-8")


def test_a_changed_katex_package_is_refused(project, monkeypatch):
    monkeypatch.setattr(katex, "INTEGRITY", "sha512-other")
    monkeypatch.setattr(katex, "npm", lambda say: ["sh", "-c", f"echo x > katex-{katex.VERSION}.tgz"])
    with pytest.raises(BuildError, match="not the pinned one"):
        katex.fetch(project.root, print)


def test_of_the_katex_package_only_what_pages_need_is_kept(tmp_path):
    css = '@font-face{src:url(fonts/A.woff2) format("woff2"),url(fonts/A.woff) format("woff"),url(fonts/A.ttf) format("truetype")}'
    files = {"LICENSE": "l", "dist/katex.min.js": "j", "dist/katex.js": "", "dist/katex.min.css": css}
    files |= {f"dist/fonts/A.{kind}": "f" for kind in ("woff2", "woff", "ttf")}
    with tarfile.open(tmp_path / "k.tgz", "w:gz") as package:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            package.addfile(member, io.BytesIO(text.encode()))
    katex.unpack(tmp_path / "k.tgz", tmp_path / "k")
    assert set(digests(tmp_path / "k")) == {"LICENSE", "katex.min.js", "katex.min.css", str(Path("fonts/A.woff2"))}
    assert (tmp_path / "k/katex.min.css").read_text() == '@font-face{src:url(fonts/A.woff2) format("woff2")}'


def test_transform_visits_in_reading_order_and_replaces():
    blocks = [{"t": "Para", "c": [{"t": "Str", "c": "a"}, {"t": "Emph", "c": [{"t": "Str", "c": "b"}]}]}]
    seen = []

    def visit(node):
        seen.append(node["t"])
        return [{"t": "Str", "c": "x"}, {"t": "Str", "c": "y"}] if node["t"] == "Emph" else None

    assert tree.text(tree.transform(blocks, visit)) == "axy" and seen == ["Para", "Str", "Emph"]


def test_markdown_of_a_page_marks_where_cells_begin():
    text = source.markdown(page("nbs/x.ipynb", "# T\n", ("code", "x = 1")))
    assert text == '```{=cell}\n0\n```\n\n# T\n\n```{=cell}\n1\n```\n\n``` {.python .cell-code}\nx = 1\n```\n'


def test_the_line_under_the_title_describes_the_page(project):
    content = pages()
    content[3] = page("nbs/11_next.ipynb", "# Next {#sec-next}\n\n::: {.subtitle}\nWhat *comes*.\n:::")
    assert '<meta name="description" content="What comes.">' in (rendered(project, content) / "nbs/11_next.html").read_text(encoding="utf-8")


def test_contents_of_a_long_page_list_its_main_sections_only(project):
    text = html(project, "## One\n\n" + "\n\n".join(f"### Part {n}" for n in range(50)), next=["## Two\n\n### Deeper"])
    assert 'class="level-2"' in text and 'class="level-3"' not in text
    assert 'class="level-3"' in (project.root / "_book/nbs/11_next.html").read_text(encoding="utf-8")


def test_exercises_have_sources_of_their_own(project):
    content = pages("## One")
    content[2].cells.append(Cell("markdown", "## Exercises", {}, Origin("nbs/exercises/10_layers.ipynb", 1, "title")))
    text = (rendered(project, content) / "nbs/10_layers.html").read_text(encoding="utf-8")
    assert "blob/main/nbs/exercises/10_layers.ipynb\">Source of the exercises" in text and ">Open them in Colab" in text


def test_the_archive_lies_beside_the_pages_and_may_be_linked(project):
    content = pages()
    content[0] = page("index.qmd", "# Welcome {.unnumbered}\n\n[All of it](book.zip)")
    out = rendered(project, content)
    with zipfile.ZipFile(out / "book.zip") as archive:
        files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
        assert {f"book/{name}" for name in files} - set(archive.namelist()) == {"book/book.zip"}

"""The real site, as the last build left it in `_book/`, in a real browser: what every reader must be able to do."""
import html
import re
import zipfile
from collections import defaultdict
from pathlib import PurePosixPath
from posixpath import dirname, join, normpath
from urllib.parse import unquote

import pytest

from conftest import ROOT, needs_chromium
from project import Project

pytest.importorskip("websocket")
from browser import CONTRAST, WCAG, axe, served, tab, until  # noqa: E402, F401 (axe and tab are fixtures)

PAGES = [PurePosixPath(page).with_suffix(".html").as_posix() for page in Project(ROOT).pages]
CHAPTERS = [page for page in PAGES if page.startswith("nbs/")]
BOOK = ROOT / "_book"
HEAVIEST = 1_000_000  # bytes of a page, its style, script and fonts included, its figures not
OPEN = "document.querySelectorAll('details').forEach(box => box.open = true)"
PAPER = "getComputedStyle(document.body).backgroundColor"
built = pytest.mark.skipif(not all((BOOK / page).is_file() for page in PAGES), reason="no site in _book/ (make book)")
needs_site = [built, needs_chromium, pytest.mark.xdist_group("browser")]


def marked(test):
    for mark in reversed(needs_site):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def site(tab):  # noqa: F811
    with served(BOOK) as address:
        tab.origin = address
        tab.window(1440)
        tab.scheme("light")
        yield tab
        tab.scheme("light")


# Every page


@marked
@pytest.mark.parametrize("page", PAGES)
def test_page_is_quiet_and_light_fits_a_phone_and_passes_axe(site, axe, page):  # noqa: F811
    site.window(1440)
    site.scheme("light")
    site.go(page)
    assert site.complaints == []
    check_math(site)
    assert weight(site, page) <= HEAVIEST, f"{weight(site, page):,} bytes before its figures"
    site.run(OPEN)
    for width in (1440, 390):
        site.window(width)
        assert site.run("document.documentElement.scrollWidth <= innerWidth"), f"{width} pixels: the page scrolls sideways"
    site.window(1440)
    assert site.faults(axe, WCAG) == []
    site.scheme("dark")
    assert site.faults(axe, CONTRAST) == [], "dark"
    assert site.complaints == []


def check_math(site) -> None:
    "Formulas are typeset, in fonts of their own."
    assert site.run("document.querySelectorAll('.katex-error').length") == 0
    assert not re.search(r"\$\$|\\(?:frac|sum)\b", site.run("[...document.querySelectorAll('article p, article li')].map(text => text.innerText).join()"))
    if site.run("document.querySelectorAll('.katex').length"):
        fonts = "document.fonts.ready.then(() => [...document.fonts].filter(font => font.status === 'loaded').map(font => font.family))"
        assert any(family.startswith("KaTeX") for family in site.run(fonts))


def weight(site, page: str) -> int:
    "Bytes of a page with its style, script and fonts, without its figures."
    loaded = "performance.getEntriesByType('resource').filter(file => file.initiatorType !== 'img').reduce((sum, file) => sum + file.encodedBodySize, 0)"
    figures = "[...document.querySelectorAll('figure svg, article img')].reduce((sum, figure) => sum + figure.outerHTML.length, 0)"
    return (BOOK / page).stat().st_size + site.run(loaded) - site.run(figures)


@built
def test_every_link_and_anchor_resolves():
    pages = {page: (BOOK / page).read_text(encoding="utf-8") for page in PAGES}
    ids = {page: set(map(html.unescape, re.findall(r'\sid="([^"]*)"', text))) for page, text in pages.items()}
    broken = []
    for page, text in pages.items():
        for link in map(html.unescape, re.findall(r'<a\s[^>]*?href="([^"]*)"', text)):
            path, _, anchor = link.partition("#")
            place = normpath(join(dirname(page), unquote(path))) if path else page
            if not re.match(r"(https?|mailto):", link):
                there = anchor == "" or unquote(anchor) in ids.get(place, ())
                broken += [] if (BOOK / place).is_file() and there else [f"{page}: {link}"]
    assert not broken


@built
def test_every_page_is_in_the_sidebar_and_has_sources_and_a_way_to_report_errors():
    for page in PAGES:
        text = (BOOK / page).read_text(encoding="utf-8")
        assert text.count("<h1") == 1 and 'aria-current="page"' in text, page
        assert f"issues/new?template=error-in-the-book.yml&amp;where={PurePosixPath(page).with_suffix('')}" in text, page
        assert (page in CHAPTERS) == ("colab.research.google.com" in text), page
    assert (ROOT / ".github/ISSUE_TEMPLATE/error-in-the-book.yml").is_file()
    assert "id: where" in (ROOT / ".github/ISSUE_TEMPLATE/error-in-the-book.yml").read_text(encoding="utf-8")


# What a reader does


def word_of_one_page() -> tuple[str, str]:
    "A long word and the only page on which anything begins like it."
    pages = defaultdict(set)
    for page in PAGES:
        article = re.search(r"<article.*?</article>", (BOOK / page).read_text(encoding="utf-8"), re.S)[0]
        text = html.unescape(re.sub(r"<(svg|script|style)\b.*?</\1>|<[^>]+>", " ", article, flags=re.S))
        for word in re.findall(r"[a-z]{9,}", text.lower()):
            pages[word[:5]].add((page, word))
    single = (next(iter(found)) for found in pages.values() if len(found) == 1)
    return min((word, page) for page, word in single if page in CHAPTERS)


@marked
def test_search_finds_a_word_that_stands_in_one_chapter_only(site):
    word, page = word_of_one_page()
    site.go("index.html")
    site.press("/")
    until(lambda: site.run("document.querySelector('dialog.search').open && document.activeElement.type === 'search'"), "the dialog")
    site.type(word)
    until(lambda: site.run("document.querySelector('.search-status').textContent === 'On one page.'"), f"one page with “{word}”")
    site.press("Enter")
    until(lambda: site.run(f"location.pathname === '/{page}'"), page)
    assert site.complaints == []


@marked
def test_the_theme_persists_from_page_to_page(site):
    site.scheme("light")
    site.go(PAGES[0])
    light = site.run(PAPER)
    site.run("document.querySelector('.theme-button').click()")
    site.run("document.querySelector('.theme-button').click()")
    dark = site.run(PAPER)
    assert light != dark
    for page in PAGES[1:3]:
        site.go(page)
        assert site.run(PAPER) == dark
    site.run("localStorage.clear()")


def with_(site, selector: str) -> str:
    "The first chapter that has such an element; skips where none has."
    for page in CHAPTERS:
        site.go(page)
        if site.run(f"document.querySelector({selector!r}) !== null"):
            return page
    pytest.skip(f"no chapter has `{selector}` yet")


@marked
@pytest.mark.parametrize("summary", ["details.callout > summary", "details.fold > summary"])
def test_solutions_and_folded_code_open_and_close_by_keyboard(site, summary):
    with_(site, summary)
    box = f"document.querySelector({summary!r})"
    site.run(f"{box}.focus()")
    for opened in (True, False):
        site.press("Enter")
        assert site.run(f"{box}.parentElement.open") is opened


@marked
def test_tabs_change_with_the_arrow_keys(site):
    with_(site, ".tabset")
    chosen = "[...document.querySelector('.tabset').querySelectorAll('[role=tab]')].findIndex(tab => tab.ariaSelected === 'true')"
    site.run("document.querySelector('.tabset [role=tab]').focus()")
    site.press("ArrowRight")
    assert site.run(chosen) == 1


@marked
@pytest.mark.parametrize("width", [1280, 1366, 1440, 1920])
def test_code_of_88_columns_needs_no_scrollbar(site, width):
    site.window(width)
    page = with_(site, "div.cell pre code")
    fits = "(code => { code.textContent = 'x'.repeat(88); const box = code.closest('pre'); return box.scrollWidth <= box.clientWidth; })"
    assert site.run(f"{fits}(document.querySelector('div.cell pre code'))"), page
    site.run(OPEN)
    solution = "document.querySelector('.callout pre code')"
    assert site.run(f"{solution} === null || {fits}({solution})"), "inside a solution"


@marked
def test_the_archive_is_the_whole_site_and_works_by_itself(site, tmp_path):
    with zipfile.ZipFile(BOOK / "book.zip") as archive:
        archive.extractall(tmp_path)
    files = {file.relative_to(BOOK): file.read_bytes() for file in BOOK.rglob("*") if file.is_file() and file.name != "book.zip"}
    assert {file.relative_to(tmp_path / "book"): file.read_bytes() for file in (tmp_path / "book").rglob("*") if file.is_file()} == files
    before = site.origin
    with served(tmp_path / "book") as site.origin:
        site.go("index.html")
        site.press("/")
        until(lambda: site.run("document.querySelector('dialog.search').open"), "the dialog")
        site.type("language model")
        until(lambda: site.run("document.querySelectorAll('.search-results a').length > 0"), "results")
        assert site.complaints == []
    site.origin = before

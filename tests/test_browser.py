"""The rendered site in a real browser, under an address of its own: no errors, no foreign requests, all by keyboard."""
import numpy as np
import pytest

from conftest import needs_chromium
from test_render import FIGURE, make_project, page, pages, rendered

pytest.importorskip("websocket")
from browser import CONTRAST, WCAG, axe, served, tab, until  # noqa: E402, F401 (axe and tab are fixtures)
from llm_book.plot import attention_view  # noqa: E402
from notebook_filter import raw  # noqa: E402

pytestmark = [needs_chromium, pytest.mark.xdist_group("browser")]
ADDRESSES = ["index.html", "nbs/00_start.html", "nbs/10_layers.html", "nbs/11_next.html", "nbs/90_plot.html"]
RICH = [
    '::: {.callout-tip collapse="true"}\n## Solution', ("code", "x = 1  # " + "long " * 60), "[]{#api-inside} Inside. $x_1$\n:::",
    ("code", "y = 2", {"code-fold": "true", "code-summary": "Draw"}),
    "::: {.panel-tabset}\n## PyTorch\n\nOne.\n\n## NumPy\n\nTwo.\n:::",
    "$$\n" + " + ".join(rf"\frac{{a_{{{n}}}}}{{b_{{{n}}}}}" for n in range(30)) + "\n$$ {#eq-long}",
    "|" + " column |" * 12 + "\n|" + "---|" * 12 + "\n|" + " `a_long_name` |" * 12 + "\n\n: Wide {#tbl-wide}",
    "A " + "Donaudampfschifffahrtsgesellschaft" * 4 + " and `a_very_long_name_" + "x" * 60 + "` [@knuth1984].[^1]\n\n[^1]: A note.",
    "## A section with a long title about `scaled_dot_product_attention` in it\n\nText.",
]
WORDS = ["to", "be", "</script>", "<b>not</b>", "to", "be"]
BACK = np.eye(6, k=-1) + np.diag([1.0, 0, 0, 0, 0, 0])
EVEN = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
VIEWS = [
    attention_view([[BACK, EVEN], [EVEN, BACK]], WORDS, name="one"),
    attention_view([[BACK, EVEN], [EVEN, BACK]], WORDS, head=2, name="two"),
    attention_view([np.full((1, 2, 3), 1 / 3)], ["a", "b"], ["x", "y", "z"], name="cross"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory, tab):  # noqa: F811
    "A browser at a small book that lives under `/some/prefix/`."
    root = tmp_path_factory.mktemp("site")
    (root / "book").mkdir()
    views = [("markdown", raw(view._repr_html_()), {}, f"view-{view.name}-output") for view in VIEWS]
    content = pages(*RICH, next=["The word xylophone stands here. See [inside](10_layers.ipynb#api-inside).", *views])
    content[4] = page("nbs/90_plot.ipynb", "# Plots {#sec-plot}", FIGURE.replace("fig-line", "fig-plot"))
    for made in content[4].cells:
        made.origin = type(made.origin)(made.origin.path, made.origin.index, "plot-output")
    site = rendered(make_project(root / "book"), content)
    (root / "some").mkdir()
    site.rename(root / "some" / "prefix")
    with served(root) as address:
        tab.origin = address + "some/prefix/"
        yield tab


@pytest.mark.parametrize("address", ADDRESSES)
def test_pages_load_quietly_fit_a_phone_and_pass_axe(browser, axe, address):  # noqa: F811
    browser.window(1440)
    browser.scheme("light")
    browser.go(address)
    assert browser.complaints == []
    assert not any("pagefind" in url for url in browser.requested), "search is loaded when it is asked for"
    browser.run("document.querySelectorAll('details').forEach(box => box.open = true)")
    for width, scheme, rules in ((1440, "light", WCAG), (1440, "dark", CONTRAST), (390, "dark", WCAG), (390, "light", CONTRAST)):
        browser.window(width)
        browser.scheme(scheme)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), (address, width)
        assert browser.faults(axe, rules) == [], (address, width, scheme)
    assert browser.complaints == []


def test_search_finds_the_one_page_with_a_word_by_keyboard(browser):
    browser.window(1440)
    browser.go("nbs/10_layers.html")
    browser.press("/")
    until(lambda: browser.run("document.querySelector('dialog.search').open && document.activeElement.type === 'search'"), "the dialog")
    browser.type("xylophone")
    until(lambda: browser.run("document.querySelector('.search-status').textContent === 'On one page.'"), "one page")
    browser.press("Enter")
    until(lambda: browser.run("location.pathname.endsWith('/some/prefix/nbs/11_next.html')"), "the page that was found")
    assert browser.complaints == []


def test_search_closes_with_escape(browser):
    browser.go("index.html")
    browser.press("/")
    until(lambda: browser.run("document.querySelector('dialog.search').open"), "the dialog")
    browser.press("Escape")
    until(lambda: browser.run("!document.querySelector('dialog.search').open"), "the dialog to close")


def test_the_theme_follows_the_system_until_it_is_chosen_and_then_persists(browser):
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.scheme("light")
    browser.go("index.html")
    light = browser.run(paper)
    browser.scheme("dark")
    dark = browser.run(paper)
    assert light != dark
    browser.run("document.querySelector('.theme-button').click()")
    assert browser.run(paper) == light
    browser.go("nbs/11_next.html")
    assert browser.run(paper) == light and "light" in browser.run("document.querySelector('.theme-button').ariaLabel")
    browser.run("localStorage.clear()")


@pytest.mark.parametrize("summary", ["details.callout > summary", "details.fold > summary"])
def test_what_is_folded_opens_by_keyboard(browser, summary):
    browser.go("nbs/10_layers.html")
    box = f"document.querySelector({summary!r})"
    assert not browser.run(f"{box}.parentElement.open")
    browser.run(f"{box}.focus()")
    browser.press("Enter")
    assert browser.run(f"{box}.parentElement.open")


def test_tabs_change_with_the_arrow_keys(browser):
    browser.go("nbs/10_layers.html")
    shown = "[...document.querySelectorAll('[role=tabpanel]')].filter(panel => !panel.hidden).map(panel => panel.innerText.trim()).join()"
    assert browser.run(shown) == "One."
    browser.run("document.querySelector('[role=tab][aria-selected=true]').focus()")
    browser.press("ArrowRight")
    assert browser.run(shown) == "Two." and browser.run("document.activeElement.innerText") == "NumPy"


def test_a_link_into_a_closed_solution_opens_it(browser):
    browser.go("nbs/10_layers.html#api-inside")
    until(lambda: browser.run("document.querySelector('details.callout').open"), "the solution to open")


def test_math_is_typeset_in_its_own_fonts(browser):
    browser.go("nbs/10_layers.html")
    assert browser.run("document.fonts.ready.then(() => [...document.fonts].some(font => font.family === 'KaTeX_Math' && font.status === 'loaded'))")
    assert "$" not in browser.run("document.querySelector('article').innerText")


def test_what_scrolls_sideways_is_reached_by_keyboard(browser):
    browser.window(390)
    browser.go("nbs/10_layers.html")
    browser.run("document.querySelectorAll('details').forEach(box => box.open = true)")
    reached = "[...document.querySelectorAll('pre, .scroll, .float-body')].filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.tabIndex)"
    until(lambda: (found := browser.run(reached)) and set(found) == {0}, "every scrolling box in the tab order")


def test_the_menu_opens_on_a_phone(browser):
    browser.window(390)
    browser.go("index.html")
    assert browser.run("getComputedStyle(document.querySelector('.sidebar')).display") == "none"
    browser.run("document.querySelector('.menu').focus()")
    browser.press("Enter")
    assert browser.run("getComputedStyle(document.querySelector('.sidebar')).display") == "block"
    assert browser.run("document.querySelector('.menu').getAttribute('aria-expanded')") == "true"


# Attention, to be touched: three views on one page


def seen(browser, name: str) -> dict:
    "What a view shows: what is chosen, the shades of its tokens, and what it says."
    return browser.run(f"""(() => {{
      const root = document.getElementById('attention-{name}');
      const checked = [...root.querySelectorAll('[aria-checked=true]')];
      return {{
        chosen: checked.map(button => [...button.parentElement.querySelectorAll('button')].indexOf(button)),
        stops: [...root.querySelectorAll('button')].filter(button => button.tabIndex === 0).map(button => button === checked.find(c => c === button)),
        weights: [...root.querySelectorAll('.token')].map(token => Math.round(100 * token.style.getPropertyValue('--weight'))),
        names: [...root.querySelectorAll('.token')].map(token => token.firstChild.textContent),
        says: root.querySelector('[role=status]').textContent,
        tables: root.querySelectorAll('pre, b').length,
      }};
    }})()""")


def button(name: str, group: int, n: int) -> str:
    return f"document.querySelectorAll('#attention-{name} [role=radiogroup]')[{group}].querySelectorAll('button')[{n}]"


def test_a_view_shows_what_was_computed_and_tokens_as_text(browser):
    browser.window(1440)
    browser.go("nbs/11_next.html")
    one = seen(browser, "one")
    assert one["chosen"] == [0, 0, 5] and one["weights"] == [0, 0, 0, 0, 100, 0] and one["names"] == WORDS
    assert one["says"] == "be (5) looks at to (4) 100%." and one["tables"] == 0
    two = seen(browser, "two")
    assert two["chosen"] == [0, 1, 5] and all(abs(w - 17) <= 1 for w in two["weights"]) and two["says"].count("%") == 5
    cross = seen(browser, "cross")
    assert cross["weights"] == [0, 0, 33, 33, 33] and cross["names"] == ["a", "b", "x", "y", "z"] and cross["chosen"] == [1]
    assert browser.complaints == []


def test_views_are_used_by_keyboard_and_leave_each_other_alone(browser):
    browser.go("nbs/11_next.html")
    before = seen(browser, "two")
    browser.run(f"{button('one', 2, 5)}.focus()")
    expected = [("ArrowRight", 0), ("ArrowLeft", 5), ("ArrowLeft", 4), ("Home", 0), ("End", 5), ("ArrowDown", 0), ("ArrowRight", 1)]
    for key, token in expected:
        browser.press(key)
        now = seen(browser, "one")
        assert now["chosen"] == [0, 0, token] and now["stops"] == [True] * 3, key
        assert browser.run(f"document.activeElement === {button('one', 2, token)}"), key
        assert now["says"].startswith(f"{WORDS[token]} ({token}) looks at"), key
    assert now["weights"] == [100, 0, 0, 0, 0, 0]
    browser.run(f"{button('one', 1, 0)}.focus()")
    browser.press("ArrowRight")
    assert seen(browser, "one")["chosen"] == [0, 1, 1] and seen(browser, "one")["weights"][:3] == [51, 51, 0]  # 32 of 63 steps
    browser.run(f"{button('one', 0, 1)}.click()")
    assert seen(browser, "one")["chosen"] == [1, 1, 1] and seen(browser, "one")["weights"][0] == 100
    assert seen(browser, "two") == before
    browser.run(f"{button('two', 2, 3)}.click()")  # as a tap
    assert seen(browser, "two")["chosen"] == [0, 1, 3] and seen(browser, "one")["chosen"] == [1, 1, 1]


def test_pointing_at_a_token_shows_it_for_the_while(browser):
    browser.window(1440)
    browser.go("nbs/11_next.html")
    place = f"(() => {{ const box = {button('one', 2, 2)}; box.scrollIntoView({{block: 'center'}}); const at = box.getBoundingClientRect(); return [at.x + 5, at.y + 5]; }})()"
    x, y = browser.run(place)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    until(lambda: seen(browser, "one")["weights"] == [0, 100, 0, 0, 0, 0], "the token that is pointed at")
    assert seen(browser, "one")["chosen"] == [0, 0, 5]
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    until(lambda: seen(browser, "one")["weights"] == [0, 0, 0, 0, 100, 0], "the token that is chosen")


def test_the_same_view_twice_is_two_views(browser):
    browser.go("nbs/11_next.html")
    browser.run("""(() => {
      const twin = document.createElement('div');
      twin.innerHTML = `%s`;
      document.querySelector('article').append(twin);
      const script = document.createElement('script');
      script.textContent = twin.querySelector('script:not([type])').textContent;
      twin.append(script);
    })()""" % VIEWS[0]._repr_html_().replace("\\", "\\\\").replace("`", "\\`"))
    assert seen(browser, "one-2")["weights"] == [0, 0, 0, 0, 100, 0]
    browser.run(f"{button('one-2', 2, 1)}.click()")
    assert seen(browser, "one-2")["chosen"] == [0, 0, 1] and seen(browser, "one")["chosen"] == [0, 0, 5]

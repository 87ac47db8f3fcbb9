"""The helpers `plot`, `exercise` and `notebook`, beyond what their own chapters prove."""
import contextlib
import io
import itertools
import math
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_book.exercise import (
    REGISTRY,
    Exercise,
    Mistake,
    Raised,
    Verdict,
    agree,
    check,
    constant_factor,
    controlled,
    describe,
    difference,
    exercises,
    faults,
    find,
    freeze,
    fresh_cases,
    hint,
    judge,
    kind_of,
    main,
    outcome,
    outcomes,
    register,
    solution,
)
from llm_book.notebook import imported_too_early, prose, record
from llm_book.plot import (
    INK,
    N_SHADES,
    PALETTE,
    VIEW_LETTERS,
    attention_view,
    common_axis,
    draw_squares,
    heatmap,
    histograms_by_depth,
    loss_curve,
    n_averaged,
    packed,
    running_mean,
    series,
    spread,
    style,
    token_label,
    use_style,
)

NUMBERS = st.floats(-1e3, 1e3, allow_nan=False)


def refusal(function, *arguments, **options):
    "What `function` says against its arguments."
    with pytest.raises((ValueError, LookupError, TypeError)) as error:
        function(*arguments, **options)
    return str(error.value)


# Figures


@pytest.fixture
def plt():
    module = pytest.importorskip("matplotlib.pyplot")
    use_style()
    yield module
    module.close("all")


def svg_of(figure):
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def texts(ax):
    return [label.get_text() for label in ax.texts]


def svg_texts(ax):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg_of(ax.figure))


def rgb(color):
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


@given(st.lists(NUMBERS, max_size=12), st.floats(0.01, 10))
def test_spread_labels_never_touch_and_keep_their_order(wishes, gap):
    placed = spread(wishes, gap)
    order = sorted(range(len(wishes)), key=lambda i: wishes[i])
    in_order = [placed[i] for i in order]
    assert all(b - a >= gap - 1e-6 for a, b in zip(in_order, in_order[1:], strict=False))
    assert sum(placed) == pytest.approx(sum(wishes), abs=1e-6 * max(1, len(wishes)) * 1e3)
    assert spread(placed, gap) == pytest.approx(placed, abs=1e-6)  # what has room stays


def test_spread_by_hand():
    assert spread([], gap=1) == []
    assert spread([4, 0, 1, 1], gap=1) == pytest.approx([4, -1 / 3, 2 / 3, 5 / 3])


@given(st.text())
def test_every_token_can_be_seen(token):
    label = token_label(token)
    assert label and label.isprintable() and not any(c.isspace() and c != "\u00a0" for c in label)


@given(st.binary())
def test_every_byte_string_can_be_seen(token):
    assert token_label(token).isprintable()


def test_token_labels_by_hand():
    tokens = [" the", "\n", b"a\t", b"\xe2\x82", "é".encode(), "\x00", "", 7]
    assert [token_label(token) for token in tokens] == ["␣the", "↵", "a⇥", r"\xe2\x82", "é", r"\x00", "∅", "7"]


def test_every_color_in_every_figure_is_known(plt):
    figure, axes = plt.subplots(2, 2, figsize=(8, 6))
    loss_curve({f"run {i}": [3.0, 2.0 + i / 9] for i in range(7)}, {"a": 2.0, "b": 2.01}, window=2, ax=axes[0][0])
    heatmap([[0.1, -0.2], [0.3, 0.4]], ["a", "b"], [b"\xff", "\n"], ax=axes[0][1])
    heatmap([[0.1, -0.2], [0.3, 0.4]], numbers=False, ax=axes[1][0])
    histograms_by_depth({"a": [1.0, 2.0], "b": [2.0, 3.0]}, ax=axes[1][1])
    axes[1][1].grid()
    axes[1][1].plot([1, 2], [0, 0], label="more")
    axes[1][1].bar([1], [1], hatch="/", edgecolor=INK)
    axes[1][1].legend(title="title")
    axes[1][1].set_title("title")
    svg = svg_of(figure)
    colors = set(re.findall(r"#[0-9a-f]{6}\b(?=[;\"])", svg))
    assert INK in colors and colors <= {INK, *PALETTE}
    assert not re.findall(r"(?:fill|stroke): (?!none|#|url)\w+", svg) and "<image" not in svg


def test_style(plt):
    settings = style()
    assert set(settings) <= set(plt.rcParams)
    for name in ("text.color", "patch.edgecolor", "hatch.color", "legend.labelcolor", "grid.color", "lines.color"):
        assert plt.rcParams[name] == INK
    for name in ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "figure.edgecolor", "savefig.edgecolor"):
        assert plt.rcParams[name] == "none"
    assert plt.rcParams["svg.fonttype"] == "none" and plt.rcParams["font.sans-serif"] == ["DejaVu Sans"]
    axes = plt.subplots()[1]
    assert [side for side, spine in axes.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert [entry["color"] for entry in plt.rcParams["axes.prop_cycle"]] == list(PALETTE)
    sizes = ("font.size", "axes.titlesize", "grid.alpha", "lines.linewidth", "legend.frameon", "axes.titlelocation")
    assert [plt.rcParams[name] for name in sizes] == [10, 10, 0.15, 1.8, False, "left"]
    assert plt.rcParams["figure.figsize"] == [6.4, 3.4]
    plt.rcdefaults()
    heatmap([[1.0]])  # whoever has not asked for the style gets it with the first figure
    assert plt.rcParams["svg.hashsalt"] == "llm_book"


def test_running_means():
    numbers, dense, rare = np.array([1.0, 3.0, 5.0, 7.0]), np.arange(1.0, 5.0), np.array([0.0, 50.0, 100.0])
    assert running_mean(numbers, 1).tolist() == [1, 3, 5, 7] and running_mean(numbers, 3).tolist() == [1, 2, 3, 5]
    assert running_mean(numbers[:2], 5).tolist() == [1, 2]
    assert [n_averaged(rare, window) for window in (1, 20, 100)] == [1, 1, 2]
    assert [n_averaged(dense, window) for window in (1, 3)] == [1, 3] and n_averaged(dense[:1], 5) == 1


def test_losses_are_read_in_every_form():
    for losses in ([3.0, 2.0], {1: 3.0, 2: 2.0}, [(1, 3.0), [2, 2.0]], np.array([3.0, 2.0]), np.array([[1, 3.0], [2, 2.0]])):
        steps, values = series(losses)
        assert (steps.tolist(), values.tolist()) == ([1, 2], [3, 2])
    assert refusal(loss_curve, []) == "loss_curve needs at least one loss, and got an empty series"


def test_loss_curve_draws_what_it_is_given(plt):
    ladder = {"one": 2.41, "two": 2.43, "three": 2.5, "four": 0.5}
    ax = loss_curve({"training": [4.0, 3.0, 2.45], "held out": {2: 3.5, 3: 2.9}}, ladder)
    assert [line.get_color() for line in ax.lines[:6]] == [*PALETTE[:2], *[INK] * 4]
    assert [line.get_ydata()[0] for line in ax.lines[2:6]] == list(ladder.values())
    assert {line.get_alpha() for line in ax.lines[2:6]} == {0.5} and {line.is_dashed() for line in ax.lines[2:6]} == {True}
    assert ax.get_xlim()[1] == 3 and (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss (nats per token)")
    names = ["training 2.45", "held out 2.90", "one 2.41", "two 2.43", "three 2.50", "four 0.50"]
    assert texts(ax) == names and set(names) < set(svg_texts(ax))
    ax.figure.draw_without_rendering()  # matplotlib 3.10 keeps the sizes of the last saved figure
    boxes = sorted((label.get_window_extent() for label in ax.texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))
    assert 0 < boxes[2].y0 - boxes[1].y1 < 5  # crowded labels touch almost, and no more
    assert all(ax.get_window_extent().x1 < box.x0 < ax.get_window_extent().x1 + 40 for box in boxes)


def test_strokes_lead_from_the_lines_to_their_labels(plt):
    ax = loss_curve({"training": [4.0, 3.0, 2.45]}, {"one": 2.41, "two": 9.0}, ylim=(0, 5))
    places = {label.get_text(): label.get_position() for label in ax.texts}
    strokes = {line.get_ydata()[1]: line for line in ax.lines[-3:]}
    for name, height, alpha in (("training 2.45", 2.45 / 5, 1), ("one 2.41", 2.41 / 5, 0.5), ("two 9.00", 1, 0.5)):
        stroke, x = strokes[places[name][1]], places[name][0]
        assert stroke.get_ydata()[0] == pytest.approx(height) and stroke.get_alpha() == alpha  # 9.0 is off: at the top
        assert list(stroke.get_xdata()) == [1, 1.035] and x > 1.035 and not stroke.get_clip_on()
        assert stroke.get_transform() == ax.transAxes and stroke.get_linewidth() == 1
    assert ax.get_xlim()[1] == 3 and ax.get_ylim() == (0, 5)


def test_smoothed_curves(plt):
    ax = loss_curve([(10, 3.0), (20, 1.0)], window=20, ylim=(0, 4), xlabel="x", ylabel="y")
    faint, firm = ax.lines[:2]
    assert [line.get_xydata().tolist() for line in (faint, firm)] == [[[10, 3], [20, 1]], [[10, 3], [20, 2]]]
    assert faint.get_alpha() == 0.35 and faint.get_linewidth() < firm.get_linewidth() and firm.get_alpha() is None
    assert ax.get_ylim() == (0, 4) and (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y") and svg_texts(ax)[-1] == "loss 2.00"
    assert len(loss_curve({0: 3.0, 50: 2.0}, window=10).lines) == 2  # measured more rarely than that
    marks = [line.get_marker() for line in ax.lines]
    assert loss_curve([2.0]).get_xlim()[1] == 1
    other = loss_curve({5: 1.0}, ax=ax)
    assert other is ax and "." not in marks and ax.lines[len(marks)].get_marker() == "."  # a single point can be seen


def test_heatmap_by_hand(plt):
    ax = heatmap([[1.0, 0.5, 0.0], [-1.0, 0.25, 0.125]], ["$a$", " b"], [1, 2, "$"], xlabel="x", ylabel="y")
    found = {(p.get_facecolor()[:3], round(p.get_alpha(), 3)): p.get_path().vertices[:4].mean(0) for p in ax.patches}
    blue, orange = map(rgb, PALETTE[:2])
    where = {(blue, 0.85): (0, 0), (blue, 0.425): (1, 0), (orange, 0.85): (0, 1), (blue, 0.212): (1, 1), (blue, 0.106): (2, 1)}
    assert len(ax.patches) == 5 and all(np.allclose(found[key], spot) for key, spot in where.items())
    assert {patch.get_linewidth() for patch in ax.patches} == {0} and not any(p.get_antialiased() for p in ax.patches)
    assert texts(ax) == ["1", "0.5", "0", "−1", "0.25", "0.12"] and {t.get_size() for t in ax.texts} == {8}
    assert {(t.get_ha(), t.get_va()) for t in ax.texts} == {("center", "center")}
    assert [t.get_position() for t in ax.texts] == [(col, row) for row in range(2) for col in range(3)]
    assert svg_texts(ax)[:7] == ["1", "2", "$", "x", "$a$", "␣b", "y"] and ax.yaxis_inverted()
    assert ax.get_xlim() == (-0.5, 2.5) and ax.get_ylim() == (1.5, -0.5) and ax.get_aspect() == 1
    assert all(spine.get_visible() and spine.get_alpha() == 0.3 for spine in ax.spines.values())
    assert {tick.tick1line.get_markersize() for tick in (*ax.xaxis.majorTicks, *ax.yaxis.majorTicks)} == {0}
    assert ax.get_figure().get_size_inches().tolist() == pytest.approx([1.2 + 3 * 0.36, 0.8 + 2 * 0.36])
    assert heatmap(np.ones((50, 50))).get_figure().get_size_inches().tolist() == [6.4, 6.4]
    assert heatmap([[1.0]], ax=ax) is ax


def test_heatmap_limits_and_keys(plt):
    half = heatmap([[1.0, 3.0]], limit=2, numbers=False)
    assert sorted(round(patch.get_alpha(), 3) for patch in half.patches) == [0.425, 0.85] and svg_texts(half)[-2:] == ["2", "0"]
    key = half.child_axes[0]
    assert [round(patch.get_alpha(), 3) for patch in key.patches] == [0.212, 0.425, 0.638, 0.85]
    assert key.get_ylim() == (4.5, -0.5) and key.get_xlim() == (-0.5, 0.5) and not list(key.get_xticks())
    assert key.yaxis.get_ticks_position() == "right" and key.yaxis.majorTicks[0].tick1line.get_markersize() == 0
    assert all(spine.get_alpha() == 0.3 and spine.get_visible() for spine in key.spines.values())
    assert {label.get_size() for label in key.get_yticklabels()} == {8} and list(key.get_yticks()) == [0, 4]
    left, bottom, width, height = key.get_position().bounds
    box = half.get_position()
    assert left > box.x1 and left + width < box.x1 + 0.15 * box.width and bottom + height == pytest.approx(box.y1)
    assert 0.2 * box.height < height < 0.4 * box.height
    assert heatmap(np.ones((8, 8))).texts and not heatmap(np.ones((5, 13))).texts
    signed = heatmap([[1.0, -3.0]], numbers=False)
    assert svg_texts(signed)[-3:] == ["3", "0", "−3"] and list(signed.child_axes[0].get_yticks()) == [0, 4, 8]
    assert len(signed.child_axes[0].patches) == 8
    nothing = heatmap(np.zeros((9, 9)))
    assert not nothing.patches and svg_texts(nothing)[-2:] == ["1", "0"]


def test_equal_squares_in_a_row_are_one_rectangle(plt):
    ax = plt.subplots()[1]
    draw_squares(ax, np.array([[1.0, 1, 0, 1], [0, 0, 1, 1]]))
    rows = ax.patches[0].get_path().vertices.reshape(-1, 5, 2)
    extents = [[*corners.min(0), *corners.max(0)] for corners in rows]
    assert extents == [[-0.5, -0.5, 1.5, 0.5], [2.5, -0.5, 3.5, 0.5], [1.5, 0.5, 3.5, 1.5]]
    assert all((corners[0] == corners[4]).all() for corners in rows) and len(ax.patches) == 1
    draw_squares(ax, np.array([[0.49 / N_SHADES, 0.51 / N_SHADES]]))
    assert len(ax.patches) == 2 and ax.patches[1].get_alpha() == pytest.approx(0.85 / N_SHADES)


def test_heatmap_refusals():
    assert refusal(heatmap, np.ones((2, 3, 4))).startswith("heatmap needs a matrix, not an array of shape (2, 3, 4)")
    assert refusal(heatmap, np.ones((0, 3))).startswith("heatmap needs a matrix")
    assert refusal(heatmap, [[1.0, np.nan]]) == "heatmap needs finite values; 1 of 2 are not"
    assert refusal(heatmap, [[1.0, 2.0]], ["a", "b"]) == "heatmap got 2 row_labels for 1 rows"
    assert refusal(heatmap, [[1.0, 2.0]], ["a"], ["b"]) == "heatmap got 1 col_labels for 2 cols"


def test_histograms_by_hand(plt):
    layers = {"a": [0.0, 0.0, 1.0, 9.0], "$b$": [2.0, np.nan, 2.0]}
    ax = histograms_by_depth(layers, bins=4, limits=(0, 4), xlabel="x")
    first, second = (patch.get_data() for patch in ax.patches)
    assert first.values.tolist() == pytest.approx([-0.85, -0.425, 0, -0.425]) and first.baseline == 0
    assert second.values.tolist() == pytest.approx([1, 1, 0.15, 1]) and second.baseline == 1
    assert first.edges.tolist() == [0, 1, 2, 3, 4] and ax.get_xlim() == (0, 4) and ax.get_ylim() == (1.2, -1)
    assert {(p.get_facecolor(), p.get_fill(), p.get_linewidth()) for p in ax.patches} == {((*rgb(PALETTE[0]), 0.55), True, 0)}
    assert [(line.get_ydata()[0], line.get_alpha(), line.get_linewidth()) for line in ax.lines] == [(0, 0.3, 0.6), (1, 0.3, 0.6)]
    assert texts(ax) == ["3.8", "0 (1 not finite)", "std"] and {t.get_size() for t in ax.texts} == {9}
    assert [t.get_position() for t in ax.texts] == [(1.02, 0), (1.02, 1), (1.02, 1.02)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "$b$"] and ax.get_xlabel() == "x"
    assert not ax.spines["left"].get_visible() and ax.yaxis.majorTicks[0].tick1line.get_markersize() == 0
    assert "$b$" in svg_texts(ax)
    assert ax.get_figure().get_size_inches().tolist() == pytest.approx([6.4, 0.7 + 2 * 0.4])


def test_histograms_without_limits(plt):
    ax = histograms_by_depth([np.arange(1000), np.zeros(1)])
    assert ax.get_xlim() == pytest.approx(tuple(np.quantile(np.append(np.arange(1000), 0), (0.001, 0.999))))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2"] and len(ax.patches[0].get_data().values) == 60
    assert histograms_by_depth([[3.0]], ax=ax) is ax and ax.get_xlim() == (2.5, 3.5)
    assert common_axis(np.array([3.0])) == (2.5, 3.5) and common_axis(np.array([0.0, 1.0])) == (0.001, 0.999)
    for nothing in ([], [[np.inf]], [[1.0], []]):
        assert refusal(histograms_by_depth, nothing) == "histograms_by_depth needs a finite value in each layer"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64"])
def test_figures_take_tensors(dtype, plt):
    torch = pytest.importorskip("torch")
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    if x.is_floating_point():
        x.requires_grad_()
    assert len(heatmap(x).texts) == 12
    assert len(histograms_by_depth({"a": x, "b": x[0]}).patches) == 2
    assert loss_curve(x.detach()[0].tolist(), {"best": x.detach()[0, 0]}).lines
    assert series(x.detach()[0])[1].tolist() == [0, 1, 2, 3] and series([x.detach()[0, 1]])[1].tolist() == [1]


# Attention to be touched; what it does in a page is in test_browser.py


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
def test_packed_weights_come_back_to_within_a_step(n_queries, n_keys, seed):
    weights = np.random.default_rng(seed).random((n_queries, n_keys)) ** 4
    rows = packed(weights).split(".")
    back = np.array([[VIEW_LETTERS.index(c) / 63 for c in row.ljust(n_keys, "A")] for row in rows])
    assert np.abs(back - weights).max() <= 0.5 / 63 + 1e-9 and "A." not in packed(weights) + "."


def test_a_view_takes_what_models_give():
    torch = pytest.importorskip("torch")
    weights = torch.softmax(torch.arange(48.0).view(2, 2, 3, 4) % 5, dim=-1)  # (L, H, T, S)
    ways = [weights, weights.numpy(), list(weights), [layer[None].bfloat16() for layer in weights], weights.tolist()]
    views = [attention_view(way, "abc", "wxyz", layer=2, name="a") for way in ways]
    assert all(view.data() == views[0].data() for view in views)
    assert views[0].weights.shape == (2, 2, 3, 4)
    assert refusal(attention_view, weights, "abc").startswith("attention_view got weights of shape (2, 2, 3, 4) for 3 × 3 tokens")
    assert "of one text" in refusal(attention_view, [weights], "abc", "wxyz")  # a batch of two


def test_a_view_is_one_element_with_text_inside_and_small():
    strange = ["</script>", "<!--", "`", "&amp;", '"', " ", "\n", b"\xe2", "é"]
    n = len(strange)
    view = attention_view(np.tril(np.ones((2, 3, n, n))) / n, strange, token=0)
    page = view._repr_html_()
    assert page.startswith('<div class="attention-view" id="attention-') and page.endswith("</div>")
    assert page.count("<script") == page.count("</script>") == 2 and "<!--" not in page
    assert "`" not in page and "src=" not in page and "http" not in page and not re.search(r"\son\w+=", page)
    assert "uuid" not in page and page == attention_view(np.tril(np.ones((2, 3, n, n))) / n, strange, token=0)._repr_html_()
    assert repr(view).splitlines()[2].split() == ["token", "head", "1", "head", "2", "head", "3"]
    assert len(repr(view).splitlines()) == n + 3 and "&lt;/script&gt; (0) 11%" in page
    big = attention_view(np.tril(np.ones((12, 12, 32, 32))) / 32, range(32))
    assert len(big._repr_html_()) < 120_000  # 147,456 weights


def test_a_missing_matplotlib_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; from llm_book.plot import loss_curve; loss_curve([1.0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == 'ImportError: figures need matplotlib: pip install "llm_book[plot]"'


# Exercises: how results are compared and described


def made(id="demo.1", stars=1, solution=abs, **more):
    return Exercise(id, "Demo", stars, solution, **more)


@pytest.fixture
def registry(monkeypatch):
    empty: dict[str, Any] = {}
    monkeypatch.setattr("llm_book.exercise.REGISTRY", empty)
    monkeypatch.setattr("llm_book.exercise.chapters", lambda: [])
    return empty


def test_malformed_exercises_are_refused():
    one_case = [(1,)]
    assert repr(made(cases=one_case, stars=2)) == "demo.1 ★★ Demo" and made(solution=5).chapter == "demo"
    said = "exercise '3.demo': an id is a chapter's name, a dot and a number, such as layers.3"
    assert refusal(made, id="3.demo", solution=5) == said and refusal(made, id="demo.0", solution=5)
    assert "1, 2 or 3 stars, not 4" in refusal(made, stars=4, cases=one_case)
    assert "1, 2 or 3 stars, not 0" in refusal(made, stars=0, cases=one_case)
    assert "not both" in refusal(made, cases=one_case, checker=print)
    assert "not both" in refusal(made, probe=max, checker=print)
    assert "needs cases" in refusal(made) and "write (x,)" in refusal(made, cases=[1])
    assert "at most three hints, not 4" in refusal(made, cases=one_case, hints=list("abcd"))
    assert made(checker=print) and made(cases=lambda: [(1,)]) and made(cases=one_case, hints=list("abc"), stars=3)
    exact = made(solution=5, rtol=1, atol=2, exact_dtype=True)
    assert exact.tolerances == {"rtol": 1, "atol": 2, "exact_dtype": True}


def test_registry(registry):
    first = register(made(solution=5))
    assert find("demo.1") is first and register(made(solution=5)) is not first  # a cell that is run again
    clash = Exercise("demo.1", "Another", 1, 5)
    assert refusal(register, clash) == "exercise demo.1 is 'Demo' already; give 'Another' another number"
    second, tenth = register(made("demo.2", solution=5)), register(made("demo.10", solution=5))
    assert exercises("demo") == [find("demo.1"), second, tenth] == exercises() and exercises("other") == []
    assert refusal(find, "demo.3") == "there is no exercise 'demo.3'; near it: demo.2, demo.1, demo.10"
    assert refusal(find, "demo.second") == "there is no exercise 'demo.second'; near it: demo.2, demo.1, demo.10"
    register(made("zoo.1", solution=5)), register(made("demo.11", solution=5))
    assert refusal(find, "demo.?").count("demo.") == 4 and "zoo" not in refusal(find, "demo.3")
    assert "near it: zoo.1" in refusal(find, "zo.1") and "near it: demo.1, demo.2, demo.10" in refusal(find, "qqqqqqqq")
    registry.clear()
    assert refusal(find, "demo.3") == "there is no exercise 'demo.3'"


def test_an_exercise_in_a_notebook_is_newer_than_the_package(monkeypatch, tmp_path, registry):
    code = "from llm_book.exercise import Exercise, register\nfor n in (1, 2): register(Exercise(f'mine.{n}', 'Demo', 1, 5))\n"
    (tmp_path / "mine.py").write_text(code)
    package = type(sys)("llm_book.exercises")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "llm_book.exercises", package)
    monkeypatch.delitem(sys.modules, "llm_book.exercises.mine", raising=False)
    edited = register(made("mine.1", solution=7))
    assert find("mine.1") is edited and "llm_book.exercises.mine" not in sys.modules
    assert [e.solution for e in exercises("mine")] == [7, 5] and find("mine.1") is edited
    monkeypatch.delitem(sys.modules, "llm_book.exercises.mine", raising=False)


def test_there_may_be_no_exercises(monkeypatch):
    from llm_book.exercise import chapters

    monkeypatch.setitem(sys.modules, "llm_book.exercises", None)
    assert chapters() == []


def test_pictures_of_results():
    torch = pytest.importorskip("torch")
    row = torch.tensor([1.0, 2.0], requires_grad=True)
    picture = freeze({"row": row, "mean": row.mean()})
    with torch.no_grad():
        row.zero_()
    assert picture["row"].values.tolist() == [1, 2] and picture["row"].dtype == "float32" and picture["mean"] == 1.5
    mixed = freeze((torch.ones(3).bfloat16(), np.ones(3, np.float32), np.float32(2), torch.tensor(3)))
    assert [type(item).__name__ for item in mixed] == ["Block", "Block", "float", "int"]
    assert [item.dtype for item in mixed[:2]] == ["bfloat16", "float32"]
    ints, nested = np.array([1, 2]), [[1], {"a": [2]}]
    pictures = freeze([ints]), freeze(nested)
    ints[0] = nested[0][0] = nested[1]["a"][0] = 5
    assert pictures[0][0].values.tolist() == [1, 2] and pictures[1] == [[1], {"a": [2]}]
    assert freeze(np.array(["a"])) == ["a"] and freeze(np.array(2)) == 2 and freeze(np.array([None])) == [None]


class Speechless:
    def __repr__(self):
        raise RuntimeError("no words")


def test_values_are_described_in_short():
    torch = pytest.importorskip("torch")
    by_hand = [
        (1 / 3, "0.333333"), ((1,), "(1,)"), ((1, 2), "(1, 2)"), ([1], "[1]"), ([0.1 + 0.2], "[0.3]"), ([], "[]"),
        (torch.ones(2), "tensor([1, 1])"), (torch.ones(2, 5), "a tensor of shape (2, 5)"),
        (np.ones(7), "an array of shape (7,)"), (np.zeros(6), "array([0, 0, 0, 0, 0, 0])"),
        (list(range(100)), "a list of 100: [0, 1, …]"), (tuple("abc" * 9), "a tuple of 27: ('a', 'b', …)"),
        ("a" * 58, "'" + "a" * 58 + "'"), ("a" * 59, "'" + "a" * 58 + "…"), ("a" * 80, "'" + "a" * 58 + "…"),
        ([10**29, 10**27], f"[{10**29}, {10**27}]"), ([10**29, 10**28], f"a list of 2: [{10**29}, {10**28}, …]"),
        ({"b", "a"}, "{'a', 'b'}"), (set(), "an empty set"), (object(), "an object"), (Speechless(), "a Speechless"),
        (torch.nn.Linear(1, 1), "a Linear"), (max, "the function `max`"), (int, "the class `int`"),
        (10**5000, "a number"),
    ]  # fmt: skip
    assert [describe(value) for value, _ in by_hand] == [words for _, words in by_hand]
    kinds = (None, True, 2, 2j, "a", b"a", {}, np.ones(2), torch.ones(2), max, Speechless(), [1])
    assert [kind_of(freeze(value)) for value in kinds] == [
        *("None", "True or False", "a number", "a number", "a string", "bytes", "a dictionary"),
        *("a NumPy array", "a tensor", "a function", "a Speechless", "a list"),
    ]


def assert_said(pairs):
    for words, (got, want) in pairs.items():
        assert words in difference(got, want), (words, difference(got, want))
        assert difference(want, want) is None


def test_differences_of_shape_and_type():
    torch = pytest.importorskip("torch")
    x, ones = torch.arange(10.0).reshape(2, 5), torch.ones
    assert_said({
        "transposed": (x.T, x),
        "its axes are in another order": (ones(2, 3, 4), ones(3, 2, 4)),
        "axis of length 1 is missing": (ones(2), ones(2, 1)),
        "axis of length 1 is too many": (ones(2, 1), ones(2)),
        "(2, 6), expected (3, 4): the right number of values, arranged differently": (ones(2, 6), ones(3, 4)),
        "axis 1 is gone": (ones(2, 4), ones(2, 3, 4)),
        "axis 0 is gone": (ones(3, 4), ones(2, 3, 4)),
        "axis 2 is gone": (ones(2, 3), ones(2, 3, 4)),
        "one too few along axis 1": (x[:, :4], x),
        "one too many along axis 0": (ones(3, 5), x),
        "dtype is int64, expected float32": (x.long(), x),
        "dtype is bool, expected int64": (x > 3, x.long()),
    })  # fmt: skip
    assert difference(ones(7, 7), x) == "the shape is (7, 7), expected (2, 5)"
    assert difference(ones(7), x) == "the shape is (7,), expected (2, 5)"
    assert difference(ones(3, 6), x) == "the shape is (3, 6), expected (2, 5)"
    assert difference(ones(2, 7), x) == "the shape is (2, 7), expected (2, 5)"
    assert difference(np.ones(2, np.uint8), np.ones(2, np.int64)) is None
    half, single = ones(2).half(), ones(2)
    assert difference(half, single) is None and "dtype is float16" in difference(half, single, exact_dtype=True)


def test_differences_of_numbers():
    torch = pytest.importorskip("torch")
    x = torch.arange(10.0).reshape(2, 5)
    replaced = x.clone()
    replaced[0, 0] = 7
    assert_said({
        "it contains NaN (10 of 10 values)": (x * float("nan"), x),
        "it contains infinity (10 of 10 values)": (x + math.inf, x),
        "right, but transposed": (x[:, :2].T, x[:, :2]),
        "reverse order along axis 1": (x.flip(1), x),
        "reverse order along axis 0": (x.flip(0), x),
        "one position too late": (x[0].roll(1), x[0]),
        "one position too early along axis 1": (x.roll(-1, 1), x),
        "all values are right but for one thing: ln 2 times the right value: nats where bits": (x * math.log(2), x),
        "1 / ln 2 times the right value: bits where nats": (x / math.log(2), x),
        "ln 10 times": (x * math.log(10), x),
        "a factor of 8 too large: bits where bytes": (x * 8, x),
        "a factor of 8 too small: bytes where bits": (x / 8, x),
        "the sign is wrong": (-x, x),
        "a factor of 3 too large": (3 * x, x),
        "and has the wrong sign, a factor of 4 too small": (x / -4, x),
        "too large by 0.5": (x + 0.5, x),
        "too small by 2": (x - 2, x),
        "1 of 10 values are wrong; at [0, 0] it is 7, expected 0": (replaced, x),
        "10 of 10 values are wrong; all are turned around": (x > 3, x <= 3),
        "1 of 10 values are wrong; look at [0, 3]": (x > 3, x > 2),
    })  # fmt: skip
    assert difference(x / 3, x) == "all values are right but for one thing: a factor of 3 too small"
    assert difference(x[0].flip(0), x[0]) == "the values are right, but in reverse order"
    assert difference(x[0, :3].roll(1), x[0, :3]) == "the values are right, but one position too late"
    assert difference(x[0, 1:2], x[0, 2:3]) == "1 of 1 values are wrong; at [0] it is 1, expected 2"
    assert difference(x * float("nan"), x * float("nan")) is None and difference(x + 1e-7, x) is None
    assert difference(x.long() + 1, x.long()) == "all values are too large by 1" and difference(x * (1 + 1e-3), x)
    many = torch.arange(1e4)
    assert difference(many + many.log(), many).startswith("it contains infinity (1 of 10000 values)")
    words = "9998 of 10000 values are wrong; at [2] it is 1.41421, expected 2"
    assert difference(many**0.5, many) == words
    infinite = torch.tensor([math.inf, 1.0])
    assert difference(infinite + torch.tensor([0.0, 1.0]), infinite).startswith("1 of 2 values are wrong; at [1]")


def test_constant_factors():
    ones, zeros = np.ones(2), np.zeros(2)
    assert constant_factor(3 * ones, ones) == 3 and constant_factor(np.array([0, 4.0]), np.array([0, 2.0])) == 2
    for got, want in ((ones, zeros), (ones, np.ones(3)), (np.array([1, np.inf]), ones), (zeros, ones), (ones, ones)):
        assert constant_factor(got, want) is None
    assert constant_factor(np.array([2, 3.0]), ones) is None and constant_factor(np.array([2, 1.0]), np.array([1, 0.0])) is None


def test_differences_of_plain_values():
    torch = pytest.importorskip("torch")
    x = torch.arange(10.0).reshape(2, 5)
    assert_said({
        "did you forget `return`?": (None, 3),
        "expected a tensor; the values in it are right": ([[1.0, 2.0]], torch.tensor([[1.0, 2.0]])),
        "a NumPy array, expected a tensor; the values": (np.ones(3), torch.ones(3)),
        "a tuple, expected a list; the values": ((1, 2), [1, 2]),
        "it returned a generator, expected a list: wrap it in `list(…)`": ((n for n in [1]), [1]),
        "it returned a range, expected a list: wrap it": (range(1), [1]),
        "did you forget to call it?": (x.sum, 3.0),
        "a tensor, expected a number: take its only value out, by an index or `.item()`": (torch.ones(1), 1.0),
        "a list, expected a number: take its only value out": ([5], 1.0),
        "its shape is (2, 5); is a sum or a mean missing?": (x, 1.0),
        "a string, expected a number": ("1", 1),
        "a number, expected True or False": (1, True),
        "it returned NaN": (float("nan"), 1.0),
        "it returned 3, expected 4": (3, 4),
        "it returned 1, expected nan": (1.0, float("nan")),
        "it returned {1}, expected {2}": ({1}, {2}),
    })  # fmt: skip
    assert difference([[1], [1, 2]], torch.ones(2)) == "it returned a list, expected a tensor"
    assert difference([], torch.ones(2)) == "it returned a list, expected a tensor"
    assert difference(["a"], 1.0) == "it returned a list, expected a number"
    assert difference((2.0, 3.0), [4.0, 5.0]) == "it returned a tuple, expected a list"
    assert difference(1.0, 1) is difference(torch.tensor(2.0), 2.0) is difference([np.float32(1)], [1]) is None
    assert difference([0.1 + 0.2], [0.3]) is None and difference(2**62, 2**62 + 1) and difference([2**62], [2**62 + 1])
    assert difference(1.1, 1.0, rtol=0.2) is None and difference(1.1, 1.0, rtol=0, atol=0.2) is None
    assert difference(float("nan"), float("nan")) is None and difference(Speechless(), 3)
    assert difference(np.array(["a", "b"]), ["a", "b"]) is None and difference({"b", "a"}, {"a", "b"}) is None

    @dataclass
    class Holder:
        x: Any  # a tensor, so that == has no one answer

    assert difference(Holder(torch.ones(2)), Holder(torch.ones(2))).startswith("it returned test_")


def test_differences_of_containers():
    assert_said({
        "it has 2 items, expected 3; the rest is right": ([1, 2], [1, 2, 3]),
        "it has 4 items, expected 3; the rest is right": ([1, 2, 3, 4], [1, 2, 3]),
        "it has 1 item, expected 2": ([5], [1, 2]),
        "items are right, but in reverse order": (["a", "b"], ["b", "a"]),
        "at position 1: it returned 'c', expected 'b'": (["a", "c"], ["a", "b"]),
        "all values are right but for one thing: a factor of 2": ([2.0, 4.0], [1.0, 2.0]),
        "the dictionary lacks 'b' and has too many 'c'": ({"a": 1, "c": 2}, {"a": 1, "b": 2}),
        "at key 'a': it returned 1, expected 2": ({"a": 1}, {"a": 2}),
        "only the white space": ("a\n", "a"),
        "capital and small": ("A", "a"),
        "backwards": ("ab", "ba"),
    })  # fmt: skip
    assert difference([5], [1, 2]) == "it has 1 item, expected 2" and difference([], [1, 2]) == "it has 0 items, expected 2"
    assert difference("x", "y") == "it returned 'x', expected 'y'"
    assert difference({1: 2}, {}) == "the dictionary has too many 1" and difference({}, {1: 2, 2: 3}) == "the dictionary lacks 1, 2"
    assert difference({}, dict.fromkeys(range(9))) == "the dictionary lacks 0, 1, 2, 3, 4"
    assert difference([1, "a", 3], [1, "a", 4]) == "at position 2: it returned 3, expected 4"


def test_differences_of_refusals():
    value, key = Raised("ValueError"), Raised("KeyError", "no", "in line 2")
    assert difference(3, value) == "it returned 3, but has to refuse with ValueError"
    assert difference(key, value) == "it raised KeyError (no) in line 2, but has to refuse with ValueError"
    assert difference(Raised("KeyError"), 3) == "it raised KeyError" and difference(Raised("ValueError", "other"), value) is None


# Exercises: how answers are called and judged


def test_everything_is_put_back_after_an_answer():
    torch, jaxtyping = pytest.importorskip("torch"), pytest.importorskip("jaxtyping")
    torch.manual_seed(3), random.seed(3), np.random.seed(3)

    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before, unchecked = states(), jaxtyping.config.jaxtyping_disable
    with controlled():
        assert random.random() == random.Random(0).random() and np.random.rand() == np.random.RandomState(0).rand()
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
        assert jaxtyping.config.jaxtyping_disable
    assert states() == before and jaxtyping.config.jaxtyping_disable == unchecked
    with pytest.raises(ZeroDivisionError), controlled():
        random.random() / 0
    assert states() == before


def test_answers_run_without_torch():
    code = "from llm_book.exercise import *; v = faults(Exercise('a.1', 'A', 1, abs, [(1,), (-2,)], hints=['?'])); print(v)"
    code = code.replace("import *", "import Exercise, faults")
    code = "import sys; sys.modules['torch'] = sys.modules['jaxtyping'] = None; " + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['a.1: it knows no mistakes']\n", done.stderr


def test_cases_share_nothing():
    torch = pytest.importorskip("torch")
    shared = [3, 1, 2]
    given = fresh_cases(made(cases=[(shared,), (shared,)]))
    given[0][0].sort()
    assert given[1] == ([3, 1, 2],) and shared == [3, 1, 2]
    kept = [(shared,)]
    fresh_cases(made(cases=lambda: kept))[0][0].sort()
    assert shared == [3, 1, 2]
    thrown = made(cases=lambda: [(torch.rand(2).tolist(), random.random())])
    assert fresh_cases(thrown) == fresh_cases(thrown)
    stream = (n for n in [1])
    words = refusal(fresh_cases, made(cases=[(stream,)]))
    assert words.startswith("exercise demo.1: its cases can't be copied (") and "give a function that makes them" in words
    assert fresh_cases(made(cases=lambda: [(stream,)])) == [(stream,)]


def crash(n):
    if n == 2:
        raise ValueError("not a two\nand more")
    return math.floor(1 / n)


class Fragile:
    def __init__(self, n):
        raise RuntimeError(n)


class Bare:
    pass


def test_answers_that_raise():
    ask = made(cases=[(0,), (2,), (1,), ("a",)], solution=crash)
    zero, two, one, text = outcomes(ask, crash)
    assert (zero.kind, zero.message) == ("ZeroDivisionError", "division by zero") and text.kind == "TypeError"
    line = crash.__code__.co_firstlineno
    assert zero.where == f"in line {line + 3}: `return math.floor(1 / n)`" and f"in line {line + 2}" in two.where
    assert (two.kind, two.message) == ("ValueError", "not a two") and one == 1
    assert agree(ask, [zero, two, 1.00001, 3], [Raised("ZeroDivisionError"), zero, 1.0, 3]) == [True, False, True, True]
    assert outcomes(made(solution=5), 5.0) == [5.0]
    assert outcomes(made(cases=[(1,), (2,)], probe=lambda f, x: f(x) + 1), lambda x: 10 * x) == [11, 21]
    assert outcome(ask, sys.exit, (1,)) == Raised("SystemExit") and "raise RuntimeError(n)" in outcome(ask, Fragile, (1,)).where
    assert outcome(ask, math.sqrt, (-1,)).where == "" == outcome(ask, Bare, (1,)).where
    with pytest.raises(KeyboardInterrupt):
        outcome(ask, lambda n: (_ for _ in ()).throw(KeyboardInterrupt), (1,))
    scope: dict[str, Any] = {}
    exec("def unwritten(n):\n    return n / 0", scope)
    assert outcome(ask, scope["unwritten"], (1,)).where == "in line 2"


def even_square(n):
    if n % 2:
        return "odd"
    return None if 100 <= n * n < 1000 else f"{n} squared is {n * n}."


def test_free_checkers():
    free = Exercise("demo.3", "Even", 1, 12, checker=even_square, mistakes={"odd": Mistake(11, "That is odd.")})
    assert judge(free, 12) and judge(free, 30).words == "right."
    assert judge(free, 13).mistake == "odd" and judge(free, 13).words == "That is odd." and not judge(free, 13)
    assert (judge(free, 6).words, judge(free, 6).mistake, judge(free, 6).ok) == ("6 squared is 36.", None, False)
    assert judge(free, "a").words.startswith("while it was tried, it raised TypeError (")
    assert judge(free, np.ones(3)).words.startswith("while it was tried, it raised ValueError (")
    assert faults(free) == ["demo.3: it has no hint"] and faults("nowhere") == ["nowhere has no exercises"]

    def stumble(answer):
        raise ValueError("first line\nsecond line")

    fall = Exercise("demo.6", "Fall", 1, 12, checker=stumble)
    assert judge(fall, 12).words == "while it was tried, it raised ValueError (first line)." and not judge(fall, 12)

    def interrupt(answer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(Exercise("demo.6", "Fall", 1, 12, checker=interrupt), 12)
    asks = Exercise("demo.6", "Call", 1, abs, checker=lambda f: None if f(-1) == 1 else "No.")
    assert judge(asks, abs) and judge(asks, int).words == "No." and "asks for a function" in judge(asks, 3).words


def test_values_are_judged_without_giving_them_away():
    value = Exercise("demo.4", "Bits", 1, 256.0)
    said = {256: "right.", 250: "this is too small.", 300: "this is too large.", 768: "this is too large."}
    said |= {2048: "not quite: a factor of 8 too large: bits where bytes are asked for?", float("nan"): "this is NaN."}
    said |= {512: "not quite: a factor of 2 too large.", -256: "not quite: the sign is wrong.", 256j: "this is not it."}
    said |= {"256": "this is a string, expected a number.", None: "this is None, expected a number.", 10**400: "this is too large."}
    assert {answer: judge(value, answer).words for answer in said} == said
    assert [answer for answer in said if judge(value, answer)] == [256]
    assert all("a factor of" in judge(value, 256 * f).words for f in (2, 0.5, 10, 0.1, 100, 0.01, 1000, 0.001, -2))
    assert judge(Exercise("demo.5", "Word", 1, "loss"), "gain").words == "this is not it."
    assert "asks for a number, and got the function `even_square`. Hand over what it returns." in judge(value, even_square).words


def perplexity(losses, base=math.e):
    return base ** (sum(losses) / len(losses))


@pytest.fixture
def demo(registry):
    mistakes = {
        "forgot the exponential": Mistake(lambda losses, base=math.e: sum(losses) / len(losses), "This is the mean loss."),
        "mean of the exponentials": Mistake(lambda losses, base=math.e: sum(base**x for x in losses) / len(losses), "Swap them."),
    }
    cases, hints = [([0.0, 1.0],), ([1.0, 2.0, 0.0], 2), ([0.5, 0.5, 3.0],)], ["Of a certain model?", "What is first?"]
    return register(Exercise("demo.1", "Demo", 1, perplexity, cases, mistakes=mistakes, hints=hints))


def test_verdicts(demo):
    verdict = check("demo.1", demo.mistakes["forgot the exponential"].answer)
    assert (verdict.ok, bool(verdict), verdict.mistake, verdict.id) == (False, False, "forgot the exponential", "demo.1")
    assert bool(check("demo.1", perplexity)) and check("demo.1", perplexity).words == "right, on all 3 cases."
    none = "on `f([0, 1])`, it returned None, expected a number: did you forget `return`? None of the 3 cases is right."
    assert check("demo.1", lambda losses, base=0: None).words == none
    twice = check("demo.1", lambda losses, base=math.e: 2 * perplexity(losses, base)).words
    assert "On every case it is off in the same way: a factor of 2 too large. None of the 3 cases" in twice
    mixed = check("demo.1", lambda losses, base=math.e: 2 * perplexity(losses, base) if base == 2 else "").words
    assert "On every case" not in mixed
    assert check("demo.1", lambda losses, base=0: 10**400).words.endswith("None of the 3 cases is right.")
    partly = check("demo.1", lambda losses, base=0: math.exp(sum(losses) / len(losses)))
    assert partly.words == "on `f([1, 2, 0], 2)`, it returned 2.71828, expected 2. 2 of 3 cases are right."
    assert repr(Verdict("a.1", True, "word")) == "✓ a.1: word" and repr(Verdict("a.1", False, "word")) == "✗ a.1: word"
    lines = repr(Verdict("a.1", False, "a " * 60 + "well-known " * 9 + "x" * 99)).splitlines()
    assert len(lines[0]) == 88 and lines[1].startswith("  a a") and lines[-1] == "  " + "x" * 99
    assert repr(Verdict("a.1", False, "x" * 72 + " well-known")).splitlines()[1] == "  well-known"


def test_answers_of_the_wrong_kind(demo):
    def one_argument(losses: list) -> float:
        return 0.0

    words = "it is called as `perplexity(losses, base=2.718281828459045)`, with 2 arguments; yours is `one_argument(losses)`."
    assert check("demo.1", one_argument).words == words
    words = check("demo.1", 3.0).words
    assert words.startswith("this exercise asks for a function, and got a number. Hand over the function itself: `check(\"demo.1\"")
    assert "with 1 argument;" in check("demo.1", lambda: 0).words
    assert "on `max([0, 1])`" in check("demo.1", max).words  # written in C: it has no signature to look at
    probed = made(cases=[([2, 1],), ([3, 4],)], solution=sorted, probe=lambda f, x: f(x)[0])
    assert judge(probed, lambda x: [min(x)]).words == "right, on all 2 cases."
    assert judge(probed, list).words == "on the case ([2, 1]), it returned 2, expected 1. 1 of 2 cases is right."
    alone = judge(made(cases=[([2, 1],)], solution=sorted), lambda x: x[:1]).words
    assert alone == "on `f([2, 1])`, it has 1 item, expected 2."
    once = judge(made(cases=[(-3,)]), lambda x: 6 * abs(x)).words
    assert once == "on `f(-3)`, it returned 18, expected 3."  # one case is no pattern


def test_answers_that_change_their_arguments(demo):
    torch = pytest.importorskip("torch")

    def in_place(losses, base=math.e):
        losses.sort()
        return perplexity(losses, base)

    remark = "right, on all 3 cases. One remark: it changes its argument 1 in place, which a caller may not expect."
    assert check("demo.1", in_place).words == remark and demo.cases[1][0] == [1.0, 2.0, 0.0]
    model = made(cases=[(torch.nn.Linear(2, 3), [1])], solution=lambda layer, x: layer.out_features)
    assert judge(model, lambda layer, x: 3).words == "right, on the only case."
    assert "its argument 2 in place" in judge(model, lambda layer, x: x.append(2) or 3).words
    both = made(cases=[([1], [2]), ([1], [2])], solution=lambda x, y: 3)
    assert "its argument 1 and 2 in place" in judge(both, lambda x, y: x.append(0) or y.append(0) or 3).words
    slight = made(cases=[(torch.ones(2),)], solution=lambda x: 3)
    assert "in place" in judge(slight, lambda x: x.add_(1e-7) is None or 3).words
    probed = made(cases=[([2, 1],)], solution=sorted, probe=lambda f, x: x.sort() or f(x))
    assert judge(probed, sorted).words == "right, on the only case."


def test_hints_and_solutions(registry):
    exercise = register(made(cases=[(1,)], solution=even_square, hints=["Think.", "Think harder."]))
    assert [hint("demo.1") for _ in range(2)] == ["demo.1, hint 1 of 2: Think.", "demo.1, hint 2 of 2: Think harder."]
    assert hint("demo.1") == "demo.1 has no more hints; `solution('demo.1')` shows the solution."
    assert hint("demo.1", 1) == "demo.1, hint 1 of 2: Think." and hint("demo.1").startswith("demo.1 has no more hints")
    assert repr(hint("demo.1", 2)) == "demo.1, hint 2 of 2: Think harder." and hint("demo.1", 3).startswith("demo.1 has no more")
    exercise.hints_given = 0
    assert hint("demo.1", 2) and hint("demo.1").startswith("demo.1 has no more")
    assert repr(solution("demo.1")).startswith("def even_square(n):\n    if") and not solution("demo.1").endswith("\n")
    register(made(solution=2**8))
    assert hint("demo.1") == "demo.1 has no hints." and repr(solution("demo.1")) == "256"


def mean(x):
    return sum(x) / len(x)


def faults_with(cases, **answers):
    known = {name: Mistake(answer, f"This is {name}.") for name, answer in answers.items()}
    return faults(made(cases=cases, solution=mean, mistakes=known, hints=["Add."]))


def test_faults(demo):
    tame, good = [([2, 2],)], [([2, 2],), ([1, 2, 6],), ([5],)]
    assert faults_with(good, total=sum, largest=max) == [] == faults("demo.1") == faults("demo")
    assert faults_with(tame, largest=max) == ["demo.1: mistake 'largest' passes as right: add a case where it fails"]
    told = "demo.1: mistake 'last' can't be told from 'largest': add a case where they differ"
    assert faults_with(good, largest=max, last=lambda x: x[-1]) == [told]
    assert faults_with(good, crash=lambda x: x.mean()) == ["demo.1: mistake 'crash' raises AttributeError on every case"]
    (kind,) = (fault for fault in faults_with(good, five=5) if "five" in fault and "raises" not in fault)
    assert kind.startswith("demo.1: mistake 'five' is not recognized: this exercise asks for a function")
    bare = faults(made(cases=good, solution=lambda x: x.mean()))
    assert bare[:2] == ["demo.1: it has no hint", "demo.1: it knows no mistakes"]
    assert bare[2:] == ["demo.1: its own solution raises AttributeError on every case"]
    noisy = faults(made(cases=good, solution=lambda x, seen=[]: seen.append(x) or len(seen), hints=["?"]))  # noqa: B006
    assert noisy[1].startswith("demo.1: its own solution is rejected: on `")
    rude = faults(made(cases=good, solution=lambda x: x.append(0) or len(x)))
    assert "demo.1: its solution changes an argument in place" in rude
    assert faults(made(checker=lambda answer: None, hints=["?"])) == ["demo.1: it knows no mistakes"]


def test_the_command_line(demo, capsys, tmp_path):
    def command(*arguments):
        status, (out, err) = main(arguments), capsys.readouterr()
        return status, out.strip(), err.strip()

    file = tmp_path / "answer.py"

    def tried(source, name=""):
        file.write_text(source)
        return command("check", "demo.1", f"{file}{name}")

    right = "import math\nperplexity = lambda losses, base=math.e: base ** (sum(losses) / len(losses))\n"
    assert tried(right) == (0, "✓ demo.1: right, on all 3 cases.", "")
    assert tried(right.replace("base **", "").replace("perplexity", "answer"))[:2] == (1, "✗ demo.1: This is the mean loss.")
    assert tried(right.replace("perplexity", "mine"), ":mine")[0] == 0
    assert tried("def mine(losses, base=2.718281828459045): return base ** (sum(losses) / len(losses))")[0] == 0
    assert tried("a = b = 1", ":c")[::2] == (2, f"{file} defines no c; it has a, b")
    assert tried("def f(x): 1\ndef g(x): 1\nh = 2")[2].endswith("defines no answer; it has f, g")
    assert tried("def f(x): 1", ":g")[2].endswith("defines no g; it has f") and tried("_a = 1")[2].endswith("it has nothing")
    assert "can't be run: SyntaxError in line 2: " in tried("1\n(")[2]
    assert tried("1\n1 / 0")[2].endswith("can't be run: ZeroDivisionError in line 2: division by zero")
    assert "can't be run: SystemExit in line 3" in tried("import sys\n\nsys.exit(3)")[2]
    file.unlink()
    assert command("check", "demo.1", str(file)) == (2, "", f"there is no file {file}") == command("check", "demo.1", f"{file}:f")
    assert command("list", "demo") == (0, "demo.1 ★ Demo", "") == command("list")
    assert command("list", "nowhere") == (1, "there are no exercises here", "")
    assert command("hint", "demo.1", "2")[1].startswith("demo.1, hint 2 of 2: What is first")
    assert command("hint", "demo.1")[:2] == (0, "demo.1, hint 1 of 2: Of a certain model?")
    assert command("solution", "demo.1")[:2] == (0, "def perplexity(losses, base=math.e):\n    return base ** (sum(losses) / len(losses))")
    assert command("hint", "demo.7") == (2, "", "there is no exercise 'demo.7'; near it: demo.1")
    with contextlib.redirect_stdout(io.StringIO()) as other:  # without an encoding to be changed
        assert main(["list", "demo"]) == 0 and other.getvalue() == "demo.1 ★ Demo\n"
    with pytest.raises(SystemExit):
        main([])
    assert "usage: python -m llm_book.exercise" in capsys.readouterr().err


# The notebooks' equipment


@given(st.one_of(st.integers(), st.floats(-1e300, 1e300)))
def test_numbers_in_prose_stay_close(value):
    text = prose(value).replace("−", "-").replace(",", "")
    mantissa, _, power = text.partition(" × 10")
    power = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    if isinstance(value, int):
        assert int(text) == value
    else:
        assert float(f"{mantissa}e{power}") == pytest.approx(value, rel=0.0051, abs=1e-320)
        assert len(re.sub(r"\D|^-?0\.?0*", "", mantissa)) <= 6


def test_numbers_in_prose_by_hand():
    by_hand = {2.0: "2.00", -0.5: "−0.500", 0.00012345: "0.000123", 65504.0: "65,500", 999999.0: "1.00 × 10⁶", 0.0: "0"}
    by_hand |= {99960.0: "100,000", -2.5e-7: "−2.50 × 10⁻⁷", 1.2345e-5: "1.23 × 10⁻⁵", 0.0001: "0.000100", -12345: "−12,345"}
    assert {value: prose(value) for value in by_hand} == by_hand
    assert prose("ln 256") == "ln 256" and prose(3.0, ".0f") == "3" and prose(np.float32(1.5)) == "1.50" and prose(np.int64(7)) == "7"
    assert refusal(prose, True) == "a sentence can quote a number or a string, not True"
    assert refusal(prose, float("inf")) == "inf is no number to quote: mend the computation first"
    assert refusal(prose, 1j) == "a sentence can quote a number or a string, not 1j"


def test_record_shows_one_output_of_one_type():
    capture = pytest.importorskip("IPython.utils.capture")
    pytest.importorskip("IPython").core.interactiveshell.InteractiveShell.instance()
    with capture.capture_output() as seen:
        record("n_parameters", 12345)
        record("share", 0.5, format=".0%")
    sent = [{"key": "n_parameters", "value": "12,345"}, {"key": "share", "value": "50%"}]
    assert [output.data for output in seen.outputs] == [{"application/vnd.llm-book.record+json": one} for one in sent]
    for key in ("seconds:all", "2x", "Loss", "", "a b", "a\n"):
        assert "is no key for prose" in refusal(record, key, 1)
    assert refusal(record, "loss", float("nan")) == "record('loss', …): nan is no number to quote: mend the computation first"


def test_modules_that_the_hook_would_miss():
    names = ["llm_book.plot", "llm_book", "llm_book.attention", "llm_book.notebook", "llm_bookish.x"]
    assert imported_too_early(names) == ["llm_book.attention", "llm_book.plot"]


@pytest.mark.parametrize("module", ["llm_book", "llm_book.notebook", "llm_book.plot", "llm_book.exercise"])
def test_helpers_import_without_torch_and_matplotlib(module):
    code = f"import sys, {module}; sys.exit(', '.join({{'torch', 'matplotlib', 'IPython', 'beartype'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SESSION = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
{before}
shell.run_line_magic("load_ext", "llm_book.notebook")
{after}
"""


def session(before="", after=""):
    "What a fresh IPython session prints, and the last line of its complaints."
    code = SESSION.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip().splitlines(), (done.stderr.strip().splitlines() or [""])[-1]


def test_the_extension_equips_a_session():
    pytest.importorskip("beartype"), pytest.importorskip("matplotlib_inline")
    after = """
shell.run_cell("def twice(x: float) -> float: return 2 * x")
shell.run_cell("import numpy as np; from llm_book.plot import running_mean")
shell.showtraceback = lambda *arguments, **options: None
for cell in ("twice(1)", "twice('1')", "running_mean(np.ones(3), 2)", "running_mean(np.ones((3, 3)), 2)"):
    print(shell.run_cell("result = " + cell).success)
shell.run_line_magic("reload_ext", "llm_book.notebook")  # once more does no harm
print(sys.modules["tqdm.autonotebook"].__doc__)
import matplotlib
from matplotlib.figure import Figure
from tqdm.auto import tqdm, trange
print("record" in shell.user_ns, matplotlib.rcParams["svg.hashsalt"], "tqdm.notebook" in sys.modules)
print(list(tqdm("ab", disable=True)), list(trange(2, disable=True)))
print([kind for kind, formatter in shell.display_formatter.formatters.items() if Figure in formatter])
"""
    said, complaint = session(after=after)
    stand_in = "Stands in for tqdm's choice between characters and a widget."
    equipped = [stand_in, "True llm_book False", "['a', 'b'] [0, 1]", "['image/svg+xml']"]
    assert said == ["True", "False", "True", "False", *equipped], complaint


def test_coming_too_late_is_an_error():
    pytest.importorskip("beartype")
    _, complaint = session("import llm_book.plot, llm_book.exercise")
    assert complaint == (
        "ImportError: llm_book.exercise, llm_book.plot was imported before shape checking was switched on: "
        "restart the kernel and run `%load_ext llm_book.notebook` first"
    )


@pytest.mark.parametrize("missing", ["beartype", "matplotlib", "matplotlib_inline", "tqdm"])
def test_what_is_not_installed_is_left_out(missing):
    pytest.importorskip("IPython"), pytest.importorskip("beartype")
    said, complaint = session(f"sys.modules[{missing!r}] = None", "print('record' in shell.user_ns)")
    unchecked = ['Shapes go unchecked: `pip install "llm_book[book]"` brings the checker.']
    assert said == (unchecked if missing == "beartype" else []) + ["True"] and not complaint


def test_the_register_of_the_book_is_untouched():
    assert all(not id.startswith(("demo.", "zoo.", "mine.")) for id in REGISTRY)

"""The staircase on the home page: a model's loss against limits that were computed before it was trained."""
from __future__ import annotations

import math

from notebook_filter import recorded
from project import BuildError, Origin, Problem

from .book import Book, figure, svg, text

CHAPTER = "worlds"
FLOORS = {  # what chapter 03 recorded → what it goes by
    "stairs_floor_0": "blind guessing",
    "stairs_floor_1": "no memory",
    "stairs_floor_2": "one symbol",
    "stairs_floor_3": "the limit",
}
KEYS = [*FLOORS, "stairs_curve", "stairs_excess", "stairs_steps"]
WIDTH, HEIGHT, FOOT = 640, 390, 34  # of the drawing, and of the part below the axis


def stairs(book: Book) -> str:
    "The staircase of chapter 03, from the values that its last run recorded."
    values = read(book)
    floors = {name: float(values[key]) for key, name in FLOORS.items()}
    curve = [tuple(map(float, point.split(":"))) for point in values["stairs_curve"].split()]
    said = ", ".join(f"{name} {level:.2f}" for name, level in floors.items())
    alt = f"A curve that comes down four steps and rests on each of them: {said} nats per symbol."
    caption = (
        "A small Transformer learns a language that we invented, so that its limits could be computed before the training began. "
        "It rests where it predicts as well as anything can that remembers nothing, then where one symbol of memory is used as well "
        f"as it can be, and at last it combines two. After {values['stairs_steps']} training steps it is {values['stairs_excess']} nats per symbol away from what no "
        f"model can beat: {book.link(book.chapters[CHAPTER])}."
    )
    return figure("fig-stairs", alt, svg(WIDTH, HEIGHT, alt, drawing(floors, curve), font_size=20), caption)


def read(book: Book) -> dict[str, str]:
    chapter = book.chapters.get(CHAPTER)
    values = recorded(book.notebooks[chapter.path]) if chapter else {}
    missing = [key for key in KEYS if key not in values]
    if missing:
        message = f"the staircase draws {', '.join(missing)}, which no cell of chapter `{CHAPTER}` recorded"
        raise BuildError(Problem(Origin("tools/generated/stairs.py"), message, "record them, or draw something else"))
    return values


def drawing(floors: dict[str, float], curve: list[tuple[float, float]]) -> list[str]:
    "Floors with their names above them at the right, where the curve is no longer; then the curve and the axis."
    top, low = max(loss for _, loss in curve), min(floors.values())
    last = math.log(curve[-1][0])

    def x(step: float) -> float:
        return WIDTH * math.log(step) / last

    def y(loss: float) -> float:
        return 28 + (HEIGHT - FOOT - 60) * (top - loss) / (top - low)

    parts = []
    for name, level in floors.items():
        limit = level == low
        parts.append(line(f"M0 {y(level):.1f}H{WIDTH}", "currentColor", 1.5, stroke_dasharray="none" if limit else "6 5", opacity=0.5))
        look = {"text_anchor": "end", "font_variant_numeric": "lining-nums", "font_weight": 600 if limit else 400}
        parts.append(text(WIDTH, y(level) + (24 if limit else -7), f"{name} {level:.2f}", **look))
    points = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in curve)
    parts.append(line(f"M{points}", "var(--fig-1)", 4.5, stroke_linejoin="round", stroke_linecap="round"))
    for step in (1, 10, 100, 1000):
        anchor = "start" if step == 1 else "middle"
        parts.append(text(x(step), HEIGHT - 6, f"{step:,}" + (" training step" if step == 1 else ""), text_anchor=anchor, font_size=16, opacity=0.75))
    return parts


def line(path: str, color: str, width: float, **attributes) -> str:
    keys = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"{keys}/>'

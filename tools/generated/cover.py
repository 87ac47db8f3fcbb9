"""The cover: how many bits each model of the first chapter needs for a letter, as blocks that one can count."""
from __future__ import annotations

from notebook_filter import recorded
from project import BuildError, Origin, Problem

from .book import Book, box, figure, svg, text

CHAPTER = "overview"
RUNGS = {  # what chapter 00 recorded → what it goes by
    "blind": "Blind guessing",
    "letters": "Counting letters",
    "pairs": "Counting pairs of letters",
    "best": "Counting longer runs of letters",
    "tiny": "The network of the first chapter",
    "xz": "xz, a file compressor",
}
WIDTH, UNIT, BLOCK, ROW = 640, 72, 30, 74  # of the drawing, of one bit with its gap, of a block's height, of a row


def cover(book: Book) -> str:
    "The ladder of chapter 00, from the values that its last run recorded."
    bits = rungs(book)
    parts = []
    for n, (name, value) in enumerate(sorted(bits.items(), key=lambda item: -item[1])):
        parts += row(RUNGS[name], value, n * ROW, "var(--fig-2)" if name == "tiny" else "var(--fig-1)")
    said = ", ".join(f"{RUNGS[name]} {value:.2f}" for name, value in sorted(bits.items(), key=lambda item: -item[1]))
    alt = f"Rows of blocks, one block for each bit that a letter costs, shrinking from row to row: {said}."
    first = book.chapters[CHAPTER]
    caption = (
        "A letter takes 8 bits to store, and who can foresee it needs fewer. To foresee text is all that a language model does. "
        f"One block is one bit per letter, on text that none of these had seen. {book.link(first)}, the first chapter, "
        f"takes {book.value(f'seconds:{CHAPTER}')} seconds of one CPU core and gets down to {bits['tiny']:.2f} bits; "
        "the rest of the book is about the steps below."
    )
    return figure("fig-cover", alt, svg(WIDTH, len(bits) * ROW, alt, parts, font_size=20), caption)


def rungs(book: Book) -> dict[str, float]:
    chapter = book.chapters.get(CHAPTER)
    values = recorded(book.notebooks[chapter.path]) if chapter else {}
    missing = [f"{name}_bits" for name in RUNGS if f"{name}_bits" not in values]
    if missing:
        message = f"the cover draws {', '.join(missing)}, which no cell of chapter `{CHAPTER}` recorded"
        raise BuildError(Problem(Origin("tools/generated/cover.py"), message, "record them, or draw something else"))
    return {name: float(values[f"{name}_bits"]) for name in RUNGS}


def row(name: str, bits: float, top: float, color: str) -> list[str]:
    "A rung: its name, its blocks, the last one only as full as it is, and its number."
    parts = [text(0, top + 20, name)]
    whole, rest = int(bits), bits - int(bits)
    widths = [UNIT - 5.0] * whole + ([rest * (UNIT - 5)] if rest > 0.005 else [])
    parts += [box(n * UNIT, top + 30, width, BLOCK, rx=3, fill=color) for n, width in enumerate(widths)]
    end = (len(widths) - 1) * UNIT + widths[-1]
    return [*parts, text(end + 9, top + 52, f"{bits:.2f}" if rest else f"{bits:.0f}", font_weight=600, font_variant_numeric="lining-nums")]

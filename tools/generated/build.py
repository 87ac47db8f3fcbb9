"""How this build went: what ran, what it cost, and with which versions."""
from __future__ import annotations

import platform
from importlib import metadata

from .book import Book, box, duration, figure, plural, svg, text

SOFTWARE = ("torch", "numpy", "matplotlib", "nbdev", "nbclient", "jaxtyping", "beartype", "pypandoc_binary", "pagefind")
WIDTH, ROW, NUMBER = 620, 62, 76  # of the drawing, of a bar with its title, of the number beside it


def summary(book: Book) -> str:
    "The build in one paragraph."
    spent = book.cost.values()
    cells, checks = sum(s["cells"] for s in spent), sum(s["checks"] for s in spent)
    seconds, peak = sum(s["cpu_s"] for s in spent), max((s["mem_bytes"] for s in spent), default=0)
    return (
        f"{plural(len(book.runs), 'notebook')} with {plural(cells, 'code cell')} ran from first to last, "
        f"and {plural(checks, 'check')} in them held. That took {duration(seconds)} of one CPU core and at most {peak / 2**20:.0f} MB of memory."
    )


def cost_figure(book: Book) -> str:
    "CPU-seconds of each chapter with its exercises, against the budget that it may not exceed twice over."
    parts, budget_s = [], book.project.budget_s
    longest = max((max(spent["cpu_s"], budget_s(name)) for name, spent in book.cost.items()), default=1)
    unit = (WIDTH - NUMBER) / longest
    for n, (name, spent) in enumerate(book.cost.items()):
        top, end, budget = n * ROW, max(2, spent["cpu_s"] * unit), budget_s(name) * unit
        parts.append(text(0, top + 18, book.title(book.chapters[name])))
        parts.append(box(0, top + 28, end, 16, rx=2, fill="var(--fig-1)"))
        parts.append(box(budget - 1.5, top + 24, 3, 24, fill="var(--fig-2)"))
        number = budget if end < budget < end + NUMBER else end  # it never stands on the mark
        parts.append(text(number + 8, top + 42, f"{spent['cpu_s']:.1f} s", font_variant_numeric="lining-nums tabular-nums"))
    said = "; ".join(f"{book.title(book.chapters[name])} {spent['cpu_s']:.1f} of {budget_s(name):.0f}" for name, spent in book.cost.items())
    alt = f"Bars of the CPU-seconds of each chapter, with a mark at its budget: {said}."
    caption = "CPU-seconds of each chapter with its exercises. The mark is its budget; at twice as much the build stops."
    return figure("fig-build-cost", alt, svg(WIDTH, max(1, len(book.cost)) * ROW, alt, parts, font_size=17), caption)


def costs(book: Book) -> str:
    "A table with a row for each chapter."
    rows = ["| chapter | code cells | checks | CPU-seconds | peak memory |", "|:--|--:|--:|--:|--:|"]
    for name, spent in book.cost.items():
        link = book.link(book.chapters[name])
        rows.append(f"| {link} | {spent['cells']} | {spent['checks']} | {spent['cpu_s']:.1f} | {spent['mem_bytes'] / 2**20:.0f} MB |")
    total = {key: sum(spent[key] for spent in book.cost.values()) for key in ("cells", "checks", "cpu_s")}
    peak = max((spent["mem_bytes"] for spent in book.cost.values()), default=0)
    rows.append(f"| **all** | **{total['cells']}** | **{total['checks']}** | **{total['cpu_s']:.1f}** | **{peak / 2**20:.0f} MB** |")
    return "\n".join(rows)


def versions(book: Book) -> str:
    "What the notebooks ran with."
    machine = f"{platform.python_version()} on {platform.system()}, {platform.machine()}, {plural(book.project.cores, 'core')}"
    rows = ["| software | version |", "|:--|:--|", f"| Python | {machine} |"]
    return "\n".join([*rows, *(f"| {name} | {version} |" for name in SOFTWARE if (version := installed(name)))])


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

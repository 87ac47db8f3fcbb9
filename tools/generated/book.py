"""What the generated pages are computed from, and the few drawing helpers that they share."""
from __future__ import annotations

import html
from dataclasses import dataclass

from cells import source_of
from notebook_filter import Context
from project import Chapter, Project


@dataclass
class Book:
    "All that is known once every chapter has run."

    project: Project
    notebooks: dict[str, dict]  # executed, by path
    runs: dict[str, object]  # `execute.Run` by path
    cost: dict[str, dict]  # by chapter name
    context: Context

    def title(self, chapter: Chapter) -> str:
        text = next(source_of(cell) for cell in self.notebooks[chapter.path]["cells"] if cell["cell_type"] == "markdown")
        return heading_text(text.splitlines()[0])

    def link(self, chapter: Chapter) -> str:
        return f"[{self.title(chapter)}]({chapter.path})"

    def value(self, key: str) -> int:
        "A number of the run's record, such as `minutes:layers`; 0 where there is none."
        return int(self.context.values.get(key, "0").replace(",", ""))

    @property
    def chapters(self) -> dict[str, Chapter]:
        return {chapter.name: chapter for chapter in self.project.chapters}


def heading_text(line: str) -> str:
    "The words of a heading, without marks and attributes."
    return line.lstrip("# ").split(" {")[0].strip()


def svg(width: int, height: int, alt: str, parts: list[str], font_size: int = 16) -> str:
    "A drawing in the page's own font, ink and palette, as a block of raw HTML."
    opening = (
        f'<svg class="narrow" role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {width} {height}" '
        f'style="width:{width}px" font-size="{font_size}" fill="currentColor">'
    )
    return "\n".join(["```{=html}", opening, *parts, "</svg>", "```"])


def text(x: float, y: float, words: str, **attributes) -> str:
    keys = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:g}" y="{y:g}"{keys}>{html.escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, **attributes) -> str:
    keys = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}"{keys}/>'


def figure(label: str, alt: str, drawing: str, caption: str) -> str:
    quoted = alt.replace('"', "&quot;")
    return f'::: {{#{label} fig-alt="{quoted}"}}\n{drawing}\n\n{caption}\n:::'


def duration(seconds: float) -> str:
    "Seconds in the unit that one would say."
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"


def reading(minutes: float) -> str:
    return f"{round(minutes)} min" if minutes < 100 else f"{minutes / 60:.1f} hours"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"

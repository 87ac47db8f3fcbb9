"""The home page's lists: reading paths with their times, and what there is of the book and what is to come."""
from __future__ import annotations

from difflib import get_close_matches
from pathlib import PurePosixPath

from project import BuildError, Origin, Problem

from .book import Book, duration, heading_text, plural, reading


def paths(book: Book) -> str:
    "The ways to read the book that `_quarto.yml` lists under `llm-book: paths`, with times as measured."
    unknown = [Problem(Origin("_quarto.yml"), *told) for path in book.project.own.get("paths", []) for told in misnamed(book, path)]
    if unknown:
        raise BuildError(unknown)
    cards = [card(book, path) for path in book.project.own.get("paths", [])]
    return ":::: {.cards}\n\n" + "\n\n".join(cards) + "\n\n::::"


def misnamed(book: Book, path: dict) -> list[tuple[str, str]]:
    "Pages of a path that are neither in the book nor planned."
    known = [*pages(book), *book.project.planned]
    wrong = [name for name in path["pages"] if name not in known]
    return [
        (f"the reading path `{path['name']}` names `{name}`, which is no page", f"did you mean {' or '.join(get_close_matches(name, known)) or known}?")
        for name in wrong
    ]


def pages(book: Book) -> dict[str, str]:
    "Every page by the name that a path calls it: `nbs/10_layers.ipynb` is `layers`, `start.qmd` is `start`."
    return {PurePosixPath(page).stem.split("_", 1)[-1]: page for page in book.project.pages}


def card(book: Book, path: dict) -> str:
    here, to_come = pages(book), [name for name in path["pages"] if name in book.project.planned]
    names = [name for name in path["pages"] if name in here]
    rows = [f"1. [{title(book, here[name])}]({here[name]}){times(book, name)}" for name in names]
    minutes, seconds = (sum(book.value(f"{what}:{name}") for name in names) for what in ("minutes", "seconds"))
    total = f"[{reading(minutes)} to read, {duration(seconds)} to run]{{.total}}" if seconds else f"[{reading(minutes)} to read]{{.total}}"
    later = ", ".join(f"*{book.project.planned[name]}*" for name in to_come)
    parts = [f"::: {{.path}}\n### {path['name']} {{.unnumbered}}", path["who"], "\n".join(rows), total]
    return "\n\n".join([*parts, *([f"[To come: {later}]{{.later}}"] if later else []), ":::"])


def title(book: Book, page: str) -> str:
    chapter = next((chapter for chapter in book.project.chapters if chapter.path == page), None)
    if chapter:
        return book.title(chapter)
    lines = (book.project.root / page).read_text(encoding="utf-8").splitlines()
    return heading_text(next(line for line in lines if line.startswith("# ")))


def times(book: Book, name: str) -> str:
    "How long a page takes; nothing for one that is there to look things up."
    minutes, seconds = book.value(f"minutes:{name}"), book.value(f"seconds:{name}")
    said = [f"{minutes} min"] * bool(minutes) + [f"{duration(seconds)} to run"] * bool(seconds)
    return f" [{', '.join(said)}]{{.time}}" if said else ""


def contents(book: Book) -> str:
    "Each part with its chapters: those that exist as links, those to come in italics."
    groups = {part: [book.chapters[c.name] for c in book.project.chapters if c.part == part and not c.appendix] for part in parts(book)}
    planned = {group["part"]: [name for name in group["chapters"] if name in book.project.planned] for group in book.project.own.get("planned") or []}
    entries = []
    for part, chapters in groups.items():
        items = [book.link(chapter) + times(book, chapter.name) for chapter in chapters]
        items += [f"*{book.project.planned[name]}*" for name in planned.get(part, [])]
        if items:
            entries.append(f"{part or 'To begin with'}\n:   {' · '.join(items)}")
    done, ahead = len([c for c in book.project.chapters if not c.appendix]), len(book.project.planned)
    lead = f"{plural(done, 'chapter')} of {done + ahead} can be read today. The titles in italics are to come." if ahead else ""
    return lead + "\n\n::: {.parts}\n" + "\n\n".join(entries) + "\n:::"


def parts(book: Book) -> list[str]:
    "Titles of parts in the order of the plan; parts that it does not know stand at the end."
    planned = [group["part"] for group in book.project.own.get("planned") or []]
    return list(dict.fromkeys(["", *planned, *(chapter.part for chapter in book.project.chapters if not chapter.appendix)]))

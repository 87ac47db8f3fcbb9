"""From executed notebooks to pages: outputs and exercises in place, names linked, values filled in.

Both renderers start from the same pages: the embedded one takes them as they are, Quarto gets a staged copy on disk.
"""
from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import generated
from cells import EXPORTED, code_of, directives_of, parse, public_names, source_of
from execute import Run, cost
from notebook_filter import Context, filter_notebook, staged_notebook
from project import BuildError, Chapter, Origin, Problem, Project, remove, stop_at, write
from website.template import MOST_ENTRIES

WORDS_PER_MINUTE = 180  # of technical prose; code is read at the same pace, word by word
DISPLAYED = re.compile(r"^#\s+(?P<title>.+?)\s*(?:\{(?P<attributes>[^}]*)\})?\s*$", re.M)


@dataclass
class Cell:
    "A piece of a page."

    kind: str  # "markdown" or "code"
    source: str  # Markdown, or code without directives
    options: dict[str, str]  # of code: code-fold, code-summary
    origin: Origin  # where it was written, for messages


@dataclass
class Page:
    "A page of the site, as both renderers see it."

    path: str  # as in _quarto.yml
    cells: list[Cell] = field(default_factory=list)


def stage(project: Project, runs: list[Run]) -> list[Page]:
    "All pages of the book in reading order."
    notebooks = {path: executed(project, path) for path in project.notebooks}
    context = build_context(project, notebooks, runs)
    write(project.executed / "context.json", json.dumps(asdict(context), indent=1, sort_keys=True))
    problems: list[Problem] = []
    book = generated.Book(project, notebooks, {run.path: run for run in runs}, cost(project, runs), context)
    chapters = {chapter.path: chapter for chapter in project.chapters}
    pages = [
        chapter_page(chapters[path], notebooks, context, problems) if path in chapters else text_page(project, path, book, context, problems)
        for path in project.pages
    ]
    stop_at(problems)
    return pages


def executed(project: Project, path: str) -> dict:
    return json.loads((project.executed / path).read_text(encoding="utf-8"))


# What pages know of each other


def build_context(project: Project, notebooks: dict[str, dict], runs: list[Run]) -> Context:
    return Context(
        values=values(project, notebooks, runs),
        names=names(project, notebooks),
        planned={f"sec-{name}": title for name, title in project.planned.items()},
        unnumbered=unnumbered(project, notebooks),
        colors=figure_colors(project),
    )


def values(project: Project, notebooks: dict[str, dict], runs: list[Run]) -> dict[str, str]:
    "`seconds:NAME`, `words:NAME` and `minutes:NAME` of every chapter and page, and of `all` chapters; `memory:all` in MB."
    found = {}
    for name, spent in cost(project, runs).items():
        found[f"seconds:{name}"] = f"{max(1, round(spent['cpu_s']))}"
    counts = {c.name: sum(words(notebooks[path]) for path in (c.path, c.exercises) if path in notebooks) for c in project.chapters}
    counts |= {Path(page).stem: own_words(project.root / page) for page in project.pages if page.endswith(".qmd")}
    for name, count in counts.items():
        found[f"words:{name}"] = f"{round(count, -2):,}"
        found[f"minutes:{name}"] = f"{max(1, round(count / WORDS_PER_MINUTE))}" if count else "0"
    spent = cost(project, runs).values()
    found["seconds:all"] = f"{round(sum(s['cpu_s'] for s in spent)):,}"
    found["minutes:all"] = f"{round(sum(counts[chapter.name] for chapter in project.chapters) / WORDS_PER_MINUTE):,}"
    found["memory:all"] = f"{round(max((s['mem_bytes'] for s in spent), default=0) / 2**20):,}"
    return found


def own_words(file: Path) -> int:
    "Words of a text page; none of one that is there to look things up, which is mostly generated."
    count = len(re.findall(r"[A-Za-z0-9]+", file.read_text(encoding="utf-8")))
    return count if count >= 300 else 0


def words(nb: dict) -> int:
    "Words a reader reads: prose, and the code that is shown without being unfolded."
    return sum(len(re.findall(r"[A-Za-z0-9]+", code_of(source_of(cell)))) for cell in nb["cells"] if is_open(cell))


def is_open(cell: dict) -> bool:
    options = {name: value for _, name, value in directives_of(source_of(cell))}
    return cell["cell_type"] == "markdown" or not ("hide" in options or options.get("code-fold") == "true")


def names(project: Project, notebooks: dict[str, dict]) -> dict[str, list[str]]:
    "Where each public name is defined; one that two modules share is linked only as `module.name`."
    found, shared = {}, set()
    for chapter in project.chapters:
        for path in (chapter.path, chapter.exercises):
            for cell in notebooks.get(path, {"cells": []})["cells"]:
                for name in exported_names(cell):
                    target = [chapter.path, f"api-{name}"]
                    found[f"{chapter.name}.{name}"] = found[f"{project.lib_name}.{chapter.name}.{name}"] = target
                    if found.setdefault(name, target) != target:
                        shared.add(name)
    return {name: target for name, target in sorted(found.items()) if name not in shared}


def exported_names(cell: dict) -> list[str]:
    if cell["cell_type"] != "code":
        return []
    bare = {name for _, name, value in directives_of(source_of(cell)) if value is None}
    tree = parse(code_of(source_of(cell))) if "export" in bare & EXPORTED else None
    return sorted(public_names(tree)) if tree else []


def unnumbered(project: Project, notebooks: dict[str, dict]) -> dict[str, list[str]]:
    "Chapters that have a label but no number: `sec-overview` is [its page, its title]."
    found = {}
    for page in project.pages:
        if page in notebooks:
            text = next((source_of(c) for c in notebooks[page]["cells"] if c["cell_type"] == "markdown"), "")
        else:
            text = (project.root / page).read_text(encoding="utf-8")
        title = DISPLAYED.search(text)
        if title and ".unnumbered" in (title["attributes"] or "") and (label := re.search(r"#([\w-]+)", title["attributes"])):
            found[label[1]] = [page, title["title"]]
    return found


def figure_colors(project: Project) -> dict[str, str]:
    "The colors that figures are drawn in, and what they become on the page: constants of the book's `plot` module."
    module = project.lib / "plot.py"
    constants = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body if module.is_file() else ():
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("INK", "PALETTE"):
            constants[node.targets[0].id] = ast.literal_eval(node.value)
    palette = constants.get("PALETTE", ())
    colors = {color: f"var(--fig-{n}, {color})" for n, color in enumerate(palette, start=1)}
    return {**colors, **({constants["INK"]: "currentColor"} if "INK" in constants else {})}


# Pages


def chapter_page(chapter: Chapter, notebooks: dict[str, dict], context: Context, problems: list[Problem]) -> Page:
    "A chapter and its exercises."
    page = Page(chapter.path)
    for path in (chapter.path, chapter.exercises):
        if path in notebooks:
            page.cells += page_cells(notebooks[path], path, chapter.path, context, problems)
    return page


def page_cells(nb: dict, path: str, page: str, context: Context, problems: list[Problem]) -> Iterable[Cell]:
    def problem(index: int, message: str, fix: str) -> None:
        problems.append(Problem(Origin(path, index, nb["cells"][index - 1].get("id", "")), message, fix))

    for cell in filter_notebook(nb, page, context, problem):
        options = {name: value for _, name, value in directives_of(cell["source"])} if cell["cell_type"] == "code" else {}
        source = code_of(cell["source"]) if cell["cell_type"] == "code" else cell["source"]
        yield Cell(cell["cell_type"], source, options, Origin(path, cell["index"], cell["id"]))


def text_page(project: Project, path: str, book: generated.Book, context: Context, problems: list[Problem]) -> Page:
    "A `.qmd` page, its `::: {#generated-…}` block filled where it has one."
    text = (project.root / path).read_text(encoding="utf-8")
    cells = []
    for n, part in enumerate(re.split(r"^(::: \{#generated-[\w-]+\}\n:::)$", text, flags=re.M)):
        marker = re.match(r"::: \{#generated-([\w-]+)\}", part)
        origin = Origin(path, None, f"generated-{marker[1]}-output" if marker else "")
        if marker and marker[1] not in generated.PAGES:
            problems.append(Problem(Origin(path), f"asks for `{marker[1]}`, which is not generated", f"one of {', '.join(generated.PAGES)}"))
        elif marker:
            part = fill(marker[1], book, problems)
        nb = {"cells": [{"cell_type": "markdown", "id": f"text-{n}", "source": part}]}
        for cell in filter_notebook(nb, path, context, lambda _, message, fix: problems.append(Problem(Origin(path), message, fix))):
            cells.append(Cell("markdown", cell["source"], {}, origin))
    return Page(path, cells)


def fill(name: str, book: generated.Book, problems: list[Problem]) -> str:
    try:
        return generated.PAGES[name](book)
    except BuildError as error:
        problems += error.problems
        return ""


# The copy that Quarto renders


def write_staged(project: Project, pages: list[Page]) -> Path:
    "Write the pages as a Quarto project of their own, filtered already, and return its folder."
    remove(project.staged)
    for page in pages:
        target = project.staged / page.path
        if page.path.endswith(".ipynb"):
            cells = [
                {"cell_type": cell.kind, "id": f"{n}-{cell.origin.id}"[:64], "source": with_options(cell), "index": n}
                for n, cell in enumerate(page.cells)
            ]
            write(target, json.dumps(staged_notebook(cells, {}), indent=1, ensure_ascii=False))
        else:
            text = "\n\n".join(cell.source for cell in page.cells)
            long = len(re.findall(r"^#{2,3} ", text, re.M)) > MOST_ENTRIES
            write(target, "---\ntoc-depth: 2\n---\n\n" * long + text)
    for file in project.root.glob("*"):
        if file.suffix in (".yml", ".bib", ".scss", ".css", ".html", ".svg") and file.is_file():
            shutil.copy(file, project.staged)
    for folder in ("tools", "nbs/images", "images"):
        if (project.root / folder).is_dir():
            shutil.copytree(project.root / folder, project.staged / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return project.staged


def with_options(cell: Cell) -> str:
    return "".join(f"#| {name}: {value}\n" for name, value in cell.options.items()) + cell.source

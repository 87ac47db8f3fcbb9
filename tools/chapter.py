"""`make chapter N=38 NAME=mychapter`: a chapter and its exercises from the template, entered in the table of contents.

The new chapter builds and passes at once, so that the first `make book` shows it.
"""
from __future__ import annotations

import argparse
import json
import re

import env

if __name__ == "__main__":
    env.enter()

import yaml

from project import BuildError, Origin, Problem, Project, here, stop_at, write
from report import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", help="N, two digits: orders files and imports; 38 to 89 are free")
    parser.add_argument("name", help="NAME, the module's name: small letters, digits and _")
    parser.add_argument("--title", help="as the reader sees it (by default the planned one, or made of the name)")
    parser.add_argument("--part", help="title of the part it belongs to (by default that of the chapter before it)")
    args = parser.parse_args()
    for path in create(here(), args.number, args.name, args.title, args.part):
        print(f"chapter: {path}")
    print("chapter: write it, then `make book`")


def create(project: Project, number: str, name: str, title: str | None = None, part: str | None = None) -> list[str]:
    "Write both notebooks and the entry; returns their paths. Nothing is written if anything is in the way."
    number = f"{int(number):02}" if number.isdigit() else number
    stop_at(list(objections(project, number, name)))
    title = title or project.planned.get(name) or name.replace("_", " ").capitalize()
    paths = [f"nbs/{number}_{name}.ipynb", f"nbs/exercises/{number}_{name}.ipynb"]
    for path, template in zip(paths, ("nbs/_template.ipynb", "nbs/exercises/_template.ipynb"), strict=True):
        write(project.root / path, filled((project.root / template).read_text(encoding="utf-8"), name, title))
    config = project.root / "_quarto.yml"
    write(config, entered(config.read_text(encoding="utf-8"), paths[0], part or planned_part(project, name)))
    return [*paths, "_quarto.yml"]


def objections(project: Project, number: str, name: str):
    "Why there can't be such a chapter."
    usage = "for example: make chapter N=38 NAME=mychapter"
    if not re.fullmatch(r"\d\d", number):
        yield Problem(Origin("make chapter"), f"N is '{number}', not a number of at most two digits", usage)
        return
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield Problem(Origin("make chapter"), f"NAME is '{name}', not a module's name (small letters, digits, _)", usage)
    for chapter in project.chapters:
        if chapter.number == int(number):
            yield Problem(Origin(chapter.path), f"has the number {number} already", "choose a free one: 38 to 89 are for contributed chapters")
        if chapter.name == name:
            yield Problem(Origin(chapter.path), f"is called `{name}` already", "choose another name")
    if int(number) >= 90:
        yield Problem(Origin("make chapter"), "numbers from 90 are helpers, which are listed by hand under appendices", "choose a number up to 89")
    if name == "exercises":
        yield Problem(Origin("make chapter"), "`exercises` is the package of all exercises", "choose another name")


def filled(template: str, name: str, title: str) -> str:
    "The template as a notebook of that name, its cell ids unique in the book."
    text = template.replace("TITLE", json.dumps(title, ensure_ascii=False)[1:-1]).replace("NAME", name)
    return re.sub(r'^   "id": "', f'   "id": "{name.replace("_", "-")}-', text, flags=re.M)


def planned_part(project: Project, name: str) -> str | None:
    return next((group["part"] for group in project.own.get("planned") or [] if name in group["chapters"]), None)


def entered(config: str, path: str, part: str | None) -> str:
    "`_quarto.yml` with the chapter where its number puts it; everything else stays as it was, letter for letter."
    block = re.search(r"^  chapters:\n((?:    .*\n|\s*\n)+)", config, re.M)
    if not block:
        raise BuildError(Problem(Origin("_quarto.yml"), "has no book: chapters: list", "restore it from git"))
    entries = yaml.safe_load(block[1])
    groups = [entry for entry in entries if isinstance(entry, dict)]
    group = next((g for g in groups if g["part"] == part), None) if part else previous_group(groups, path)
    if group is None:
        group = {"part": part or "Contributed chapters", "chapters": []}
        entries.append(group)
    group["chapters"] = sorted([*group["chapters"], path])
    loose = [entry for entry in entries if not isinstance(entry, dict)]
    parts = sorted((entry for entry in entries if isinstance(entry, dict)), key=lambda g: g["chapters"][0])
    lines = [f"    - {page}\n" for page in loose]
    for entry in parts:
        lines += [f"    - part: {json.dumps(entry['part'], ensure_ascii=False)}\n", "      chapters:\n"]
        lines += [f"        - {page}\n" for page in entry["chapters"]]
    return config[: block.start(1)] + "".join(lines) + config[block.end(1) :]


def previous_group(groups: list[dict], path: str) -> dict | None:
    "The part of the last chapter with a lower number."
    before = [(page, n) for n, group in enumerate(groups) for page in group["chapters"] if page < path]
    return groups[max(before)[1]] if before else None


if __name__ == "__main__":
    run(main)

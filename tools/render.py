"""The embedded renderer: staged pages to a finished site, and the strict checker of everything a reader would trip over.

`render` collects every problem of every page before it stops. What did not change since the last build is taken from
the cache: trees and HTML of single pages by their content, and the whole finished site when nothing changed at all.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from project import Project, remove, stop_at, write
from website import compose, katex, links, offline, pandoc, references, search, source, template
from website.cache import Cache, own_source
from website.model import Book, Doc
from website.survey import survey

if TYPE_CHECKING:
    from stage import Page

ASSETS = ("book.css", "book.js", "favicon.svg")


def render(project: Project, pages: list[Page], out: Path, say: Callable[[str], None]) -> None:
    "Write the whole site into the empty folder `out`, or raise `BuildError` with all that is wrong."
    cache = Cache(project.executed / "cache" / "render")
    key = site_key(project, pages)
    if not is_whole(cache, project, key):
        book = read(project, pages, cache, say)
        bodies = typeset(book, cache, say)
        build(book, bodies, cache, key, say)
        cache.drop_unused()
    shutil.copytree(cache.folder / "site", out, dirs_exist_ok=True)


# The finished site of the last build.
def site_key(project: Project, pages: list[Page]) -> str:
    "Depends on all that a site is made of, except for images, which `is_whole` compares."
    digest = hashlib.sha256(own_source().encode())
    digest.update(json.dumps([project.settings, project.quarto, pandoc.version()], default=str).encode())
    named = project.quarto.get("bibliography") or []
    for name in [named] if isinstance(named, str) else named:
        file = project.root / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    for page in pages:
        cells = [[cell.kind, cell.source, cell.options, str(cell.origin)] for cell in page.cells]
        digest.update(json.dumps([page.path, cells], ensure_ascii=False).encode())
    return digest.hexdigest()


def is_whole(cache: Cache, project: Project, key: str) -> bool:
    "Whether the site in the cache is the one wanted."
    try:
        made = json.loads((cache.folder / "site.json").read_bytes())
    except (OSError, ValueError):
        return False
    if made["key"] != key or not (cache.folder / "site").is_dir():
        return False
    files = [(project.root / place, digest) for place, digest in made["images"].items()]
    return all(file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest for file, digest in files)


# From pages to checked HTML.
def read(project: Project, pages: list[Page], cache: Cache, say: Callable[[str], None]) -> Book:
    "Parse and look through all pages."
    say(f"reading {len(pages)} pages")
    book = Book(project)
    for page in pages:
        book.problems += source.problems(page)
    stop_at(book.problems)  # a page whose blocks don't close would only show faults that it does not have
    appendices = {path for _, paths, appendix in project.toc if appendix for path in paths}
    texts = [source.markdown(page) for page in pages]
    trees = pandoc.all_of(lambda text: pandoc.read(cache, text), texts, project.cores)
    for page, text, (blocks, warnings) in zip(pages, texts, trees, strict=True):
        doc = Doc(page, blocks, appendix=page.path in appendices)
        book.docs.append(doc)
        report_warnings(book, doc, text, warnings)
    survey(book)
    return book


def report_warnings(book: Book, doc: Doc, text: str, warnings: str) -> None:
    "What pandoc warns of, such as a footnote that is defined twice, is a problem here."
    for warning in re.findall(r"^\[WARNING\] (.*)", warnings, re.M):
        line = re.search(r" at line (\d+) column \d+", warning)
        doc.cell = source.cell_at(text, int(line[1])) if line else 0
        book.report(doc, f"pandoc warns: {warning.replace(line[0], '') if line else warning}", "mend what it names")


def typeset(book: Book, cache: Cache, say: Callable[[str], None]) -> dict[str, str]:
    "The pages' contents as HTML, by URL; stops if anything in them is wrong."
    references.load_bibliography(book, cache)
    references.cite_all(book, cache)
    book.katex = katex.typeset(book, cache, say)
    say(f"writing {len(book.docs)} pages")
    trees = [compose.Composer(book, doc).page() for doc in book.docs]
    written = pandoc.all_of(lambda blocks: pandoc.write(cache, blocks), trees, book.project.cores)
    bodies = {doc.url: links.tidy(markup) for doc, markup in zip(book.docs, written, strict=True)}
    links.check(book, cache, bodies)
    stop_at(in_order(book))
    return bodies


def in_order(book: Book) -> list:
    "Problems in the order in which one meets them in the book, each once."
    pages = {cell.origin: (n, m) for n, doc in enumerate(book.docs) for m, cell in enumerate(doc.page.cells)}
    unique = list(dict.fromkeys(book.problems))
    return sorted(unique, key=lambda problem: pages.get(problem.origin, (0, 0)))


# From HTML to a site.
def build(book: Book, bodies: dict[str, str], cache: Cache, key: str, say: Callable[[str], None]) -> None:
    "Make the site beside the old one in the cache, then put it in its place."
    scratch = cache.folder / f".site.{os.getpid()}"
    for old in [scratch, *cache.folder.glob(".site.*")]:
        remove(old)
    scratch.mkdir()
    for doc in book.docs:
        body = links.without_marks(bodies[doc.url])
        write(scratch / doc.url, template.page(book, doc, body))
    for name in ASSETS:
        shutil.copyfile(template.THEME / name, scratch / name)
    if book.katex:
        katex.copy_assets(book.katex, scratch)
    for place in sorted(book.images):
        (scratch / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(book.project.root / place, scratch / place)
    say("indexing for search")
    search.index(scratch)
    offline.pack(scratch)
    remove(cache.folder / "site.json")
    remove(cache.folder / "site")
    os.replace(scratch, cache.folder / "site")
    write(cache.folder / "site.json", json.dumps({"key": key, "images": book.images}))

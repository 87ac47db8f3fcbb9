"""Links, anchors and alt texts, checked on the finished HTML: what a reader would click on must be there."""
from __future__ import annotations

import html
import posixpath
import re
from difflib import get_close_matches
from urllib.parse import unquote

from . import offline
from .cache import Cache
from .model import Book, Doc

TOKEN = re.compile(r"<!--cell (\d+)-->|<(a|img|svg|script|link|iframe)\b([^>]*)>|<[a-z][a-z0-9]*\b[^>]*?\sid=\"([^\"]*)\"", re.I)
ATTRIBUTE = re.compile(r'\s([a-z-]+)="([^"]*)"', re.I)
LINE_ANCHOR = re.compile(r'<a href="#cb\d+-\d+" aria-hidden="true" tabindex="-1"></a>')
CODE_ID = re.compile(r'(<span|<div class="sourceCode") id="cb[\d-]+"')
FETCH = re.compile(r"://|\bimport\b|\bfetch\(|XMLHttpRequest|requirejs", re.I)
MARK = re.compile(r"<!--cell \d+-->\n?")


def tidy(markup: str) -> str:
    "Pandoc's HTML without the anchors that it gives to every line of code."
    return CODE_ID.sub(r"\1", LINE_ANCHOR.sub("", markup))


def without_marks(markup: str) -> str:
    return MARK.sub("", markup)


def anchors(cache: Cache, markup: str) -> dict:
    "Everything in a page that can be linked to, `ids`, and everything that refers, `links`, each with its cell."
    key = cache.key("anchors", markup)
    found = cache.get("anchors", key)
    if found is None:
        found = scan(markup)
        cache.put("anchors", key, found)
    return found


def scan(markup: str) -> dict:
    cell, ids, links, images = 0, [], [], []
    for token in TOKEN.finditer(markup):
        mark, tag, attributes, id = token.groups(default="")
        if mark:
            cell = int(mark)
        if id:
            ids.append([cell, html.unescape(id)])
        if not tag:
            continue
        values = {name.lower(): html.unescape(value) for name, value in ATTRIBUTE.findall(attributes)}
        if "id" in values:
            ids.append([cell, values["id"]])
        if tag == "a" and "href" in values:
            links.append([cell, values["href"]])
        if tag in ("link", "iframe") or (tag == "script" and loads(attributes, markup[token.end() :])):
            images.append([cell, f"<{tag}>", "loads"])
        if tag == "img" and not values.get("alt") and values.get("aria-hidden") != "true":
            images.append([cell, values.get("src", "<img>"), "alt"])
        if tag == "svg" and not values.get("aria-label") and values.get("aria-hidden") != "true":
            images.append([cell, "<svg>", "alt"])
    return {"ids": ids, "links": links, "images": images}


def loads(attributes: str, rest: str) -> bool:
    "Whether a script fetches anything: by `src`, or by an address in its text. Data in JSON fetch nothing."
    text = rest[: rest.find("</script")]
    return "src" in attributes or ("application/json" not in attributes and bool(FETCH.search(text)))


def check(book: Book, cache: Cache, bodies: dict[str, str]) -> None:
    "Report every link that leads nowhere; `bodies` are the pages' contents by URL."
    found = {doc.url: anchors(cache, bodies[doc.url]) for doc in book.docs}
    targets = {url: {id for _, id in page["ids"]} for url, page in found.items()}
    for doc in book.docs:
        check_ids(book, doc, found[doc.url]["ids"])
        for cell, what, fault in found[doc.url]["images"]:
            doc.cell = cell
            if fault == "loads":
                book.report(doc, f"an output contains {what}: pages load nothing", "show the result as text, a table or a figure", what)
            elif not any(problem.origin == doc.origin and "alt text" in problem.message for problem in book.problems):
                book.report(doc, f"the image {what} has no alt text", "give it `fig-alt`", what)
        for cell, link in found[doc.url]["links"]:
            doc.cell = cell
            check_link(book, doc, link, targets)


def check_ids(book: Book, doc: Doc, ids: list) -> None:
    seen = set()
    for cell, id in ids:
        if id in seen and id not in book.labels:
            doc.cell = cell
            book.report(doc, f"the anchor `{id}` is on the page twice", "give each its own id", id)
        seen.add(id)


def check_link(book: Book, doc: Doc, link: str, targets: dict[str, set]) -> None:
    if re.match(r"(https?|mailto):", link, re.I):
        return
    path, _, anchor = link.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(doc.url), unquote(path))) if path else doc.url
    if place == offline.NAME:
        return
    if place not in targets:
        sources = [doc.href(other.path) for other in book.docs]
        near = get_close_matches(path.replace(".html", ".ipynb"), sources, 2, 0.6)
        fix = f"did you mean {' or '.join(near)}?" if near else "link to a page in _quarto.yml, or to a full https address"
        book.report(doc, f"the link `{link}` leads to no page of the book", fix, posixpath.splitext(path)[0])
    elif anchor and unquote(anchor) not in targets[place]:
        near = get_close_matches(unquote(anchor), targets[place], 3, 0.6)
        fix = f"{place} has no such heading or label"
        if near:
            fix = f"did you mean {' or '.join(f'#{name}' for name in sorted(near))}?"
        book.report(doc, f"the link `{link}` leads to an anchor that is not there", fix, f"#{anchor}")

"""The page around a chapter: header, sidebar, contents, neighbors and footer, from `tools/theme/page.html`."""
from __future__ import annotations

from functools import lru_cache
from string import Template
from urllib.parse import quote

from . import tree
from .cache import TOOLS
from .compose import inline_html
from .model import Book, Doc

THEME = TOOLS / "theme"
REPORT_FORM = "error-in-the-book.yml"  # in .github/ISSUE_TEMPLATE; its field `where` is filled with the page
MOST_ENTRIES = 40  # of a page's contents; with more, only the main sections are listed


@lru_cache
def template() -> Template:
    return Template((THEME / "page.html").read_text(encoding="utf-8"))


def page(book: Book, doc: Doc, body: str) -> str:
    "The finished HTML of a page."
    about = book.project.quarto.get("book", {})
    title, name = str(about.get("title", "")), tree.text(doc.title)
    home = book.docs[0]
    return template().substitute(
        lang=about.get("lang") or book.project.quarto.get("lang") or "en",
        head_title=tree.escape(title if doc is home else f"{name} – {title}"),
        title=tree.escape(title if doc is home else name),
        description=tree.escape(doc.summary or str(about.get("description", ""))),
        author=tree.escape(str(about.get("author", ""))),
        book_title=tree.escape(title),
        root=tree.escape(doc.href("x")[:-1]),
        home=doc.href(home.url),
        katex=f'<link rel="stylesheet" href="{doc.href("katex/katex.min.css")}">' if needs_katex(book, doc) else "",
        kind="home" if doc is home else "chapter",
        sidebar=sidebar(book, doc),
        contents=contents(book, doc),
        body=body,
        neighbors=neighbors(book, doc),
        actions=actions(book, doc),
    )


def needs_katex(book: Book, doc: Doc) -> bool:
    "Formulas stand on the page itself or in the titles that the sidebar shows."
    in_titles = any(node["t"] == "Math" for other in book.docs for node in other.title)
    return doc.math or in_titles


def title_of(book: Book, doc: Doc) -> str:
    number = f'<span class="number">{doc.number}</span> ' if doc.number else ""
    return number + inline_html(book, doc.title)


def sidebar(book: Book, doc: Doc) -> str:
    "The table of contents, with the current page marked."
    docs, out = {other.path: other for other in book.docs}, []
    for part, paths, appendix in book.project.toc:
        items = [docs[path] for path in paths if path in docs]
        if not items:
            continue
        heading = part or ("Appendices" if appendix else "")
        out.append(f'<p class="part">{tree.escape(heading)}</p>' if heading else "")
        out.append("<ul>")
        for other in items:
            here = ' aria-current="page"' if other is doc else ""
            out.append(f'<li><a href="{doc.href(other.url)}"{here}>{title_of(book, other)}</a></li>')
        out.append("</ul>")
    return "\n".join(filter(None, out))


def contents(book: Book, doc: Doc) -> str:
    "The page's own sections, to level 3 where they are few enough to be looked through."
    headings = [heading for heading in doc.headings if heading.level in (2, 3)]
    if len(headings) > MOST_ENTRIES:
        headings = [heading for heading in headings if heading.level == 2]
    if not headings:
        return ""
    rows = ['<details class="contents" open><summary>On this page</summary>', '<nav aria-label="On this page"><ul>']
    for heading in headings:
        number = f'<span class="number">{heading.number}</span> ' if heading.number else ""
        link = f'<a href="#{tree.escape(heading.id)}">{number}{inline_html(book, heading.inlines)}</a>'
        rows.append(f'<li class="level-{heading.level}">{link}</li>')
    return "\n".join([*rows, "</ul></nav></details>"])


def neighbors(book: Book, doc: Doc) -> str:
    position, links = book.docs.index(doc), []
    for step, rel, words in ((-1, "prev", "Previous"), (1, "next", "Next")):
        if 0 <= position + step < len(book.docs):
            other = book.docs[position + step]
            label = f'<span class="direction">{words}</span> {title_of(book, other)}'
            links.append(f'<a rel="{rel}" class="{rel}" href="{doc.href(other.url)}">{label}</a>')
    return "\n".join(links)


def actions(book: Book, doc: Doc) -> str:
    "Links to the page's sources, to Colab and to a report, where the book names its repository."
    about = book.project.quarto.get("book", {})
    repo = str(about.get("repo-url") or "").rstrip("/")
    if not repo:
        return ""
    branch = about.get("repo-branch") or "main"
    colab = repo.replace("https://github.com/", "https://colab.research.google.com/github/")
    links = []
    for path in dict.fromkeys([doc.path, *(cell.origin.path for cell in doc.page.cells)]):
        what = "this page" if path == doc.path else "the exercises"
        links.append((f"{repo}/blob/{branch}/{quote(path)}", f"Source of {what}"))
        if path.endswith(".ipynb") and colab != repo:
            links.append((f"{colab}/blob/{branch}/{quote(path)}", f"Open {'it' if path == doc.path else 'them'} in Colab"))
    links.append((f"{repo}/issues/new?template={REPORT_FORM}&where={quote(doc.path)}", "Report an error on this page"))
    return "\n".join(f'<li><a href="{tree.escape(target)}">{words}</a></li>' for target, words in links)

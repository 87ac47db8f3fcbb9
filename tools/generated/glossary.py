"""The glossary: every term, with the sentence in which the book sets it in bold and the way back to it."""
from __future__ import annotations

import posixpath
import re

from notebook_filter import KEY, recorded
from project import BuildError, Chapter, Origin, Problem
from terms import Term, terms

from .book import Book

LINK = re.compile(r"(\]\()(?![a-z][a-z0-9+.-]*:|#|/)([^)\s]+\))")


def glossary(book: Book) -> str:
    "All terms in alphabetical order; one that stands in bold twice has two definitions, which is an error."
    entries, first, problems = [], {}, []
    for chapter in book.project.chapters:
        nb = book.notebooks[chapter.path]
        values = {**book.context.values, **recorded(nb)}
        for index, found in terms(nb).items():
            origin = Origin(chapter.path, index, nb["cells"][index - 1].get("id", ""))
            for term in found:
                if term.name in first:
                    message = f"the term “{term.name}” is in bold a second time; the first is in {first[term.name]}"
                    problems.append(Problem(origin, message, "keep the bold where the term is explained, and use *…* elsewhere"))
                first.setdefault(term.name, origin)
                entries.append((term.name.casefold(), entry(book, chapter, term, values)))
    if problems:
        raise BuildError(problems)
    return "\n\n".join(text for _, text in sorted(entries))


def entry(book: Book, chapter: Chapter, term: Term, values: dict[str, str]) -> str:
    sentence = KEY.sub(lambda match: values.get(match[1], match[0]), term.sentence)
    sentence = LINK.sub(lambda match: match[1] + posixpath.normpath(posixpath.join(posixpath.dirname(chapter.path), match[2])), sentence)
    where = f"[{book.title(chapter)}]({chapter.path}#{term.anchor})"
    return f"{term.words}\n:   {sentence} [{where}]{{.where}}"

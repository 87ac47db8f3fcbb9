"""Pandoc, the engine under Quarto: Markdown to tree, tree to HTML, and citations, each cached by what goes in."""
from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import pypandoc

from .cache import Cache

# As Quarto reads Markdown, except: raw HTML stays visible as such, headings get their anchors from `survey`,
# and a page has no YAML header.
READER = "markdown-native_divs-native_spans-auto_identifiers-implicit_header_references-yaml_metadata_block"


@lru_cache
def executable() -> str:
    return pypandoc.get_pandoc_path()


@lru_cache
def version() -> str:
    return subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def pandoc(arguments: list[str], given: str) -> tuple[str, str]:
    "Output and warnings of one run."
    done = subprocess.run([executable(), *arguments], input=given.encode(), capture_output=True)
    if done.returncode:
        raise RuntimeError(f"pandoc {' '.join(arguments)} failed: {done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def cached(cache: Cache, kind: str, arguments: list[str], given: str) -> dict:
    "`{'out': …, 'warnings': …}` of a run, from the cache where it is there."
    key = cache.key(version(), *arguments, given)
    entry = cache.get(kind, key)
    if entry is None:
        out, warnings = pandoc(arguments, given)
        entry = {"out": out, "warnings": warnings}
        cache.put(kind, key, entry)
    return entry


def all_of(function, items: list, workers: int) -> list:
    "`[function(item) for item in items]`, several at once: the work is done by pandoc's processes."
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return list(pool.map(function, items))


def read(cache: Cache, markdown: str) -> tuple[list, str]:
    "The blocks of a Markdown text, and pandoc's warnings."
    entry = cached(cache, "tree", ["-f", READER, "-t", "json"], markdown)
    return json.loads(entry["out"])["blocks"], entry["warnings"]


def document(blocks: list, meta: dict | None = None) -> str:
    return json.dumps({"pandoc-api-version": [1, 23, 1, 1], "meta": meta or {}, "blocks": blocks}, ensure_ascii=False)


def write(cache: Cache, blocks: list) -> str:
    "Blocks as HTML."
    return cached(cache, "html", ["-f", "json", "-t", "html5", "--wrap=none"], document(blocks))["out"]


def bibliography(cache: Cache, file: str) -> list[dict]:
    "The entries of a BibTeX file, as CSL JSON."
    return json.loads(cached(cache, "bib", ["-f", "biblatex", "-t", "csljson"], file)["out"])


def cite(cache: Cache, entries: list[dict], citations: list[dict]) -> tuple[list, list]:
    "Run citeproc once over all citations: the inline nodes for each, and the blocks of the list of references."
    blocks = [{"t": "Para", "c": [citation]} for citation in citations]
    blocks.append({"t": "Div", "c": [["refs", [], []], []]})
    meta = {"link-citations": {"t": "MetaBool", "c": True}}
    given = json.dumps([entries, document(blocks, meta)], ensure_ascii=False)
    key = cache.key(version(), "citeproc", given)
    out = cache.get("cited", key)
    if out is None:
        file = cache.folder / f".bibliography.{os.getpid()}.json"
        file.write_text(json.dumps(entries), encoding="utf-8")
        arguments = ["-f", "json", "-t", "json", "--citeproc", "--bibliography", str(file)]
        out = json.loads(pandoc(arguments, document(blocks, meta))[0])["blocks"]
        file.unlink()
        cache.put("cited", key, out)
    return [block["c"] for block in out[:-1]], out[-1]["c"][1]

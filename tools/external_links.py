"""Do the links that lead out of the book still lead somewhere? `python tools/external_links.py [--list]`; run once a week.

Reads the Markdown cells of the notebooks, the `.qmd` and `.md` files and the bibliography, asks for each address up to
three times, and names notebook and cell of each that is gone. A server that turns programs away (401, 403, 429) has an
answer for readers, so that is a remark and no failure. Standard library only; the build itself never opens a connection.
"""
import argparse
import concurrent.futures
import json
import re
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

ADDRESS = re.compile(r"https?://[^\s<>\"'`{}|\\^]+")
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[`~]*[ \t]*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
OURS = re.compile(r"https?://(localhost|127\.|\[::1\]|[\w.-]*\bexample\.(org|com|net)\b)")
ASK = {"User-Agent": "Mozilla/5.0 (compatible; llm-book link check; +https://github.com/llm-book/llm-book)"}
TIMEOUT_S, TRIES = 20, 3


def addresses(markdown: str) -> list[str]:
    "The addresses in a piece of Markdown, code left out, in order and without what only ends the sentence."
    text = CODE.sub(" ", FENCE.sub(" ", markdown))
    found = []
    for match in ADDRESS.finditer(text):
        address = match[0].rstrip(".,;:!?*_")
        while address.endswith((")", "]")) and address.count(address[-1]) > address.count({")": "(", "]": "["}[address[-1]]):
            address = address[:-1].rstrip(".,;:!?*_")
        if not OURS.match(address):
            found.append(address)
    return list(dict.fromkeys(found))


def of_bibliography(bibtex: str) -> list[str]:
    "The addresses and DOIs of a bibliography."
    dois = re.findall(r"^\s*doi\s*=\s*[{\"]\s*(?:https?://(?:dx\.)?doi\.org/)?([^}\"\s]+)", bibtex, re.M | re.I)
    urls = re.findall(r"^\s*url\s*=\s*[{\"]\s*(https?://[^}\"\s]+)", bibtex, re.M | re.I)
    return [*urls, *(f"https://doi.org/{doi}" for doi in dois)]


def collect(root: Path) -> dict[str, list[str]]:
    "`{address: where it stands}` for the whole book."
    where: dict[str, list[str]] = defaultdict(list)
    for file in sorted([*root.glob("*.md"), *root.glob("*.qmd"), *root.glob(".github/**/*.md")]):
        for address in addresses(file.read_text(encoding="utf-8")):
            where[address].append(file.relative_to(root).as_posix())
    for file in sorted(root.glob("*.bib")):
        for address in of_bibliography(file.read_text(encoding="utf-8")):
            where[address].append(file.name)
    for file in sorted(root.glob("nbs/**/*.ipynb")):
        if ".ipynb_checkpoints" in file.parts:
            continue
        for n, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"], start=1):
            if cell["cell_type"] == "markdown":
                for address in addresses("".join(cell["source"])):
                    where[address].append(f"{file.relative_to(root).as_posix()}:cell {n} ({cell.get('id', '')})")
    return dict(where)


def answer(address: str, tries: int = TRIES, pause_s: float = 2.0) -> str:
    "'' if the address answers, '(…)' if it turns programs away, else what is wrong with it."
    wrong = ""
    for attempt in range(tries):
        if attempt:
            time.sleep(pause_s * 2**attempt)
        for method in ("HEAD", "GET"):  # some servers answer only the second
            request = urllib.request.Request(address.partition("#")[0], headers=ASK, method=method)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                    return ""
            except urllib.error.HTTPError as error:
                wrong = f"{error.code} {error.reason}"
                if error.code in (401, 403, 429):
                    wrong = f"({wrong})"
            except (OSError, ValueError) as error:
                wrong = str(getattr(error, "reason", error)) or type(error).__name__
        if re.match(r"404|410", wrong):
            break  # an answer, and no other will come
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list the addresses and where they stand; open no connection")
    parser.add_argument("--root", default=str(Path(__file__).resolve().parent.parent), help="the book")
    options = parser.parse_args()
    where = collect(Path(options.root))
    if options.list:
        for address, places in where.items():
            print(f"{address}\n  " + "\n  ".join(places))
        return 0
    gone = 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for n, (address, wrong) in enumerate(zip(where, pool.map(answer, where), strict=True), start=1):
            if wrong:
                gone += not wrong.startswith("(")
                print(f"{address}: {wrong}\n  " + "\n  ".join(where[address]), flush=True)
            elif n % 25 == 0:
                print(f"links: {n} of {len(where)}", flush=True)
    print(f"links: {len(where)} addresses, {gone} gone")
    return int(gone > 0)


if __name__ == "__main__":
    raise SystemExit(main())

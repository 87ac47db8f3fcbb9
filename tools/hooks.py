"""`make hooks`: outputs stay out of commits, and notebooks merge cell by cell. For this clone only.

Two entries in `.git/config` do it, switched on for `*.ipynb` by `.gitattributes`; nothing outside the clone is written.

- The *clean filter* hands git a notebook without outputs, the same bytes as `nbdev_clean` writes. The file you work on
  keeps its outputs.
- The *merge driver* merges as text and, where that fails, writes a notebook that opens in Jupyter, with both versions
  of each cell that both sides changed between cells that hold the conflict markers (`nbdev_fix` does this).

`python tools/hooks.py --remove` takes both out again; `python tools/hooks.py clean nbs/NN_name.ipynb` cleans a file in place.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

NAME = "llm-book"  # as .gitattributes calls the filter and the driver
KEPT_METADATA = {"kernelspec", "jekyll", "jupytext", "doc", "widgets"}  # of a notebook; of a cell nothing is kept
MARKER = re.compile(r"`(<{7}|={7}|>{7})( .*)?`")


def install() -> None:
    "Enter filter and driver into `.git/config`."
    python = Path(sys.executable).as_posix()
    git("config", "--local", f"filter.{NAME}.clean", f'"{python}" tools/hooks.py clean')
    git("config", "--local", f"merge.{NAME}.name", "merge notebooks cell by cell")
    git("config", "--local", f"merge.{NAME}.driver", f'"{python}" tools/hooks.py merge %O %A %B')
    print("hooks: commits of notebooks leave their outputs out, and merges go cell by cell. For this clone only.")


def remove() -> None:
    "Take filter and driver out of `.git/config`."
    for section in (f"filter.{NAME}", f"merge.{NAME}"):
        subprocess.run(["git", "config", "--local", "--remove-section", section], capture_output=True)
    print("hooks: removed")


def cleaned(text: str) -> str:
    "The notebook `text` as `nbdev_clean` writes it: no outputs, no counts, no metadata, an id for every cell."
    nb = json.loads(text)
    for n, cell in enumerate(nb["cells"]):
        source = cell["source"]
        lines = source.splitlines(keepends=True) if isinstance(source, str) else source
        cell["source"] = [] if lines == [""] else lines
        cell["metadata"] = {}
        if "outputs" in cell:
            cell["outputs"] = []
        if "execution_count" in cell:
            cell["execution_count"] = None
        if "id" not in cell:  # not random, or git would see another file each time it looks
            cell["id"] = hashlib.sha256(f"{n} {''.join(lines)}".encode()).hexdigest()[:8]
    nb["metadata"] = {key: value for key, value in nb.get("metadata", {}).items() if key in KEPT_METADATA}
    if nb["metadata"].get("kernelspec", {}).get("name"):
        nb["metadata"]["kernelspec"]["display_name"] = nb["metadata"]["kernelspec"]["name"]
    if nb.get("nbformat") == 4 and nb.get("nbformat_minor", 0) < 5:
        nb["nbformat_minor"] = 5
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def clean(files: list[str]) -> None:
    "Clean notebooks in place; without any, filter standard input to standard output, what is no notebook unchanged."
    for file in map(Path, files):
        file.write_text(cleaned(file.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    if files:
        return
    data = sys.stdin.buffer.read()
    try:
        data = cleaned(data.decode("utf-8")).encode("utf-8")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # git must store what is there; `make check` says what is wrong with it
    sys.stdout.buffer.write(data)


def merge(base: str, ours: str, theirs: str) -> int:
    "Merge `theirs` into the file `ours`, as git asks a merge driver to; 0 if nothing is left to resolve."
    sides = [Path(base), Path(ours), Path(theirs)]
    for file in sides:
        try:
            file.write_text(cleaned(file.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
    original = Path(ours).read_text(encoding="utf-8")
    command = ["git", "-c", "merge.conflictStyle=merge", "merge-file", "-L", "HEAD", "-L", "BASE", "-L", their_name()]
    clash = subprocess.run([*command, ours, base, theirs], capture_output=True).returncode
    if not clash and is_json(Path(ours)):
        return 0
    return conflict(Path(ours), original, Path(theirs).read_text(encoding="utf-8"))


def conflict(merged: Path, ours: str, theirs: str) -> int:
    "Turn the text with conflict markers in `merged` into a notebook with conflict cells."
    from nbdev.merge import nbdev_fix  # a second; only conflicts pay for it

    try:
        left = nbdev_fix.__wrapped__(merged, noprint=True)
    except Exception:  # the text merge cut a cell in two: set the whole notebooks against each other
        lines = ["<<<<<<< HEAD\n", ours, "=======\n", theirs, f">>>>>>> {their_name()}\n"]
        merged.write_text("".join(lines), encoding="utf-8", newline="\n")
        try:
            left = nbdev_fix.__wrapped__(merged, noprint=True)
        except Exception:  # one side is no notebook: leave git's text conflict
            return 1
    nb = json.loads(merged.read_text(encoding="utf-8"))
    for n, cell in enumerate(nb["cells"]):
        if MARKER.fullmatch("".join(cell["source"])):
            cell["id"] = f"conflict-{n}"
    merged.write_text(cleaned(json.dumps(nb)), encoding="utf-8", newline="\n")
    return int(bool(left))


def their_name() -> str:
    "The branch being merged, as git tells it to drivers."
    names = [value for key, value in os.environ.items() if key.startswith("GITHEAD_")]
    return re.sub(r"[^\w./-]", "-", names[0]) if len(names) == 1 else "THEIRS"


def is_json(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        return False


def git(*arguments: str) -> None:
    try:
        subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise SystemExit(f"git could not be set up ({reason}). Fix: call `make hooks` in a clone made with git.") from None


if __name__ == "__main__":
    verb, *files = sys.argv[1:] or [""]
    if verb == "clean":
        clean(files)
    elif verb == "merge":
        raise SystemExit(merge(*files[:3]))
    elif verb == "--remove":
        remove()
    else:
        import env

        env.enter()
        install()

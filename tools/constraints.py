"""`make constraints`: resolve the pinned set anew, for Python 3.10 to 3.13 on every system.

`uv` resolves for all of them at once, which pip can't. It comes into an environment that is deleted afterwards. Torch
stays at the version that `constraints.txt` holds it to; another one is asked for with `--torch 2.14.0`. CUDA's packages
are left out, because which of them are wanted is the business of the torch build that pip picks on a machine.
"""
import argparse
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import env

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
HEADER = "# The whole set of versions that make installs, for Python 3.10 to 3.13 (make constraints writes it anew).\n"
OLDEST = "3.10"
UNWANTED = re.compile(r"(nvidia-|cuda-|triton\b|llm[-_]book\b)")
QUIET = ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--no-progress"]


def torch_pin(text: str) -> str:
    "The version of torch that a constraints file holds."
    found = re.search(r"^torch==([^\s;+]+)", text, re.M)
    if not found:
        raise SystemExit("constraints.txt holds no version of torch. Fix: `python tools/constraints.py --torch 2.13.0`.")
    return found[1]


def tidied(resolved: str) -> str:
    "What uv wrote, without what must not be pinned: CUDA's packages, ourselves, build tags such as +cpu."
    lines = [line.strip() for line in resolved.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("#", "-")) and not UNWANTED.match(line)]
    return HEADER + "".join(re.sub(r"^(\S+==[^\s;+]+)\+\w+", r"\1", line) + "\n" for line in kept)


def resolve(torch: str, upgrade: bool) -> str:
    "Ask uv for one set that suits every supported Python; the present versions are kept where they can be."
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        env.say("installing uv for a moment")
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True)
        (home / "torch.txt").write_text(f"torch=={torch}\n", encoding="utf-8")
        (home / "out.txt").write_text("" if upgrade else FILE.read_text(encoding="utf-8"), encoding="utf-8")
        command = [str(python), "-m", "uv", "pip", "compile", str(ROOT / "pyproject.toml"), "--extra", "dev", "--universal"]
        command += ["--python-version", OLDEST, *QUIET, "--constraint", str(home / "torch.txt")]
        command += ["--output-file", str(home / "out.txt")]
        env.say("resolving")
        done = subprocess.run(command, cwd=home, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{done.stderr.strip()}\nconstraints: nothing suits all of them; constraints.txt is unchanged.")
        return (home / "out.txt").read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="hold torch at this version instead of the present one")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of keeping the present ones")
    options = parser.parse_args()
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    new = tidied(resolve(options.torch or torch_pin(old), options.upgrade))
    FILE.write_text(new, encoding="utf-8", newline="\n")
    before, after = set(old.splitlines()), set(new.splitlines())
    for line in sorted(before ^ after):
        print(f"  {'+' if line in after else '-'} {line}")
    env.say(f"constraints.txt holds {len(after) - 1} versions, {len(after - before)} of them new")


if __name__ == "__main__":
    main()

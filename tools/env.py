"""The environment in `.venv`: made once, checked in milliseconds afterwards. Standard library only.

Each command of the Makefile starts with `env.enter()`, which returns inside `.venv`'s Python.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "complete"  # holds the fingerprint of what was installed last
LOG = VENV / "install.log"
SUPPORTED = [(3, minor) for minor in (13, 12, 11, 10)]


def enter() -> None:
    "Return inside `.venv`, complete and up to date; make it first where it is not, and start this command again there."
    if Path(sys.prefix).resolve() == VENV.resolve() and up_to_date():
        return
    if os.environ.get("LLM_BOOK_IN_ENV"):
        return  # a test runs the tools under a Python of its own choosing
    if not up_to_date():
        install()
    command = [str(PYTHON), *sys.argv]
    if os.name == "nt":
        raise SystemExit(subprocess.call(command))
    os.execv(PYTHON, command)


def fingerprint() -> str:
    "What the environment depends on, as one hash."
    inputs = hashlib.sha256(os.environ.get("TORCH_INDEX", "").encode())
    inputs.update((ROOT / "pyproject.toml").read_bytes().partition(b"\n[tool.")[0])  # the rest configures tools
    inputs.update((ROOT / "constraints.txt").read_bytes())
    return inputs.hexdigest() + f" {ROOT}\n"


def up_to_date() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == fingerprint()


def install() -> None:
    "Install the pinned set into `.venv`. A set-up that was interrupted goes on where it stopped."
    if VENV.is_symlink():
        raise SystemExit(
            f"env: .venv is a link to {VENV.resolve()}, which another checkout may use, so nothing is installed through it. "
            "Fix: delete the link, or set LLM_BOOK_IN_ENV=1 to use that environment as it is."
        )
    base = supported_python()
    if not runs(PYTHON):
        shutil.rmtree(VENV, ignore_errors=True)
        step("making .venv", [base, "-m", "venv", str(VENV)])
    STAMP.unlink(missing_ok=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt"]
    torch = next(line for line in Path(ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
    index = os.environ.get("TORCH_INDEX")
    if sys.platform == "linux" and not index and not list(VENV.glob("lib/*/site-packages/torch")):
        say(f"{torch} comes with CUDA on most Linux machines (about 3 GB). For the CPU build alone (0.2 GB), stop here"
            " and set TORCH_INDEX to PyTorch's CPU index (README, 'Reading and building').")
    step(f"installing {torch}", [*pip, torch, *(["--index-url", index] if index else [])])
    step("installing build tools", [*pip, "hatchling", "editables"])
    step("installing the rest", [*pip, "--no-build-isolation", "-e", ".[dev]"])
    STAMP.write_text(fingerprint(), encoding="utf-8")


def supported_python() -> str:
    "The Python that calls, where the pinned set covers it; else another one on the PATH."
    if sys.version_info[:2] in SUPPORTED and not in_venv():
        return sys.executable
    for major, minor in SUPPORTED:
        found = shutil.which(f"python{major}.{minor}")
        if found and runs(Path(found)):
            return found
    if in_venv():
        return getattr(sys, "_base_executable", sys.executable)
    raise SystemExit(
        f"The book is pinned for Python 3.10 to 3.13, and this is {sys.version.split()[0]}. "
        "Fix: install one of them, then `make PYTHON=python3.12 book`."
    )


def in_venv() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def runs(python: Path) -> bool:
    "Does this interpreter start?"
    try:
        return subprocess.run([str(python), "-c", ""], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def step(what: str, command: list) -> None:
    "Run a command with its output in the log, telling how it goes; stop with its last lines if it fails."
    start = told = time.monotonic()
    live = sys.stdout.isatty()
    with open(LOG if VENV.exists() else os.devnull, "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        tail: list = []
        for line in process.stdout:
            log.write(line)
            tail = [*tail[-14:], line.rstrip()]
            now = time.monotonic()
            if now - told > (0.2 if live else 10):
                told = now
                text = f"env: {what}, {now - start:.0f} s: {line.strip()}"[:110]
                print(f"\r\033[K{text}" if live else text, end="" if live else "\n", flush=True)
    if live:
        print("\r\033[K", end="")
    if process.wait() != 0:
        raise SystemExit("\n".join([*tail, f"env: {what} failed; the lines above say why. The whole log is in {LOG}."]))
    say(f"{what}: {time.monotonic() - start:.0f} s")


def say(text: str) -> None:
    print(f"env: {text}", flush=True)


if __name__ == "__main__":
    enter()
    say(f"{VENV} is complete ({sys.version.split()[0]})")

"What people install: wheel and source distribution, their contents, and that the wheel works with its runtime dependencies alone."
import email
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest

from conftest import ROOT, sources, toml

pytestmark = pytest.mark.xdist_group("package")  # one worker builds the wheel for all of them


def build(tree, out):
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {("wheel" if file.suffix == ".whl" else "sdist"): file for file in out.iterdir()}


def copy_tree(target, when, mode):
    "Copy the sources into `target`, with other times and rights than theirs."
    for path in sources():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, file)
        os.chmod(file, mode)
        os.utime(file, (when, when))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    "Two builds, in different folders, from files with different times and rights."
    builds = []
    for name, when, mode in (("one", 1_000_000_000, 0o644), ("another folder", 1_700_000_001, 0o600)):
        base = tmp_path_factory.mktemp("build")
        copy_tree(base / name, when, mode)
        builds.append(build(base / name, base / "dist"))
    return builds


@pytest.fixture(scope="session")
def unpacked(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built[0]["wheel"]) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_two_builds_are_the_same_file(built, kind):
    first, second = (files[kind] for files in built)
    assert first.name == second.name
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest(), kind


def test_wheel_is_the_package_and_nothing_else(built):
    names = set(zipfile.ZipFile(built[0]["wheel"]).namelist())
    info = {name for name in names if ".dist-info/" in name}
    package = {path for path in sources() if path.startswith("llm_book/") and "__pycache__" not in path}
    assert names - info == package
    kinds = {name.partition(".dist-info/")[2] for name in info}
    assert kinds == {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE", "licenses/NOTICE"}


def test_sdist_has_sources_and_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(built[0]["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    wanted = {path for path in sources() if path.startswith(("llm_book/", "nbs/"))}
    wanted |= {"settings.ini", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "CITATION.cff"}
    assert not wanted - names, "missing in the sdist"
    assert not [name for name in names if name.startswith(("tests/", "tools/", ".venv", "_book", "_executed", "_staged"))]
    (tree,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(tree)]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.read_bytes() == built[0]["wheel"].read_bytes()


def test_metadata(unpacked):
    from packaging.requirements import Requirement

    project = toml(ROOT / "pyproject.toml")["project"]
    (file,) = unpacked.glob("*.dist-info/METADATA")
    meta = email.message_from_string(file.read_text(encoding="utf-8"))
    assert meta["Name"] == "llm_book"
    assert meta["Summary"] == project["description"]
    assert meta["Requires-Python"] == project["requires-python"]
    assert meta["License-Expression"] == "Apache-2.0"
    assert meta["Description-Content-Type"] == "text/markdown"
    assert set(meta.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    required = [Requirement(line) for line in meta.get_all("Requires-Dist")]
    always = {str(requirement) for requirement in required if requirement.marker is None}
    assert always == {str(Requirement(line)) for line in project["dependencies"]}
    namespace: dict = {}
    exec((ROOT / "llm_book/__init__.py").read_text(), namespace)
    assert meta["Version"] == namespace["__version__"]


def under_hard_conditions(folder, tmp_path, *options, python=sys.executable):
    "Run tests/installed.py with a home folder that can't be written to and that must stay empty."
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    home.chmod(stat.S_IREAD | stat.S_IEXEC)
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "XDG_", "COV"))}
    environ |= {"HOME": str(home), "USERPROFILE": str(home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    where = ["--path", str(folder)] if folder else []
    command = [str(python), str(ROOT / "tests/installed.py"), *where, *options]
    done = subprocess.run(command, cwd=work, env=environ, capture_output=True, text=True, timeout=600)
    assert [*home.iterdir(), *work.iterdir()] == [], "something was written"
    return done


def test_every_module_imports_with_the_runtime_dependencies_alone(unpacked, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")}
    done = under_hard_conditions(unpacked, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")}, "the package wrote into itself"


BREACHES = {
    "network": ("any.py", "import socket\ntry:\n    socket.create_connection(('localhost', 9))\nexcept OSError: pass", "socket.getaddrinfo"),
    "writes": ("any.py", "import os\ntry:\n    open('left.txt', 'w')\nexcept OSError: pass", "left.txt"),
    "folder": ("any.py", "import os\ntry:\n    os.mkdir('left')\nexcept OSError: pass", "os.mkdir"),
    "process": ("any.py", "import subprocess\ntry:\n    subprocess.run(['true'])\nexcept OSError: pass", "subprocess.Popen"),
    "extra": ("any.py", "import pytest", "No module named 'pytest'"),
    "helper of jupyter": ("any.py", "from IPython import get_ipython", "No module named 'IPython'"),
    "torch": ("plot.py", "import torch", "imports torch"),
    "exercises": ("exercises/any.py", "import matplotlib", "No module named 'matplotlib'"),
}  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES)
def test_hard_conditions_are_hard(breach, tmp_path):
    file, source, words = BREACHES[breach]
    folder = tmp_path / "site"
    (folder / "bad/exercises").mkdir(parents=True)
    (folder / "bad/__init__.py").write_text("")
    (folder / "bad/exercises/__init__.py").write_text("")
    (folder / "bad-1.dist-info").mkdir()
    (folder / "bad-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\nRequires-Dist: torch\n")
    options = ("--package", "bad")
    (folder / "bad" / file).write_text(source + "\n")
    done = under_hard_conditions(folder, tmp_path, *options)
    assert done.returncode != 0 and words in done.stdout + done.stderr


@pytest.mark.slow
def test_fresh_environment(built, tmp_path):
    "As a user does it: a new environment without the extras, the pinned torch, the wheel, README's example."
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=300)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints = ROOT / "constraints.txt"
    torch = next(line for line in constraints.read_text().split() if line.startswith("torch=="))
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints)]
    index = os.environ.get("TORCH_INDEX")
    subprocess.run([*pip, torch, *(["--index-url", index] if index else [])], check=True, timeout=1800)
    subprocess.run([*pip, str(built[0]["wheel"])], check=True, timeout=1800)
    subprocess.run([str(python), "-m", "pip", "check"], check=True, timeout=300)
    done = under_hard_conditions(None, tmp_path, "--example", str(ROOT / "README.md"), python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the example of README.md runs" in done.stdout

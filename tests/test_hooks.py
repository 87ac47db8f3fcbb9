"The clean filter and the merge driver of `make hooks`, in clones of their own."
import json
import os
import shutil
import subprocess
import sys

import pytest

import hooks
from conftest import ROOT


def notebook(*sources, outputs=True):
    "A notebook as Jupyter leaves it: run, with outputs, counts and metadata."
    cells = []
    for n, source in enumerate(sources):
        cell = {"cell_type": "markdown", "id": f"cell-{n}", "metadata": {"tags": ["x"]}, "source": [source]}
        if not source.startswith("#"):
            out = {"name": "stdout", "output_type": "stream", "text": ["secret output\n"]}
            cell |= {"cell_type": "code", "execution_count": 7, "outputs": [out] if outputs else []}
        cells.append(cell)
    kernel = {"display_name": "my own kernel", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": {}}, "nbformat": 4, "nbformat_minor": 5}


def put(repo, nb):
    (repo / "nbs").mkdir(exist_ok=True)
    (repo / "nbs/00_x.ipynb").write_text(json.dumps(nb, indent=2), encoding="utf-8")


def sources(repo):
    "The cells of the notebook in the working tree; fails if it is no JSON."
    nb = json.loads((repo / "nbs/00_x.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in nb["cells"]]


@pytest.fixture
def repo(tmp_path):
    "A repository with hooks installed, and the same three cells on its two branches."
    home = tmp_path / "home"
    home.mkdir()
    repo = tmp_path / "a clone"
    repo.mkdir()
    (repo / "tools").mkdir()
    shutil.copy(ROOT / "tools/hooks.py", repo / "tools")
    shutil.copy(ROOT / "tools/env.py", repo / "tools")
    shutil.copy(ROOT / ".gitattributes", repo)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT")}
    environ |= {"HOME": str(home), "USERPROFILE": str(home), "GIT_CONFIG_NOSYSTEM": "1", "LLM_BOOK_IN_ENV": "1"}

    def run(*command, ok=True):
        done = subprocess.run(command, cwd=repo, env=environ, capture_output=True, text=True, timeout=60)
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "-q", "-b", "main")
    for key, value in {"user.name": "A", "user.email": "a@example.org", "merge.conflictStyle": "diff3"}.items():
        run("git", "config", "--local", key, value)
    run(sys.executable, "tools/hooks.py")
    put(repo, notebook("# Title", "a = 1", "# between", "b = 2", "# below", "c = 3"))
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "base")
    run("git", "branch", "other")
    repo_run = run
    return repo, repo_run, home


def test_commit_has_no_outputs(repo):
    repo, run, home = repo
    stored = run("git", "show", "HEAD:nbs/00_x.ipynb")
    assert "secret" not in stored and "my own kernel" not in stored and '"execution_count": 7' not in stored
    assert "secret" in (repo / "nbs/00_x.ipynb").read_text(), "the file one works on keeps its outputs"
    again = notebook("# Title", "a = 1", "# between", "b = 2", "# below", "c = 3")
    again["cells"][1]["outputs"] *= 3
    put(repo, again)
    assert run("git", "diff", "HEAD") == "", "outputs alone are no change"
    run("git", "add", "-A")
    assert run("git", "status", "--porcelain") == ""
    assert list(home.rglob("*")) == [], "nothing is written into the home folder"


def test_what_is_no_notebook_is_stored_as_it_is(repo):
    repo, run, _ = repo
    (repo / "nbs/00_x.ipynb").write_text("<<<<<<< HEAD\n{}\n", encoding="utf-8")
    run("git", "add", "-A")
    assert run("git", "show", ":nbs/00_x.ipynb") == "<<<<<<< HEAD\n{}\n"


def test_clean_in_place(repo):
    repo, run, _ = repo
    run(sys.executable, "tools/hooks.py", "clean", "nbs/00_x.ipynb")
    assert (repo / "nbs/00_x.ipynb").read_text() == run("git", "show", "HEAD:nbs/00_x.ipynb")


def diverge(repo, run, ours, theirs):
    run("git", "checkout", "-q", "other")
    put(repo, theirs)
    run("git", "commit", "-qam", "theirs")
    run("git", "checkout", "-q", "-f", "main")
    put(repo, ours)
    run("git", "commit", "-qam", "ours")
    run("git", "merge", "other", "-m", "merged", ok=False)
    return run("git", "status", "--porcelain", "--untracked-files=no")


def test_edits_of_different_cells_merge(repo):
    repo, run, _ = repo
    ours = notebook("# Title", "a = 10", "# between", "b = 2", "# below", "c = 3")
    theirs = notebook("# Title", "a = 1", "# between", "b = 2", "# below", "c = 30")
    assert diverge(repo, run, ours, theirs) == ""
    assert sources(repo) == ["# Title", "a = 10", "# between", "b = 2", "# below", "c = 30"]


def test_conflict_is_a_readable_notebook(repo):
    repo, run, _ = repo
    ours = notebook("# Title", "a = 10", "# between", "b = 2", "# below", "c = 3")
    theirs = notebook("# Title", "a = 11", "# between", "b = 2", "# below", "c = 30")
    assert diverge(repo, run, ours, theirs) == "UU nbs/00_x.ipynb\n"
    assert sources(repo) == [
        "# Title", "`<<<<<<< HEAD`", "a = 10", "`=======`", "a = 11", "`>>>>>>> other`", "# between", "b = 2", "# below", "c = 30",
    ]  # fmt: skip
    nb = json.loads((repo / "nbs/00_x.ipynb").read_text())
    assert all("id" in cell for cell in nb["cells"])


def test_cells_added_at_the_same_place_conflict_readably(repo):
    repo, run, _ = repo
    base = ["# Title", "a = 1", "# between", "b = 2", "# below", "c = 3"]
    diverge(repo, run, notebook(*base, "ours = 1"), notebook(*base, "theirs = 1"))
    assert sources(repo)[5:] == ["c = 3", "`<<<<<<< HEAD`", "ours = 1", "`=======`", "theirs = 1", "`>>>>>>> other`"]


def test_without_the_driver_the_same_merge_breaks_the_notebook(repo):
    repo, run, _ = repo
    run(sys.executable, "tools/hooks.py", "--remove")
    run("git", "checkout", "-q", "-f", "main")
    base = ["# Title", "a = 1", "# between", "b = 2", "# below", "c = 3"]
    diverge(repo, run, notebook(*base, "ours = 1", outputs=False), notebook(*base, "theirs = 1", outputs=False))
    with pytest.raises(json.JSONDecodeError):
        sources(repo)


def test_cleaned_is_what_nbdev_clean_writes(monkeypatch):
    from execnb.nbio import nb2str
    from nbdev.clean import clean_nb
    from nbdev.config import get_config

    monkeypatch.chdir(ROOT)
    config = get_config()
    ours = notebook("# Title", "a = 1")
    theirs = json.loads(json.dumps(ours))
    clean_nb(theirs, config.clear_all, [], config.allowed_cell_metadata_keys.split(), config.clean_ids)
    once = hooks.cleaned(json.dumps(ours))
    assert once == nb2str(theirs)
    assert hooks.cleaned(once) == once
    assert [path for path in ROOT.glob("nbs/**/*.ipynb") if is_unclean(path)] == []


def is_unclean(path):
    text = path.read_text(encoding="utf-8")
    return ".ipynb_checkpoints" not in path.parts and hooks.cleaned(text) != text

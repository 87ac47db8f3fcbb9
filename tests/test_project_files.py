"""The files around the book agree with each other: configuration, pins, workflows, README, and nothing of a machine in them.

Where a rule reads a text, it is a function from the text to a list of sentences, and is tried on a text that breaks it.
"""
import configparser
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import hooks
import lint
from conftest import ROOT, sources, toml

SETTINGS = configparser.ConfigParser()
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = SETTINGS["DEFAULT"]
PYPROJECT = toml(ROOT / "pyproject.toml")
PROJECT = PYPROJECT["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
PEOPLE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md", ".github/pull_request_template.md"]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# Configuration


def test_pyproject_says_what_settings_say():
    assert PROJECT["name"] == SETTINGS["lib_name"] == SETTINGS["lib_path"]
    assert PROJECT["description"] == SETTINGS["description"]
    assert PROJECT["authors"] == [{"name": SETTINGS["author"], "email": SETTINGS["author_email"]}]
    assert PROJECT["requires-python"] == f">={SETTINGS['min_python']}"
    assert (PROJECT["license"], SETTINGS["license"]) == ("Apache-2.0", "apache2")
    assert {str(Requirement(line)) for line in PROJECT["dependencies"]} == {
        str(Requirement(line)) for line in SETTINGS["requirements"].split()
    }
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + SETTINGS["min_python"].replace(".", "")


def test_version_is_the_same_everywhere():
    namespace: dict = {}
    exec(read("llm_book/__init__.py"), namespace)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert SETTINGS["version"] == namespace["__version__"] == citation["version"]
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)[1] == SETTINGS["version"]


def test_citation():
    citation, book = yaml.safe_load(read("CITATION.cff")), yaml.safe_load(read("_quarto.yml"))["book"]
    assert citation["title"] == book["title"]
    assert citation["authors"] == [{"name": SETTINGS["author"]}]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == book["repo-url"]


def test_a_fork_changes_one_place_and_is_told_the_others():
    home = f"{SETTINGS['user']}/{SETTINGS['repo']}"
    for path in [*PEOPLE, "_quarto.yml", "CITATION.cff", ".github/ISSUE_TEMPLATE/config.yml", "tools/external_links.py"]:
        for found in re.findall(r"github\.com/([\w.-]+/llm-book)\b", read(path)):
            assert found == home, f"{path} names {found}; settings.ini says {home}"


def test_only_lower_bounds_for_users():
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["plot"]]:
        assert {specifier.operator for specifier in Requirement(line).specifier} == {">="}, line


def test_classifiers_and_workflow_cover_the_supported_pythons():
    classifiers = {line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    matrix = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert classifiers == set(matrix) == set(PYTHONS)


def test_license_is_the_unchanged_text():
    digest = hashlib.sha256(read("LICENSE").strip().encode()).hexdigest()
    assert digest == "283ea6cc2997a1a70da0049e09adf9317bb60ca1b51279b65196b83a69e1996b"
    assert SETTINGS["author"] in read("NOTICE")


# Pins


def constraint_problems(text: str, wanted: list[str]) -> list[str]:
    "What is wrong with a constraints file that must cover the requirements `wanted`."
    problems, pins = [], {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if "://" in line or line.startswith("-") or "@" in line:
            problems.append(f"an address or an option: {line}")
            continue
        try:
            pin = Requirement(line)
        except InvalidRequirement:
            problems.append(f"not a requirement: {line}")
            continue
        if len(pin.specifier) != 1 or not str(pin.specifier).startswith("==") or "*" in str(pin.specifier):
            problems.append(f"not exact: {line}")
        if "+" in str(pin.specifier):
            problems.append(f"a build tag, which only one index has: {line}")
        if re.match(r"nvidia|cuda|triton", pin.name):
            problems.append(f"a package of CUDA's: {line}")
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        for python in PYTHONS:
            environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux", "extra": ""}
            fitting = [pin for pin in pins.get(name, []) if applies(pin.marker, environment)]
            if len(fitting) != 1:
                problems.append(f"{requirement.name} has {len(fitting)} versions for Python {python}")
            elif not requirement.specifier.contains(str(fitting[0].specifier)[2:]):
                problems.append(f"{fitting[0]} does not satisfy {line}")
    return problems


def applies(marker: "Marker | None", environment: dict) -> bool:
    return marker is None or marker.evaluate(environment)


def wanted() -> list[str]:
    lines = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"]]
    for extra in PROJECT["optional-dependencies"].values():
        lines += [line for line in extra if Requirement(line).name != PROJECT["name"]]
    return lines


def test_constraints():
    assert constraint_problems(read("constraints.txt"), wanted()) == []


@pytest.mark.parametrize(
    "line, words",
    [
        ("--index-url https://example.org/simple", "address"),
        ("torch @ https://example.org/torch.whl", "address"),
        ("torch==2.13.0+cpu", "build tag"),
        ("numpy>=2", "not exact"),
        ("numpy==2.*", "not exact"),
        ("nvidia-cublas==1.0", "CUDA"),
        ("a b c", "not a requirement"),
        ("tqdm==9.0", "has 2 versions"),
        ("", "has 0 versions"),
        ("absent==1.0", "does not satisfy"),
        ("absent==2.0 ; python_full_version >= '3.11'", "for Python 3.10"),
    ],
)
def test_constraints_can_fail(line, words):
    problems = constraint_problems(f"# comment\ntqdm==4.66\n{line}\n", ["tqdm>=4", "absent>=2"])
    assert any(words in problem for problem in problems)


def test_extras_contain_each_other():
    extras = PROJECT["optional-dependencies"]
    inner = {extra: set(re.findall(r"llm_book\[([\w,]+)\]", " ".join(extras[extra]))) for extra in ("book", "dev")}
    assert inner == {"book": {"plot"}, "dev": {"book,hf"}}


def test_make_constraints_keeps_what_it_must(monkeypatch):
    import constraints

    resolved = "# uv\ntorch==2.13.0+cpu\ntriton==3.5 ; sys_platform == 'linux'\nnvidia-nccl-cu12==2\n-e .\nnumpy==2.0 ; x\n"
    assert constraints.tidied(resolved).splitlines()[1:] == ["torch==2.13.0", "numpy==2.0 ; x"]
    assert constraints.torch_pin(read("constraints.txt")) + "\n" in read("constraints.txt").split("torch==")[1]
    assert read("constraints.txt").startswith(constraints.HEADER)
    with pytest.raises(SystemExit, match="--torch"):
        constraints.torch_pin("numpy==2.0")


# Workflows and what else GitHub reads


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))


def workflow_problems(text: str) -> list[str]:
    "What is wrong with a workflow: rights, pins, limits, and commands that are not there."
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    problems = [] if "concurrency" in data else ["no concurrency group"]
    triggers = data.get("on", data.get(True, {}))  # YAML 1.1 reads `on` as true
    if "pull_request_target" in triggers:
        problems.append("pull_request_target gives strangers' code our rights")
    if "permissions" not in data or data["permissions"] == "write-all" or "write" in (data["permissions"] or {}).values():
        problems.append("the workflow must limit permissions to reading; a job may ask for more")
    for name, job in data["jobs"].items():
        if "permissions" not in job:
            problems.append(f"{name} has no permissions")
        if "timeout-minutes" not in job:
            problems.append(f"{name} has no time limit")
        for step in job["steps"]:
            problems += step_problems(name, step)
    return problems


def step_problems(job: str, step: dict) -> list[str]:
    problems = []
    if uses := step.get("uses", ""):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", uses):
            problems.append(f"{job}: {uses} is not pinned to a version")
        if uses.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
            problems.append(f"{job}: checkout leaves its token behind")
    run = step.get("run", "")
    if "${{" in run:
        problems.append(f"{job}: an expression inside a shell command can be made to run anything")
    problems += [f"{job}: no target {target}" for target in re.findall(r"\bmake ([a-z][\w-]*)", run) if target not in targets()]
    scripts = re.findall(r"\bpython3? ((?:tools|tests)/[\w/]+\.py)", run)
    return problems + [f"{job}: no {script}" for script in scripts if not (ROOT / script).is_file()]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflow(file):
    assert workflow_problems(file.read_text(encoding="utf-8")) == []


def test_there_are_three_workflows():
    assert {file.stem for file in WORKFLOWS} == {"ci", "site", "weekly"}


SOUND = """
on: {push: {}}
permissions: {contents: read}
concurrency: x
jobs:
  a:
    permissions: {}
    timeout-minutes: 5
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
        with: {persist-credentials: false}
      - run: make test
"""


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("", "", ""),
        ("checkout@v6", "checkout@main", "not pinned"),
        ("checkout@v6", "checkout", "not pinned"),
        ("persist-credentials: false", "fetch-depth: 0", "token"),
        ("permissions: {contents: read}\n", "", "limit permissions"),
        ("{contents: read}", "{contents: write}", "limit permissions"),
        ("{contents: read}", "write-all", "limit permissions"),
        ("    permissions: {}\n", "", "a has no permissions"),
        ("    timeout-minutes: 5\n", "", "time limit"),
        ("concurrency: x\n", "", "concurrency"),
        ("push", "pull_request_target", "strangers"),
        ("make test", "make everything", "no target everything"),
        ("make test", "python tools/nothing.py", "no tools/nothing.py"),
        ("make test", "echo ${{ github.event.issue.title }}", "expression"),
        ("jobs:", "jobs: [", "not YAML"),
    ],
)
def test_workflow_rules_can_fail(old, new, words):
    assert (old in SOUND) and bool(words) == (old != new)
    problems = workflow_problems(SOUND.replace(old, new) if old else SOUND)
    assert any(words in problem for problem in problems) if words else problems == []


def test_forms_and_other_configuration_parse():
    for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(file.read_text(encoding="utf-8"))
        if file.name == "config.yml":
            continue
        assert {"name", "description", "body"} <= set(form), file.name
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids)) and all(field["type"] in {"input", "textarea"} for field in form["body"])
    for update in yaml.safe_load(read(".github/dependabot.yml"))["updates"]:
        assert update["package-ecosystem"] == "github-actions"
    container = json.loads(read(".devcontainer/devcontainer.json"))
    assert set(re.findall(r"make ([\w-]+)", container["postCreateCommand"])) <= targets()


# What people read


@pytest.mark.parametrize("path", PEOPLE)
def test_commands_and_links_exist(path):
    text = read(path)
    commands = re.findall(r"`(?:[^`\n]*\s)?make ([a-z][\w-]*)[^`\n]*`", text) + re.findall(r"^make ([\w-]+)", text, re.M)
    assert set(commands) <= targets(), set(commands) - targets()
    for script in re.findall(r"python3? (?:-m pytest )?((?:tools|tests)/[\w/]+\.py)", text):
        assert (ROOT / script).is_file(), f"{path} names {script}"
    for link in re.findall(r"\]\((?!https?://|mailto:|#)([^)#]+)", text):
        assert (ROOT / path).parent.joinpath(link).exists(), f"{path} links to {link}"
    for template in re.findall(r"template=([\w.-]+)", text):
        assert (ROOT / ".github/ISSUE_TEMPLATE" / template).is_file()


def test_makefile_runs_tools_that_exist():
    text = read("Makefile")
    for script in re.findall(r"tools/\w+\.py", text):
        assert (ROOT / script).is_file(), f"the Makefile runs {script}"
    assert targets() >= {"help", "book", "test", "test-slow", "serve", "chapter", "export", "check", "clean", "quarto", "hooks", "constraints"}
    undescribed = [line for line in re.findall(r"^[a-z-]+:.*", text, re.M) if "##" not in line]
    assert undescribed == [], "`make help` would not list them"


def test_contributing_knows_the_directives():
    named = set(re.findall(r"#\\?\| ([\w-]+)", read("CONTRIBUTING.md")))
    assert named <= lint.BARE | lint.OPTIONS
    assert named >= {"export", "hide", "slow", "gpu", "notest", "label", "fig-cap", "fig-alt", "code-fold", "eval"}


def test_contributing_has_the_sections_that_messages_point_to():
    headings = {path: set(re.findall(r"^#+ (.+)", read(path), re.M)) for path in ("README.md", "CONTRIBUTING.md")}
    for file in (ROOT / "tools").glob("*.py"):
        for name, section in re.findall(r"(README|CONTRIBUTING),? '([^']+)'", file.read_text(encoding="utf-8")):
            assert section in headings[f"{name}.md"], f"{file.name} points to {section!r} in {name}.md"


def test_examples_of_the_readme_run():
    network, world = re.findall(r"^```python\n(.*?)^```", read("README.md"), re.S | re.M)
    said = []
    for block in (network, world):
        assert len([line for line in block.splitlines() if line.strip()]) <= 10
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ})
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert len(said[0]) > 60, "it prints what the model wrote"
    story, bits = re.findall(r"  # (.*?)(?: …|: .*)$", world, re.M)
    assert said[1].startswith(story) and f"{float(said[1].split()[-1]):.3f}" == bits


# Git


def test_attributes_name_what_the_hooks_install():
    line = next(line for line in read(".gitattributes").splitlines() if line.startswith("*.ipynb"))
    assert f"filter={hooks.NAME}" in line and f"merge={hooks.NAME}" in line


@pytest.mark.parametrize(
    "path",
    ".venv/bin/python _executed/nbs/00_x.ipynb _staged/_quarto.yml _book/index.html _book.123/index.html .quarto/x tests/fixtures/book/_executed/x tests/fixtures/book/_book/x dist/x.whl "
    "nbs/_quarto.yml nbs/nbdev.yml nbs/sidebar.yml _proc/x tools/__pycache__/x.pyc nbs/.ipynb_checkpoints/x.ipynb .hypothesis/x "
    ".pytest_cache/x .ruff_cache/x nbs/.last_checked llm_book.egg-info/x".split(),
)
def test_build_products_are_ignored(path):
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0


def test_sources_are_not_ignored():
    kept = "nbs/00_x.ipynb nbs/exercises/00_x.ipynb nbs/_template.ipynb nbs/results/x.json llm_book/x.py llm_book/assets/x.json "
    kept += "_quarto.yml index.qmd references.bib tools/x.py tests/fixtures/book/_quarto.yml .github/x.svg constraints.txt"
    command = ["git", "check-ignore", "--no-index", *kept.split()]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == ""


# Nothing of one machine

SCHEME = "https?" + "://"
MACHINE = re.compile(
    r"(?<![\w.~$}-])/(?:work|root|opt|Users|home/\w+|tmp|mnt|private|var/folders)/\w|[A-Z]:\\\\?Users|"
    rf"{SCHEME}[^\s/]*(?:pypi|pythonhosted|artifactory|nexus|mirror|conda|npmjs)[\w.-]*[:/]|{SCHEME}download\.pytorch\.org|"
    rf"{SCHEME}(?:10|172\.(?:1[6-9]|2\d|3[01])|192\.168)\.\d"
)
TORCH_INDEX_AT = ("README.md", ".github/workflows/", ".devcontainer/")


def machine_problems(path: str, text: str) -> list[str]:
    "Absolute paths and registries' addresses in a committed text."
    found = []
    for n, line in enumerate(text.splitlines(), start=1):
        for match in MACHINE.finditer(line):
            if "download.pytorch.org" in match[0] and path.startswith(TORCH_INDEX_AT):
                continue
            found.append(f"{path}:{n}: {line.strip()[:120]}")
    return found


def committed_texts():
    for path in sources():
        file = ROOT / path
        if path != Path(__file__).relative_to(ROOT).as_posix() and file.suffix not in {".png", ".safetensors", ".woff2", ".ico"}:
            yield path, file.read_text(encoding="utf-8")


def test_no_committed_file_knows_a_machine():
    assert [problem for path, text in committed_texts() for problem in machine_problems(path, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "work/main",
        "'/" + "home/ann/x'",
        "(/" + "tmp/x)",
        r"C:\Users\x",
        "https://" + "pypi.org/simple",
        "--index-url http://" + "192.168.0.1/",
        "https://" + "download.pytorch.org/whl",
    ],
)
def test_machine_rule_can_fail(text):
    assert machine_problems("tools/x.py", text)


def test_machine_rule_lets_pass():
    for text in ("a/work/x", "../tmp/x", "https://github.com/opt/x", "/dev/null", "~/home/x", "$ROOT/tmp/x"):
        assert machine_problems("tools/x.py", text) == []
    assert machine_problems("README.md", "https://download.pytorch.org/whl/cpu") == []


def test_nothing_is_left_to_do():
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [f"{path}: {found[0]}" for path, text in committed_texts() if (found := word.search(text))] == []


def test_figure_of_the_readme_follows_the_theme():
    from llm_book.plot import INK
    from readme_figure import FIGURE, STYLE, themed

    svg = read(FIGURE)
    assert FIGURE in read("README.md")
    assert svg.startswith("<svg") and STYLE % INK in svg and svg.lower().count(INK) == 1, "redraw it: python tools/readme_figure.py"
    assert themed(f'<?xml?>\n<svg w="1">\n<path fill="{INK.upper()}"/></svg>\n', INK) == (
        f'<svg w="1">{STYLE % INK}\n<path fill="currentColor"/></svg>\n'
    )

"""Every exercise of the book: its solution is accepted, and each mistake that it knows is recognized by name."""
import importlib
import inspect
import os
import subprocess
import sys

import pytest

from llm_book.exercise import (
    REGISTRY,
    Exercise,
    Mistake,
    chapters,
    check,
    exercises,
    faults,
    find,
    hint,
    judge,
    load_chapter,
    main,
    register,
)

ALL = exercises()


@pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.id)
def test_solution_is_accepted(exercise):
    verdict = check(exercise.id, exercise.solution)
    assert verdict.ok, verdict


@pytest.mark.parametrize(
    ("exercise", "name"), [(e, name) for e in ALL for name in e.mistakes], ids=lambda x: x if isinstance(x, str) else x.id
)
def test_known_mistake_is_recognized(exercise, name):
    mistake = exercise.mistakes[name]
    verdict = check(exercise.id, mistake.answer)
    assert (verdict.ok, verdict.mistake, verdict.words) == (False, name, mistake.words)


@pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.id)
def test_exercise_has_no_faults(exercise):
    assert faults(exercise) == []
    assert all(len(mistake.words.split()) >= 4 and mistake.words[-1] in ".?!" for mistake in exercise.mistakes.values())


@pytest.mark.parametrize("chapter", chapters())
def test_chapter_numbers_its_exercises(chapter):
    found = exercises(chapter)
    assert [e.id for e in found] == [f"{chapter}.{n}" for n in range(1, len(found) + 1)]


@pytest.mark.parametrize("exercise", [e for e in ALL if callable(e.solution)], ids=lambda e: e.id)
def test_wrong_answers_get_words_and_no_traceback(exercise):
    def crash(*arguments, **options):
        raise RuntimeError("on purpose")

    def nothing(*arguments, **options):
        return None

    for answer in (crash, nothing, None, 7, "answer", object()):
        verdict = check(exercise.id, answer)
        assert not verdict.ok and verdict.words and "Traceback" not in repr(verdict) and " at 0x" not in repr(verdict)


def demo(**more):
    options = {"cases": [([1, 2],), ([5, 3, 4],)], "solution": sorted, "hints": ["Sort."]} | more
    return Exercise("demo.1", "Sort", 1, **options)


def test_a_mistake_that_equals_the_solution_is_refused():
    twin = demo(mistakes={"by hand": Mistake(lambda x: sorted(x)[:], "This sorts, too.")})
    assert faults(twin) == ["demo.1: mistake 'by hand' passes as right: add a case where it fails"]


def test_two_mistakes_that_no_case_tells_apart_are_refused():
    mistakes = {"kept": Mistake(list, "This keeps the order."), "copied": Mistake(lambda x: x[:], "This copies.")}
    told = "demo.1: mistake 'copied' can't be told from 'kept': add a case where they differ"
    assert faults(demo(mistakes=mistakes)) == [told]


def test_a_mistake_has_to_match_on_every_case():
    reverse = {"reversed": Mistake(lambda x: sorted(x)[::-1], "This sorts downwards.")}
    half = judge(demo(mistakes=reverse), lambda x: sorted(x)[::-1] if len(x) == 2 else sorted(x))
    assert half.mistake is None and "in reverse order" in half.words and "1 of 2 cases is right" in half.words


def test_answers_can_not_reach_the_cases():
    def spoil(x):
        result = sorted(x)
        x.clear()
        return result

    exercise = demo()
    assert judge(exercise, spoil).ok and judge(exercise, sorted).ok
    assert exercise.cases == [([1, 2],), ([5, 3, 4],)]


def test_results_that_change_later_are_compared_as_they_were():
    kept = []

    def same_list_every_time(x):
        kept[:] = sorted(x)
        return kept

    assert judge(demo(), same_list_every_time).ok


def test_tensors():
    torch = pytest.importorskip("torch")
    x = torch.arange(10.0).reshape(2, 5)
    exercise = demo(cases=lambda: [(x,)], solution=lambda x: x.softmax(-1), hints=["exp"])
    said = {
        "it looks transposed": lambda x: x.softmax(-1).T,
        "axis 0 is gone": lambda x: x.softmax(-1)[0],
        "contains NaN (10 of 10 values)": lambda x: x / 0 * 0,
        "the dtype is int64, expected float32": lambda x: x.long(),
        "a NumPy array, expected a tensor; the values in it are right": lambda x: x.softmax(-1).numpy(),
        "a list, expected a tensor; the values in it are right": lambda x: x.softmax(-1).tolist(),
        "a factor of 2 too large": lambda x: 2 * x.softmax(-1),
        "did you forget `return`?": lambda x: None,
    }
    for words, answer in said.items():
        assert words in judge(exercise, answer).words
    assert judge(exercise, lambda x: x.double().softmax(-1)).ok
    assert judge(exercise, lambda x: torch.nn.functional.softmax(x.requires_grad_(), -1)).ok


def test_importing_the_checker_needs_no_torch():
    code = "import sys, llm_book.exercise; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def program(*arguments, **environment):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "llm_book.exercise", *arguments]
    settings = os.environ | {"PYTHONUTF8": "1"} | environment
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=settings)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_command_line_lists_and_complains(capsys):
    status, out, _ = program("list")
    assert out == ("\n".join(map(repr, ALL)) or "there are no exercises here") and status == (0 if ALL else 1)
    assert main(["list"]) == status and capsys.readouterr().out.strip() == out  # here and in a program of its own
    status, out, err = program("hint", "nowhere.1")
    assert (status, out) == (2, "") and err.startswith("there is no exercise 'nowhere.1'") and "\n" not in err


@pytest.mark.skipif(not ALL, reason="no exercises yet")
def test_command_line_works_where_stars_can_not_be_printed():
    status, out, err = program("list", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert status == 0 and out.startswith(f"{ALL[0].id} ?") and not err


@pytest.mark.skipif(not ALL, reason="no exercises yet")
def test_command_line_checks_a_file(tmp_path):
    exercise = next(e for e in ALL if inspect.isfunction(e.solution))
    file = tmp_path / "answer.py"
    module, name = exercise.solution.__module__, exercise.solution.__name__
    file.write_text(f"from {module} import {name} as mine\n", encoding="utf-8")
    status, out, err = program("check", exercise.id, f"{file}:mine")
    assert status == 0 and out.startswith(f"✓ {exercise.id}: right") and not err
    file.write_text("def mine(*arguments):\n    pass\n", encoding="utf-8")
    status, out, err = program("check", exercise.id, str(file))
    assert status == 1 and out.startswith(f"✗ {exercise.id}: ") and not err


def test_an_unknown_id_is_told_what_is_near(monkeypatch):
    monkeypatch.setattr("llm_book.exercise.REGISTRY", dict(REGISTRY))
    exercise = register(demo())
    assert exercise in exercises() and all(e in exercises() for e in ALL)
    for id, near in {"dmeo.1": "demo.1", "demo.12": "demo.1", "Demo.1": "demo.1", "../demo": "", "demo": "demo.1", "": ""}.items():
        with pytest.raises(LookupError) as error:
            find(id)
        assert str(error.value).startswith(f"there is no exercise {id!r}") and near in str(error.value)


def test_a_broken_exercises_module_says_so_itself(monkeypatch, tmp_path):
    (tmp_path / "broken_xyz.py").write_text("import not_there_at_all\n")
    package = importlib.import_module("llm_book")
    made = type(sys)("llm_book.exercises")
    made.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "llm_book.exercises", made)
    monkeypatch.setattr(package, "exercises", made, raising=False)
    assert chapters() == ["broken_xyz"]
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        find("broken_xyz.1")
    load_chapter("absent_xyz")
    load_chapter("../absent")


def test_registering_twice(monkeypatch):
    monkeypatch.setattr("llm_book.exercise.REGISTRY", dict(REGISTRY))
    exercise = register(demo())
    assert find("demo.1") is exercise and hint("demo.1") == "demo.1, hint 1 of 1: Sort."
    with pytest.raises(ValueError, match="give 'Other' another number"):
        register(Exercise("demo.1", "Other", 1, 5))

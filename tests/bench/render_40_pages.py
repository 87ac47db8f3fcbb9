"""How long the embedded renderer takes for a book of 40 chapters: `python tests/bench/render_40_pages.py`.

Each chapter has about 1,500 words, 40 formulas, 15 code cells, figures, tables and references to other chapters.
Three builds are timed: with empty caches (KaTeX already on disk), with nothing changed, and with one page changed.
"""
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from project import Origin, Project  # noqa: E402
from render import render  # noqa: E402
from stage import Cell, Page  # noqa: E402

PAGES, SECTIONS = 40, 15
WORDS = "the model reads a token and predicts what comes next from all it has seen so far with one matrix per layer".split()
CODE = '''def layer_{n}_{m}(x: Float[Tensor, "*batch D"], eps: float = 1e-6) -> Float[Tensor, "*batch D"]:
    "Scale `x` to unit root mean square."
    inv_rms = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)  # (*batch, 1)
    for step in range({m}):
        x = x + step * 0.5
    return x * inv_rms'''
SVG = '<svg role="img" aria-label="a line" viewBox="0 0 300 150"><path d="M0 150 L300 {m}" stroke="currentColor"/></svg>'


def section(n: int, m: int, random: random.Random) -> list[tuple[str, str, str]]:
    "`(kind, id, source)` of the cells of one section."
    prose = " ".join(random.choices(WORDS, k=90)) + f", see @eq-{n}-{m} and @sec-{random.randrange(PAGES)}."
    math = f"For $x_{{{m}}} \\in \\mathbb{{R}}^{{{n}}}$ with *gain* $g_{{{m}}}$:\n\n$$\ny_{{{m}}} = \\sum_{{i=1}}^{{{n + 2}}} \\frac{{x_i^{m}}}{{\\sqrt{{{n} + \\epsilon}}}}\n$$ {{#eq-{n}-{m}}}"
    figure = f'::: {{#fig-{n}-{m} fig-alt="a line"}}\n```{{=html}}\n{SVG.format(m=m)}\n```\n\nA line from {n} to {m}.\n:::'
    table = f"| a | b |\n|---|--:|\n| `x` | {m} |\n\n: Numbers of {n}. {{#tbl-{n}-{m}}}"
    return [
        ("markdown", f"text-{m}", f"## Section {m} of {n}\n\n{prose}\n\n{math}\n\n{table if m % 5 == 0 else ''}"),
        ("code", f"code-{m}", CODE.format(n=n, m=m)),
        ("markdown", f"code-{m}-output", figure if m % 3 == 0 else f"::: {{.cell-output}}\n```\n{m}\n```\n:::"),
    ]


def chapter(n: int, extra: str = "") -> Page:
    path = f"nbs/{n:02}_chapter.ipynb"
    cells = [("markdown", "title", f"# Chapter about {n} {{#sec-{n}}}\n\n> One line.\n\n{extra}")]
    for m in range(SECTIONS):
        cells += section(n, m, random.Random(n * 100 + m))
    return Page(path, [Cell(kind, source, {}, Origin(path, i, id)) for i, (kind, id, source) in enumerate(cells, 1)])


def book(root: Path) -> Project:
    shutil.copy(ROOT / "settings.ini", root)
    listed = "".join(f"    - nbs/{n:02}_chapter.ipynb\n" for n in range(PAGES))
    (root / "_quarto.yml").write_text(f"project: {{type: book}}\nbook:\n  title: Forty chapters\n  chapters:\n{listed}")
    return Project(root)


def timed(what: str, project: Project, pages: list[Page]) -> None:
    out = project.root / "_book"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    start = time.perf_counter()
    render(project, pages, out, lambda text: None)
    files = [file for file in out.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{what:16} {time.perf_counter() - start:5.2f} s   {len(files)} files, {size:.1f} MB", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        project = book(Path(folder))
        pages = [chapter(n) for n in range(PAGES)]
        timed("empty caches", project, pages)
        timed("nothing changed", project, pages)
        timed("one page changed", project, [*pages[:20], chapter(20, "One more sentence."), *pages[21:]])

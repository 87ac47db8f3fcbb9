"""The README's figure, taken from the last build: `python tools/readme_figure.py` writes `.github/loss-ladder.svg`.

It is the figure of chapter 00 as `make book` drew it, with an ink that follows the reader's light or dark theme.
"""
import json
import re

import env

if __name__ == "__main__":
    env.enter()

from project import Project, here, write

NOTEBOOK, LABEL, FIGURE = "nbs/00_overview.ipynb", "fig-train", ".github/loss-ladder.svg"
STYLE = "<style>svg { color: %s } @media (prefers-color-scheme: dark) { svg { color: #e8e8f0 } }</style>"


def drawn(project: Project) -> str:
    "The SVG that the labelled cell of the executed chapter shows."
    file = project.executed / NOTEBOOK
    if not file.is_file():
        raise SystemExit(f"{NOTEBOOK} has not been executed yet. Fix: make book")
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        if re.search(rf"^#\| label: {LABEL}$", "".join(cell["source"]), re.M):
            for output in reversed(cell["outputs"]):
                if svg := output.get("data", {}).get("image/svg+xml"):
                    return "".join(svg)
    raise SystemExit(f"{NOTEBOOK} draws no figure labelled {LABEL}. Fix: label it, or name another one in tools/readme_figure.py")


def themed(svg: str, ink: str) -> str:
    "The figure with its ink as the color of text, light on dark pages."
    svg = svg[svg.index("<svg") :]
    opening = re.match(r"<svg[^>]*>", svg)[0]
    return opening + STYLE % ink + re.sub(re.escape(ink), "currentColor", svg[len(opening) :], flags=re.I).rstrip() + "\n"


def main() -> None:
    from llm_book.plot import INK

    project = here()
    write(project.root / FIGURE, themed(drawn(project), INK))
    print(f"readme_figure: {FIGURE} is the figure of the last build")


if __name__ == "__main__":
    main()

"""`make check`: the lints, and is the package in step with the notebooks? Changes nothing."""
import env

if __name__ == "__main__":
    env.enter()

from export import export
from project import here
from report import run


def main() -> None:
    export(here(), change=False)
    print("check: every notebook is sound, and the package is what they export")


if __name__ == "__main__":
    run(main)

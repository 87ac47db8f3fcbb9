"""`make test`: everything that must hold before a change goes in. `make test-slow`: what takes minutes or gigabytes."""
import argparse
import os
import subprocess
import sys

import env

if __name__ == "__main__":
    env.enter()

from book import build
from export import export
from project import here
from report import Report, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="only the tests marked slow, and nbdev_test")
    args, rest = parser.parse_known_args()
    report, project = Report(), here()
    export(project, change=False)
    report.line("   check: every notebook is sound, and the package is what they export")
    build(project, report)  # runs every cell, and the renderer checks every reference and link
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if args.slow:
        report.line("   nbdev: nbdev_test")
        call = f"from nbdev.test import nbdev_test; nbdev_test(n_workers={project.cores}, do_print=True)"
        status = subprocess.call([sys.executable, "-c", call], cwd=project.root, env=environment)
        if status:
            sys.exit(status)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(project.cores), "--dist", "loadgroup", "--junitxml", str(project.executed / "pytest.xml")]
    command += ["-m", "slow"] if args.slow else []
    report.line(f"  pytest: {'slow' if args.slow else 'fast'} tests, {report.elapsed_s:.0f} s since the start")
    sys.exit(subprocess.call([*command, *rest], cwd=project.root, env=environment))


if __name__ == "__main__":
    run(main)

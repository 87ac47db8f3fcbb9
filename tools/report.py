"""What a build says: finished steps as lines, the step under way as one live line, problems at the end."""
from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable

from project import BuildError

HEARTBEAT_S = 10  # where the output is no terminal, a sign of life this often


class Report:
    "Thread-safe. `line` prints for good; `live` shows where things stand until the next line."

    def __init__(self):
        self.lock = threading.Lock()
        self.terminal = sys.stdout.isatty()
        self.start = self.last = time.monotonic()

    def line(self, text: str) -> None:
        with self.lock:
            print(("\r\033[K" if self.terminal else "") + text, flush=True)
            self.last = time.monotonic()

    def live(self, text: str) -> None:
        with self.lock:
            now = time.monotonic()
            if self.terminal and now - self.last > 0.1:
                width = shutil.get_terminal_size().columns - 1
                print("\r\033[K" + text[:width], end="", flush=True)
                self.last = now
            elif not self.terminal and now - self.last > HEARTBEAT_S:
                print(text, flush=True)
                self.last = now

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start


def run(main: Callable[[], None]) -> None:
    "Call a command's `main`; tell what stopped it in sentences, and end with a status that says so."
    try:
        main()
    except BuildError as error:
        count = len(error.problems)
        print("\r\033[K" if sys.stdout.isatty() else "", end="")
        print("\n\n".join(map(str, error.problems)), file=sys.stderr)
        print(f"\nStopped: {count} problem{'s' * (count != 1)}.", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)  # kernels and worker threads end with us
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing is lost: the last good site is untouched, and the next build goes on from here.", file=sys.stderr, flush=True)
        os._exit(130)

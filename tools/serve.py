"""`make serve`: build, serve the site on this machine, and rebuild what changed whenever a source is saved.

Open pages reload by themselves. A mistake in a source is told here; the last good site goes on being served.
"""
from __future__ import annotations

import argparse
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import env

if __name__ == "__main__":
    env.enter()

from book import build
from project import BuildError, Project, here
from report import Report, run

RELOAD = b"<script>new EventSource('/--changes').onmessage = () => location.reload()</script>"


class Site:
    "The state that requests and the watcher share: how many times the site was rebuilt."

    def __init__(self):
        self.version = 0
        self.changed = threading.Condition()

    def rebuilt(self) -> None:
        with self.changed:
            self.version += 1
            self.changed.notify_all()


class Handler(SimpleHTTPRequestHandler):
    "Files of the site; pages with a line that listens for changes."

    def __init__(self, *args, site: Site, **kwargs):
        self.site = site
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path == "/--changes":
            return self.tell_changes()
        file = Path(self.translate_path(self.path))
        file = file / "index.html" if file.is_dir() and self.path.endswith("/") else file
        if file.suffix != ".html" or not file.is_file():
            return super().do_GET()
        page = file.read_bytes().replace(b"</body>", RELOAD + b"</body>")
        self.send_response(200)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))), ("Cache-Control", "no-store")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)

    def tell_changes(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        seen = self.site.version
        try:
            while True:
                with self.site.changed:
                    self.site.changed.wait(timeout=15)
                self.wfile.write(b": still here\n\n" if self.site.version == seen else b"data: changed\n\n")
                self.wfile.flush()
                seen = self.site.version
        except OSError:
            pass  # the page was closed

    def log_message(self, format: str, *args) -> None:
        "Requests are not worth a line each."


def sources(root: Path) -> dict[str, int]:
    "Modification times of all that a build reads."
    patterns = ("settings.ini", "_quarto.yml", "*.qmd", "*.bib", "nbs/*.ipynb", "nbs/exercises/*.ipynb", "nbs/images/*", "tools/**/*.*")
    files = {file for pattern in patterns for file in root.glob(pattern) if "__pycache__" not in file.parts}
    return {str(file): file.stat().st_mtime_ns for file in sorted(files) if file.is_file()}


def try_build(root: Path) -> Project | None:
    "Build; tell what is wrong and go on if it can't be done."
    try:
        project = Project(root)
        build(project, Report())
        return project
    except BuildError as error:
        print(f"\n{error}\n\nThe last good site stays as it is; save again to try again.", flush=True)
        return None


def serve(root: Path, port: int) -> None:
    before = sources(root)
    try_build(root)
    site = Site()
    (root / "_book").mkdir(exist_ok=True)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, site=site, directory=str(root / "_book")))
    except OSError as error:
        raise SystemExit(f"Port {port} can't be used ({error.strerror}). Fix: make serve PORT={port + 1}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"\nThe book is at http://127.0.0.1:{server.server_port}/ and follows what you save. Ctrl-C ends.", flush=True)
    while True:
        time.sleep(0.5)
        now = sources(root)
        if now != before:
            names = [Path(name).name for name in now if now[name] != before.get(name)] or ["a file less"]
            print(f"\nsaved: {', '.join(names)}", flush=True)
            before = now
            if try_build(root):
                site.rebuilt()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    serve(here().root, parser.parse_args().port)


if __name__ == "__main__":
    run(main)

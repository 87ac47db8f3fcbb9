"The weekly link check, without the network: what it collects, and what it makes of a server's answers."
import http.server
import json
import threading

import pytest

import external_links


def test_addresses_in_markdown():
    text = (
        "See [the paper](https://arxiv.org/abs/1706.03762), https://a.org/x. And (https://b.org/y_(z)).\n\n"
        "`https://code.org` and\n\n```python\nurl = 'https://fence.org'\n```\n\n"
        "<https://c.org/?q=1#part>; again https://a.org/x, http://localhost:8000, https://www.example.org/x\n"
    )
    expected = ["https://arxiv.org/abs/1706.03762", "https://a.org/x", "https://b.org/y_(z)", "https://c.org/?q=1#part"]
    assert external_links.addresses(text) == expected


def test_collects_from_notebooks_pages_and_bibliography(tmp_path):
    cells = [{"cell_type": "code", "id": "a", "source": ["# https://no.org"]}, {"cell_type": "markdown", "id": "b", "source": ["https://", "a.org"]}]
    (tmp_path / "nbs/exercises").mkdir(parents=True)
    for path in ("nbs/00_x.ipynb", "nbs/exercises/00_x.ipynb"):
        (tmp_path / path).write_text(json.dumps({"cells": cells}))
    (tmp_path / "index.qmd").write_text("[a](https://a.org) [q](https://q.org)")
    (tmp_path / "references.bib").write_text("@article{x,\n  doi = {10.1/2},\n  url = {https://u.org},\n}\n")
    assert external_links.collect(tmp_path) == {
        "https://a.org": ["index.qmd", "nbs/00_x.ipynb:cell 2 (b)", "nbs/exercises/00_x.ipynb:cell 2 (b)"],
        "https://q.org": ["index.qmd"],
        "https://u.org": ["references.bib"],
        "https://doi.org/10.1/2": ["references.bib"],
    }


@pytest.fixture
def server():
    "Answers `/CODE` with that code; `/only-get` refuses HEAD; `/late` fails twice first."
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append((self.command, self.path))
            code = {"/only-get": 200 if self.command == "GET" else 405, "/late": 503 if len(seen) < 4 else 200}.get(self.path)
            self.send_response(code or int(self.path[1:]))
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.mark.parametrize(
    "path, expected", [("/200", ""), ("/404", "404 Not Found"), ("/403", "(403 Forbidden)"), ("/only-get", ""), ("/late", "")]
)
def test_answers(server, path, expected):
    address, _ = server
    assert external_links.answer(address + path, pause_s=0) == expected


def test_gone_is_asked_once_and_silence_thrice(server):
    address, seen = server
    external_links.answer(address + "/404", pause_s=0)
    assert len(seen) == 2
    external_links.answer(address + "/500", pause_s=0)
    assert len(seen) == 2 + 6
    assert external_links.answer("http://127.0.0.1:1/", pause_s=0) != ""

"""Chromium without a window, steered over its DevTools protocol: enough of it to use a page as a reader does."""
import base64
import contextlib
import functools
import hashlib
import http.server
import itertools
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import websocket

from conftest import CHROMIUM, ROOT
from project import write

WAIT_S = 60
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage"]
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""), "ArrowLeft": (37, ""), "Home": (36, ""), "End": (35, ""), "Tab": (9, ""), "/": (191, "/")}


# Before axe looks: what a page repeats thousands of times is left standing once. Code keeps one token of each color in
# each surrounding, and of formulas and figures, which axe takes as one thing each, the insides go.
THIN = """
(() => {
  const seen = new Set();
  for (const token of document.querySelectorAll('pre code span')) {
    const kind = token.className + ' in ' + token.closest('.callout, .cell-output, .tab, article').className;
    if (seen.has(kind)) token.replaceWith(...token.childNodes);
    seen.add(kind);
  }
  document.querySelectorAll('.katex-html').forEach((formula, n) => { if (n) formula.replaceChildren(); });
  document.querySelectorAll('svg[role=img]').forEach(figure => figure.replaceChildren());
})()
"""


def until(condition, what: str):
    "Wait for a true value of `condition()` and return it."
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.03)
    raise AssertionError(f"waited {WAIT_S} s in vain: {what}")


class Browser:
    "One tab. `complaints` collects console errors, exceptions, failed and foreign requests since the last `go`."

    def __init__(self, program: str):
        self.origin, self.complaints, self.requested = "about:", [], []
        self.profile = tempfile.mkdtemp()
        flags = [*FLAGS, "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={self.profile}"]
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = Path(self.profile) / "DevToolsActivePort"
        port = until(lambda: port_file.is_file() and port_file.read_text().split()[:1], "Chromium's port")[0]
        self.socket = websocket.create_connection(self.tab(port)["webSocketDebuggerUrl"], timeout=WAIT_S)
        self.numbers = itertools.count(1)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def tab(self, port: str) -> dict:
        def first():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                return [tab for tab in json.load(answer) if tab["type"] == "page"][:1]

        return until(first, "a tab")[0]

    def call(self, method: str, **parameters) -> dict:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.note(message["method"], message["params"])

    def note(self, event: str, told: dict) -> None:
        if event == "Network.requestWillBeSent":
            url = told["request"]["url"]
            self.requested.append(url)
            if not url.startswith((self.origin, "data:", "about:")):
                self.complaints.append(f"requests {url}")
        elif event == "Network.responseReceived" and told["response"]["status"] >= 400:
            self.complaints.append(f"{told['response']['status']} for {told['response']['url']}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["text"])
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def run(self, script: str):
        "The value of a JavaScript expression; promises are awaited."
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def go(self, address: str) -> None:
        self.complaints.clear()
        self.requested.clear()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=self.origin + address)
        until(lambda: self.run(f"location.href.startsWith({self.origin!r}) && document.readyState === 'complete'"), address)
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def faults(self, axe: str, rules: str) -> list:
        "What axe-core finds on the page: `[rule, the first element that breaks it, what to do]`."
        self.run(THIN)
        if not self.run("typeof axe !== 'undefined'"):
            self.run(axe + ";0")
        found = f"axe.run(document, {{resultTypes: ['violations'], {rules}}}).then(found => found.violations"
        return self.run(found + ".map(fault => [fault.id, fault.nodes[0].html, fault.nodes[0].failureSummary]))")

    def window(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name: str) -> None:
        "What the reader's system prefers, light or dark."
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def press(self, key: str) -> None:
        code, text = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if kind == "keyDown" and text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(WAIT_S)
        shutil.rmtree(self.profile, ignore_errors=True)


# What all tests in a browser share: they run in one process, one after the other.
WCAG = "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']"  # 2.1, level AA
CONTRAST = "runOnly: ['color-contrast']"  # of these, what depends on the theme
AXE = "4.10.2"
AXE_INTEGRITY = "sha512-RE3mdQ7P3FRSe7eqCWoeQ/Z9QXrtniSjp1wUjt5nRC3WIpz5rSCve6o3fsZ2aCpJtrZjSZgjwXAoTO5k4tEI0w=="


@pytest.fixture(scope="session")
def tab():
    "The one Chromium of all tests; `origin` says which site it is at."
    browser = Browser(CHROMIUM)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    "The accessibility checker axe-core, from npm, kept beside the other caches."
    kept = ROOT / "_executed" / "cache" / f"axe-core-{AXE}" / "package.tgz"
    if not kept.is_file():
        folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
        packed = npm and subprocess.run([npm, "pack", f"axe-core@{AXE}", "--ignore-scripts"], cwd=folder, capture_output=True)
        archive = folder / f"axe-core-{AXE}.tgz"
        if not packed or packed.returncode or not archive.is_file():
            pytest.skip(f"axe-core {AXE} can't be had from npm here")
        write(kept, archive.read_bytes())
    digest = base64.b64encode(hashlib.sha512(kept.read_bytes()).digest()).decode()
    assert f"sha512-{digest}" == AXE_INTEGRITY, f"{kept} is not the pinned package; delete it"
    with tarfile.open(kept) as package:
        return package.extractfile("package/axe.min.js").read().decode()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path):
    "The address at which a folder is served meanwhile."
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()

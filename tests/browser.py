"""Chromium without a window, steered over its DevTools protocol: enough of it to use a page as a reader does."""
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

WAIT_S = 20
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage"]
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""), "Tab": (9, ""), "/": (191, "/")}


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

    def __init__(self, program: str, origin: str):
        self.origin, self.complaints, self.requested = origin, [], []
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

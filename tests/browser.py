"""A real browser for tests: headless Chromium, driven over the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from websockets.sync.client import connect

BINARIES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE = 30.0  # seconds until a wait gives up
KEYS = {
    "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "1": 49, "2": 50, "u": 85,
}  # fmt: skip


def binary():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BINARIES)), None)


class Browser:
    """One Chromium process; its pages share nothing with each other."""

    def __init__(self, profile: Path):
        command = [binary(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and port_file.read_text().count("\n"), "the browser to start")
        port, path = port_file.read_text().splitlines()[:2]
        self._open = ExitStack()
        opened = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None, compression=None)
        self._socket = self._open.enter_context(opened)
        self._last = 0
        self.events = []  # (session, method, params)

    def call(self, method, session=None, **params):
        """Send a command and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if "method" in answer:
                self.events.append((answer.get("sessionId"), answer["method"], answer["params"]))

    def page(self, **size):
        """Open an empty page with a profile of its own; `width`, `height` in pixels."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, context, session, **size)

    def close(self):
        """End the process."""
        self.call("Browser.close")
        self._process.wait(PATIENCE)
        self._open.close()


class Page:
    """One page."""

    def __init__(self, browser, context, session, *, width=1280, height=800):
        self._browser, self._context, self._session = browser, context, session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method, **params):
        """Send a command to this page and return its result."""
        return self._browser.call(method, self._session, **params)

    def resize(self, width, height, *, phone=False):
        """Set the size of the window, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name):
        """Prefer "light" or "dark"."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, url):
        """Go to an address and wait until it is loaded."""
        problem = self.call("Page.navigate", url=url).get("errorText")
        assert not problem, f"{url}: {problem}"
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self):
        """Load the page again and wait until the new document, not the old one, is loaded."""
        self.js("document.isOld = true")
        self.call("Page.reload")
        self.wait("document.readyState === 'complete' && !document.isOld")

    def js(self, expression):
        """The value of a JavaScript expression, a promise's when it is settled."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector):
        """What an element says, as it is seen."""
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def wait(self, expression):
        """Wait until a JavaScript expression is true."""
        wait_until(lambda: self.js(f"Boolean({expression})"), expression)

    def click(self, selector, *, count=1):
        """Click the middle of an element with the mouse; `count` 2 is a double click."""
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.js(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call(
                    "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=number
                )  # fmt: skip

    def press(self, key):
        """Press and release one key, by its DOM name."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        named = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text):
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path, *, whole=False):
        """Write a PNG of what is seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def events(self, method):
        """The parameters of all events of a kind so far."""
        self.js("0")  # reads what has arrived
        return [params for session, name, params in self._browser.events if session == self._session and name == method]

    def requested(self):
        """Every address that was asked for."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def complaints(self):
        """Errors and warnings of the console, and exceptions that nobody caught."""
        entries = [event["entry"] for event in self.events("Log.entryAdded")]
        logged = [entry["text"] for entry in entries if entry["level"] in ("error", "warning")]
        calls = [event["args"] for event in self.events("Runtime.consoleAPICalled")]
        return logged + calls + self.events("Runtime.exceptionThrown")

    def close(self):
        """Close the page and forget its profile; twice is harmless."""
        if self._context is not None:
            self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)
            self._context = None


def wait_until(condition, what):
    """Wait until a function returns something true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.02)

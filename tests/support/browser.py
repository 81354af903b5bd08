"""The Dagster UI in a real browser: a headless Chromium, driven by its DevTools protocol.

What is read and clicked is found by its text, as a person finds it. For tests and for the README's pictures
(`docs.screenshots`). Not here: how the UI is served (`ui`), and what is looked for.
"""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.sync.client import ClientConnection, connect

from benchmarks.web import kill, wait_for
from sigma_dagster.orchestration import webserver

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Only this machine is asked for anything.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)
SECONDS = 60
#: Until the UI has come to rest, when what was waited for is there.
SECONDS_TO_SETTLE = 2
#: The visible elements with a text, the smallest of those within each other: the middle of one of them.
FIND = """((text, which) => {
    const says = e => e.offsetParent && e.textContent.trim() === text;
    const found = [...document.querySelectorAll('body *')].filter(e => says(e) && ![...e.children].some(says));
    const box = found.at(which)?.getBoundingClientRect();
    return box ? {x: box.x + box.width / 2, y: box.y + box.height / 2} : null;
})"""
ALT = 1


class Page:
    """A page of the browser, in which the UI is shown."""

    def __init__(self, connection: ClientConnection, ui: str):
        self._connection = connection
        self._ui = ui
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def open(self, path: str, width: int, height: int, until: str) -> None:
        """Open a page of the UI in a window of this size, and wait until a text is seen."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=self._ui + path)
        self.see(until)

    def see(self, text: str) -> None:
        """Wait until an element has this text, and the page has come to rest."""
        wait_for(lambda: self._find(text), SECONDS, f"the page shows {text!r}")
        time.sleep(SECONDS_TO_SETTLE)

    def click(self, text: str, which: int = -1) -> None:
        """Click the element with this text; of several, the last, which is on top."""
        self.see(text)
        at = self._find(text, which)
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
        time.sleep(SECONDS_TO_SETTLE)

    def press_alt(self, letter: str) -> None:
        """Press a letter with the Alt key."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, modifiers=ALT, code=f"Key{letter}", key=letter.lower())
        time.sleep(SECONDS_TO_SETTLE)

    def type(self, text: str) -> None:
        """Type a text into the editor of the page."""
        self._evaluate("document.querySelector('.CodeMirror textarea').focus()")
        self._call("Input.insertText", text=text)
        time.sleep(SECONDS_TO_SETTLE)

    def png(self) -> bytes:
        """What the window shows."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def text(self) -> str:
        """All that the page shows in words."""
        return str(self._evaluate("document.body.innerText"))

    def watch(self) -> None:
        """From now on, keep what the page asks for and what it complains about."""
        for domain in ("Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def requests(self) -> list[str]:
        """The addresses that the page asked for since it is watched."""
        return [one["params"]["request"]["url"] for one in self._told("Network.requestWillBeSent")]

    def complaints(self) -> list[Any]:
        """What the console shows since the page is watched: errors, warnings, exceptions."""
        return [
            *self._told("Log.entryAdded"),
            *self._told("Runtime.exceptionThrown"),
            *self._told("Runtime.consoleAPICalled"),
        ]

    def look(self, *, width: int, scheme: str = "light") -> None:
        """Show the page in a window of this width to a person who likes it `light` or `dark`."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def style(self, name: str) -> str:
        """A style of the page's body, as it is shown."""
        return str(self._evaluate(f"getComputedStyle(document.body).getPropertyValue('{name}')"))

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self._evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self._call("Page.printToPDF")["data"])

    def _told(self, method: str) -> list[dict[str, Any]]:
        self._evaluate("0")  # whatever was sent before the answer is read with it
        return [one for one in self._events if one.get("method") == method]

    def _find(self, text: str, which: int = -1) -> Any:
        return self._evaluate(f"{FIND}({json.dumps(text)}, {which})")

    def _evaluate(self, script: str) -> Any:
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(SECONDS))).get("id") != self._number:
            self._events.append(answer)
        return answer["result"]


def find_browser() -> str | None:
    """Where Chromium is installed; None if it is not."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def opened(browser: str, ui: str) -> Iterator[Page]:
    """An empty page of a browser that remembers nothing."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own command
        try:
            with connect(_address(Path(profile)), max_size=None) as connection:
                yield Page(connection, ui)
        finally:
            kill(process)


def _address(profile: Path) -> str:
    """Where the browser's page is driven; the browser writes its port into its profile."""
    file = profile / "DevToolsActivePort"
    wait_for(lambda: file.exists() and file.read_text(), SECONDS, "the browser is up")
    port = file.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://{webserver.HOST}:{port}/json/list", timeout=SECONDS) as answer:
        return str(next(target for target in json.load(answer) if target["type"] == "page")["webSocketDebuggerUrl"])

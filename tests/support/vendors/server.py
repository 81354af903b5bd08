"""A local HTTP server that plays a vendor: it writes down what it is asked, and answers as it is told.

What a vendor's answers look like stands in the sibling modules, each with its SCENARIOS. Real sockets, real threads,
port 0.
"""

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

LONG = 3.0  # seconds that a stalled answer takes

#: The key of all vendors, with whatever an address has to encode.
KEY = "K3Y/THAT+NOBODY=SEES"


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Reply:
    """One answer; `fault` is `stall`, `reset` or `short` (the connection ends in the middle of the body)."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Scenario:
    """An answer to each request of a fetch, or to the first one only, and how the fetch has to end."""

    reply: Reply
    error: type[Exception] | None = None  # None: the next answer is the one that counts
    message: str = ""  # an expression for the error's text


def passing(replies: Mapping[str, Reply]) -> dict[str, Scenario]:
    """Answers that are asked about again."""
    return {name: Scenario(reply) for name, reply in replies.items()}


def refused(error: type[Exception], message: str, replies: Mapping[str, Reply]) -> dict[str, Scenario]:
    """Answers that end a fetch with the same error."""
    return {name: Scenario(reply, error, message) for name, reply in replies.items()}


def faults(*names: str) -> dict[str, Reply]:
    """Some of FAULTS."""
    return {name: FAULTS[name] for name in names}


def told(value: Any, status: int = 200, kind: str = "application/json") -> Reply:
    """Answer a value as JSON."""
    return Reply(status, json.dumps(value).encode(), kind)


PAGE = "<html><body>We will be right back</body></html>"
FAULTS = {
    "500": Reply(500, PAGE.encode(), "text/html"),
    "503": Reply(503, PAGE.encode(), "text/html"),
    "html": Reply(200, PAGE.encode(), "text/html"),
    "empty": Reply(),
    "truncated": Reply(200, b'{"Meta Data": {"1. Inf'),
    "short": Reply(200, b'{"Meta Data": {"1. Inf', fault="short"),
    "nested": Reply(200, b"[" * 5000),  # deeper than Python's reader goes
    "null": told(None),
    "{}": told({}),
    "[]": told([]),
    "stall": Reply(fault="stall"),
    "reset": Reply(fault="reset"),
    "redirect": Reply(302, b"", headers=(("Location", "http://127.0.0.1:9/elsewhere"),)),
}


class Vendor:
    """A vendor's server; `with Vendor() as vendor:` starts and stops it."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        self._once: dict[str, deque[Reply]] = {}
        self._always: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._server = _Server((host, port), _Handler)
        self._server.vendor = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return "http://{}:{}".format(*self._server.server_address)

    def say(self, symbol: str, *replies: Reply, always: Reply | None = None) -> None:
        """Answer requests for a symbol (`*`: for any) with these, one each, and then with `always`, if given."""
        with self._lock:
            self._once.setdefault(symbol, deque()).extend(replies)
            if always:
                self._always[symbol] = always

    def hush(self) -> None:
        """Forget what was told to be said, and what was asked."""
        with self._lock:
            self._once.clear()
            self._always.clear()
            self.asked.clear()

    def reply(self, asked: Asked) -> Reply:
        """Answer a request; in order of arrival."""
        with self._lock:
            self.asked.append(asked)
            for symbol in (self.symbol(asked), "*"):
                if self._once.get(symbol):
                    return self._once[symbol].popleft()
                if symbol in self._always:
                    return self._always[symbol]
            return self.answer(asked)

    def symbol(self, asked: Asked) -> str:
        """The symbol that a request is about, as the vendor writes it."""
        raise NotImplementedError

    def answer(self, asked: Asked) -> Reply:
        """What the vendor answers when nothing else is told."""
        raise NotImplementedError

    def wait(self) -> None:
        """Serve until the process ends."""
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    vendor: Vendor

    def handle_error(self, *_: object) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        reply = self.server.vendor.reply(Asked(parts.path, dict(parse_qsl(parts.query)), dict(self.headers.items())))
        if reply.fault == "reset":
            # Nothing lingers: the client sees a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if reply.fault == "stall":
            time.sleep(LONG)
        with suppress(OSError):
            self._send(reply)

    do_POST = do_GET  # noqa: N815 - the name that is looked for

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body) + (100 if reply.fault == "short" else 0)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.fault == "short":
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
        """Nothing is printed."""

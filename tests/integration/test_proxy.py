"""deploy/nginx.conf by a real nginx before a real web server: who has no password sees nothing."""

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest

from benchmarks import web
from tests.support.certificate import make_certificate
from tests.support.home import ROOT, Home

pytestmark = pytest.mark.daemon

NAME = "risk.example.com"
LOGIN = "Basic " + base64.b64encode(b"ann:pass word").decode()
#: The settings of the test in the place of the page's.
ADDRESSES = ("listen 443 ssl", "http://127.0.0.1:3000")


@contextmanager
def proxy(folder: Path, ui_port: int) -> Iterator[int]:
    """Run nginx with the file of the project, on free ports and with a certificate of its own; gives its port."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is missing: install Debian's package nginx-light, or another with nginx")
    port = web.free_port()
    make_certificate(folder, NAME)
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "pass word"],  # noqa: S607 - whichever is installed
        check=True,
        capture_output=True,
        text=True,
    )
    (folder / "users").write_text(f"ann:{hashed.stdout}")
    (folder / "users").chmod(0o644)
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for given, here in zip(ADDRESSES, (f"listen 127.0.0.1:{port} ssl", f"http://127.0.0.1:{ui_port}"), strict=True):
        assert given in text
        text = text.replace(given, here)
    (folder / "nginx.conf").write_text(f"user root;\npid {folder}/pid;\nerror_log {folder}/error.log;\n{text}")
    process = subprocess.Popen([nginx, "-c", folder / "nginx.conf", "-g", "daemon off;"], stderr=subprocess.PIPE)  # noqa: S603 - a server of ours
    try:
        _wait_until_up(process, port)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(100):
        assert process.poll() is None, process.communicate()[1]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("nginx did not start")


def ask(folder: Path, port: int, path: str = "/", body: str | None = None, **headers: str) -> tuple[int, bytes]:
    """Ask as a browser does that reaches the proxy by its name."""
    with ask_open(folder, port, path, body, **headers) as answer:
        return answer.status, answer.read()


@contextmanager
def ask_open(folder: Path, port: int, path: str, body: str | None, **headers: str) -> Iterator[HTTPResponse]:
    """The same, with the answer still open."""
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    connection = HTTPSConnection(NAME, port, context=context, timeout=60)
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sock = context.wrap_socket(plain, server_hostname=NAME)
    connection.request("POST" if body else "GET", path, body, {"Host": NAME, **headers})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_the_proxy_asks_for_a_password_and_hands_the_ui_on(core_home: Home, tmp_path: Path) -> None:
    """Without a password nothing is shown; with it the page, a query by POST and the web socket work, and a page of
    somebody else may still change nothing."""
    environment = core_home.command()[1] | {"SIGMA_UI_HOSTS": NAME}
    port = web.free_port()
    query = json.dumps({"query": "{ version }"})
    socket_headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    content = {"Content-Type": "application/json"}
    with (
        web.webserver_alone(environment, port, tmp_path / "terminal"),
        proxy(tmp_path, port) as front,
    ):
        assert ask(tmp_path, front)[0] == 401
        assert ask(tmp_path, front, "/graphql", query, **content)[0] == 401
        status, page = ask(tmp_path, front, Authorization=LOGIN)
        assert (status, b'id="root"' in page) == (200, True), page[:2000]
        status, answer = ask(tmp_path, front, "/graphql", query, Authorization=LOGIN, **content)
        assert (status, "version" in json.loads(answer)["data"]) == (200, True)
        foreign = {"Origin": "https://evil.example.com", **content}
        assert ask(tmp_path, front, "/graphql", query, Authorization=LOGIN, **foreign)[0] == 403
        with ask_open(tmp_path, front, "/graphql", None, Authorization=LOGIN, **socket_headers) as opened:
            assert opened.status == 101

"""What the guard before the Dagster UI refuses, over real HTTP: foreign hosts and origins, mutations by GET."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from sigma_dagster.orchestration.guard import Guard

MUTATION = "/graphql?query=" + quote("mutation Launch { launchRun { __typename } }")
QUERY = "/graphql?query=" + quote("query { version }")


@contextmanager
def served(*hosts: str) -> Iterator[int]:
    """A server with the guard before an application that answers everything; gives its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(Guard(PlainTextResponse("inside"), hosts), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as number:
        yield number


def answer(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str]:
    """Send a request as it stands; `{port}` in a header is the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={name: value.format(port=port) for name, value in headers.items()})
        got = connection.getresponse()
        return got.status, got.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}"])
def test_this_machine_is_answered(port: int, host: str) -> None:
    """Whatever the loopback is called, the UI's own page included."""
    assert answer(port, Host=host) == (200, "inside")
    assert answer(port, "/graphql", "POST", Host=host, Origin=f"http://{host}") == (200, "inside")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:{port}", "evil.example#localhost", "", "[::1"]
)
def test_a_foreign_host_is_refused(port: int, host: str) -> None:
    """A name of somebody else's that points to the loopback (DNS rebinding) reaches nothing."""
    status, said = answer(port, Host=host)
    assert (status, said.startswith("Host ")) == (403, True) or status == 400
    assert "inside" not in said


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example:{port}", "file://"]
)
def test_a_foreign_page_is_refused(port: int, origin: str) -> None:
    """What a browser sends for another page carries that page's origin: another port is another program."""
    for method in ("GET", "POST"):
        status, said = answer(port, "/graphql", method, Origin=origin)
        assert (status, said.split()[0]) == (403, "Origin")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_mutation_is_taken_by_post_alone(port: int, method: str) -> None:
    """An image's address needs no origin: by GET nothing is changed, while questions are answered."""
    assert answer(port, MUTATION, method)[0] == 403
    assert answer(port, QUERY, method)[0] == 200
    assert answer(port, MUTATION, "POST")[0] == 200


def test_a_mutation_among_queries_is_found(port: int) -> None:
    """However it is written: named, after comments, beside a query."""
    text = "# query\nquery A { version }\n\nmutation B { launchRun { __typename } }"
    assert answer(port, "/graphql?operationName=B&query=" + quote(text))[0] == 403


def test_a_proxy_is_named() -> None:
    """Behind a proxy of yours: its name as host, or as origin where the proxy keeps the name to itself."""
    with served("risk.example") as port:
        assert answer(port, Host="risk.example", Origin="https://risk.example") == (200, "inside")
        assert answer(port, Host="127.0.0.1:{port}", Origin="https://risk.example") == (200, "inside")
        assert answer(port, Host="other.example")[0] == 403
        assert answer(port, Host="risk.example", Origin="https://other.example")[0] == 403

"""What the Dagster UI's web server refuses: requests that a page of somebody else's makes a browser send.

Dagster's server has no login and answers whoever reaches it. On the loopback that is every program of this machine,
a browser among them: a foreign page may send requests to 127.0.0.1, or have its own name point there.
"""

from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from graphql import GraphQLSyntaxError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: Names of this machine that no name server can give to another.
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_POLICY_VIOLATION = 1008  # of a websocket, RFC 6455


class Guard:
    """An ASGI application before another: refuses foreign hosts and origins, and mutations by GET.

    `hosts` are further names by which a browser may reach the server, through a proxy before it.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: 403 and the reason, or what the application says."""
        reason = "" if scope["type"] == "lifespan" else self._refusal(scope)
        if not reason:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason[:100]})
        else:
            await PlainTextResponse(f"{reason}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = ", ".join(headers.getlist("host"))
        if _hostname(host) not in LOOPBACK | self._hosts:
            return f"Host {host!r} is refused: name it in SIGMA_UI_HOSTS if it is a proxy of yours"
        for origin in headers.getlist("origin"):
            if not self._is_own(origin, host):
                return f"Origin {origin!r} is refused: it is not the page of {host}"
        if scope["type"] == "http" and scope["method"] != "POST" and _mutates(scope["query_string"]):
            return "A mutation is refused unless it is sent by POST"
        return ""

    def _is_own(self, origin: str, host: str) -> bool:
        """Say whether a page is the UI's own. Another port of this machine is another program's."""
        return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower()) or (
            _hostname(origin.partition("://")[2]) in self._hosts
        )


def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _mutates(query_string: bytes) -> bool:
    """Say whether a query in the URL changes something; what cannot be read is left to the server to refuse."""
    for text in parse_qs(query_string.decode("latin-1")).get("query", ()):
        try:
            definitions = parse(text).definitions
        except GraphQLSyntaxError:
            continue
        operations = (one for one in definitions if isinstance(one, OperationDefinitionNode))
        if any(one.operation == OperationType.MUTATION for one in operations):
            return True
    return False

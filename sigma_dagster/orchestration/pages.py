"""The pages that the server of the Dagster UI gives beside its own: `/report/NAME`, a portfolio's risk.

Not here: what is refused before that (`guard`), and how a page is made (`sigma_dagster.analysis.report`).
"""

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from assets.portfolio_report import address

_FOLDER = address("")


class Pages:
    """An ASGI application before another: answers for reports itself.

    `make` gives a portfolio's page, or raises LookupError.
    """

    def __init__(self, app: ASGIApp, make: Callable[[str], str]) -> None:
        self._app = app
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith(_FOLDER):
            response = await run_in_threadpool(self._answer, scope["path"].removeprefix(_FOLDER))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, name: str) -> Response:
        try:
            return HTMLResponse(self._make(name))
        except LookupError as error:
            return PlainTextResponse(f"{error.args[0]}\n", status_code=404)

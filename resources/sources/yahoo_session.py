"""The session that yfinance is given: it waits for its turn, can speak to another address, and keeps the answer.

Imported with the first fetch: curl_cffi is part of the extra `[yahoo]`.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from curl_cffi import requests

from resources.sources.base import QuotaSpentError
from resources.sources.meter import Limit, Meter, attempt
from resources.sources.options import SourceOptions

_CHART = "/v8/finance/chart/"
_CRUMB_REFUSED = 401


class _AnsweredError(Exception):
    """Ends yfinance's request: the answer is known, and asking again in another way is not polite."""


class YahooSession(requests.Session):  # type: ignore[type-arg]
    """As yfinance makes it, except for what the module says."""

    def __init__(self, options: SourceOptions, meter: Meter, account: str, limits: Sequence[Limit]) -> None:
        super().__init__(impersonate="chrome")
        self.answer: tuple[int, bytes] | None = None
        self.failure: Exception | None = None
        self._options = options
        self._meter = meter
        self._turn = (account, [Limit(one.requests, one.seconds * options.pace, one.rule) for one in limits])

    def request(self, method: Any, url: str, *arguments: Any, **more: Any) -> Any:
        """Make one request in turn; an answer about prices is kept."""
        account, limits = self._turn
        more["timeout"] = self._options.timeout
        try:
            with attempt(self._meter, account, account, limits):
                response = super().request(method, self._address(url), *arguments, **more)
        except QuotaSpentError as error:
            self.failure = error
            raise
        if _CHART in url:
            self.answer = response.status_code, response.content
            if response.status_code >= 400 and response.status_code != _CRUMB_REFUSED:
                raise _AnsweredError
        return response

    def _address(self, url: str) -> str:
        base = self._options.yahoo_url
        return urlunsplit((*urlsplit(base)[:2], *urlsplit(url)[2:])) if base else url

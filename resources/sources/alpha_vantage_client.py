"""The package `alpha-vantage` with its one request method replaced: our session, address, pace and errors.

Imported when the first request is made: the package imports pandas. Not here: which requests to make
(`alpha_vantage`), and what an answer means (`alpha_vantage_answers`).
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from alpha_vantage.fundamentaldata import FundamentalData
from alpha_vantage.timeseries import TimeSeries

from resources.sources.alpha_vantage_answers import EVENTS, SERIES, payload
from resources.sources.http import Client
from resources.sources.meter import Limit


class AlphaVantageClient(TimeSeries, FundamentalData):  # type: ignore[misc]
    """Both of the package's classes that are needed; `limits` may be changed between requests."""

    def __init__(self, http: Client, url: str, key: str, limits: Sequence[Limit]) -> None:
        # The package never learns the key: it would put it into addresses and show it among its attributes.
        super().__init__(key="not-told", output_format="json")
        self._http = http
        self._url = url
        self._secret = key
        self.limits = limits

    def _handle_api_call(self, url: str) -> dict[str, Any]:
        """Make the request that the package has put together as an address."""
        parameters = parse_qsl(urlsplit(url).query)
        names = [name for name, _ in parameters]
        if len(set(names)) < len(names):
            raise ValueError(f"the request names a parameter twice: {', '.join(sorted(names))}")
        told = dict(parameters)
        asked = SERIES if told.get("function", "").startswith("TIME_SERIES") else EVENTS
        return self._http.get(
            self._url,
            lambda response: payload(response, asked),
            limits=self.limits,
            params=told | {"apikey": self._secret},
        )

"""GET requests to a provider: a turn of the meter, a time-out, retries of what passes, and no secret in what comes out.

Not here: what an answer means. Each source judges its own answers, and raises `TransientError` for one that is worth
asking for again.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests
import tenacity
from requests.auth import AuthBase

from resources.sources.base import SourceUnavailableError
from resources.sources.meter import Limit, attempt
from resources.sources.options import SourceOptions

Answer = TypeVar("Answer")

ATTEMPTS = 4
_CONNECT = 5.0  # seconds
_HIDDEN = "***"
_KEY_IN_TEXT = re.compile(r"(apikey=|token=|Token |API key as )[^&\s\"']+", re.IGNORECASE)


class TransientError(Exception):
    """An answer that is worth asking for again, after `wait` seconds or more."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem, wait)
        self.problem = problem
        self.wait = wait

    def __str__(self) -> str:
        return self.problem


def redact(text: str, secret: str) -> str:
    """Take a secret out of a text, and whatever stands where a key would stand."""
    for form in filter(None, {secret, quote(secret, safe="")}):
        text = text.replace(form, _HIDDEN)
    return _KEY_IN_TEXT.sub(rf"\1{_HIDDEN}", text)


def read_json(content: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Read JSON; `pairs` makes the value of an object's names and values. Raises ValueError for whatever is none."""
    try:
        return json.loads(content, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("nested too deep") from None


class Client:
    """Makes the requests of one source."""

    def __init__(self, source: str, title: str, secret: str, account: str, options: SourceOptions) -> None:
        self.attempts = 0
        self._source = source
        self._title = title
        self._account = account
        self._meter = options.meter_for(source)
        self._pace = options.pace
        self._timeout = options.timeout
        self._session = requests.Session()
        # The connection pool logs each address at DEBUG, and a key may be part of it.
        logging.getLogger("urllib3.connectionpool").addFilter(_Redaction(secret))

    def get(
        self,
        url: str,
        judge: Callable[[requests.Response], Answer],
        *,
        limits: Sequence[Limit],
        params: Mapping[str, str],
        auth: AuthBase | None = None,
    ) -> Answer:
        """Ask until an answer is no longer transient, and give what `judge` makes of it.

        Raises:
            SourceUnavailableError: the last of `ATTEMPTS` answers was still transient.
            QuotaSpentError: the meter gives no turn; and what `judge` raises.
        """
        jitter = tenacity.wait_exponential_jitter(max=30, multiplier=1.2)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(jitter(state), getattr(error, "wait", 0.0)) * self._pace

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=pause,
            retry=tenacity.retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return retrying(lambda: judge(self._ask(url, limits, params, auth)))
        except TransientError as error:
            problem = error.problem
        # Outside of the handler: nothing hangs on this error that could say more than it does.
        raise SourceUnavailableError(f"{self._title} {problem}, {ATTEMPTS} times; ask again later")

    def _ask(
        self, url: str, limits: Sequence[Limit], params: Mapping[str, str], auth: AuthBase | None
    ) -> requests.Response:
        paced = [Limit(limit.requests, limit.seconds * self._pace, limit.rule) for limit in limits]
        failure: type[requests.RequestException] | None = None
        with attempt(self._meter, self._source, self._account, paced):
            self.attempts += 1
            try:
                response = self._session.get(
                    url, params=params, auth=auth, timeout=(_CONNECT, self._timeout), allow_redirects=False
                )
            except requests.RequestException as error:
                failure = type(error)
        if failure:
            raise self._unreachable(failure)
        if response.is_redirect:
            raise SourceUnavailableError(
                f"{self._title} sends to another address, which is not followed; check its URL setting"
            )
        if response.status_code >= 500:
            raise TransientError(f"answered with status {response.status_code}")
        return response

    def _unreachable(self, failure: type[requests.RequestException]) -> Exception:
        # By kind, never by text: the text of these errors has the address in it, and so the key.
        if issubclass(failure, requests.Timeout):
            return TransientError(f"did not answer within {self._timeout:g} seconds")
        if issubclass(failure, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
            return TransientError("could not be reached, or broke off the connection")
        return SourceUnavailableError(f"{self._title} cannot be asked ({failure.__name__}); check its URL setting")


class _Redaction(logging.Filter):
    """Takes a secret out of log records."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage(), self._secret), ()
        return True

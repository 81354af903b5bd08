"""How often a provider may be asked: limits, and the protocols of what counts attempts and keeps notes.

The counting and the notes are shared by every process that works with one database, and outlive them; they are kept
in `resources.database.quota`. A source knows these protocols only.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from resources.sources.base import QuotaSpentError

#: Seconds that a request waits for its turn; a limit that makes it wait longer is a quota that is spent.
PATIENCE = 90.0


@dataclass(frozen=True)
class Limit:
    """At most `requests` attempts in any `seconds`."""

    requests: int
    seconds: float
    rule: str
    """The limit in words, such as `25 requests a day`."""


class Turn(NamedTuple):
    """The answer to a request for a turn: a ticket, or how long to wait and why."""

    ticket: int | None
    wait: float  # seconds; 0 with a ticket
    until: datetime
    rule: str


class Meter(Protocol):
    """Counts the attempts at a provider, failed ones included, for all processes together."""

    def begin(self, account: str, limits: Sequence[Limit]) -> Turn:
        """Count an attempt that begins now and give its ticket, or count nothing and say how long to wait."""

    def end(self, ticket: int) -> None:
        """Say that the attempt is over; until then it counts as being made now."""

    def close(self, account: str, seconds: float, rule: str) -> datetime:
        """Give no more turns for so many seconds: the provider says that its quota is spent. Returns the end."""

    def used(self, account: str, seconds: float) -> int:
        """Count the attempts that began in the last `seconds`."""

    def note(self, account: str, name: str) -> str | None:
        """Give what was noted under a name, None if nothing was."""

    def set_note(self, account: str, name: str, text: str) -> None:
        """Note a text under a name, instead of what stands there."""


@contextmanager
def attempt(meter: Meter, source: str, account: str, limits: Sequence[Limit]) -> Iterator[None]:
    """Wait for a turn and hold it for the block, which makes one attempt at the provider.

    Raises:
        QuotaSpentError: the turn would come in more than `PATIENCE` seconds.
    """
    while (turn := meter.begin(account, limits)).ticket is None:
        if turn.wait > PATIENCE:
            raise QuotaSpentError(source, turn.until, turn.rule)
        time.sleep(turn.wait)
    try:
        yield
    finally:
        meter.end(turn.ticket)

"""What a price source is told when it is made: keys, addresses, folders, and the meter of its requests.

Plain values, read from the environment by `sigma_dagster.settings` alone. A source of somebody else's gets the same
object, and reads its own settings itself.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from resources.sources.base import SourceSettingError
from resources.sources.meter import Meter


@dataclass(frozen=True)
class SourceOptions:
    """The options of all sources; a key appears in no representation."""

    cache: Path | None = None  # a folder for files that may be deleted at any time
    meter: Meter | None = field(default=None, repr=False)
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    pace: float = 1.0  # every pause is so many times as long; tests are quicker
    timeout: float = 30.0  # seconds to wait for an answer
    alpha_vantage_key: str = field(default="", repr=False)
    alpha_vantage_url: str = "https://www.alphavantage.co/query"
    alpha_vantage_plan: str = "auto"
    tiingo_key: str = field(default="", repr=False)
    tiingo_url: str = "https://api.tiingo.com"
    yahoo_url: str = ""  # empty: Yahoo's own hosts
    price_files: Path | None = None

    def meter_for(self, source: str) -> Meter:
        """Give the meter; raises SourceSettingError without one."""
        if self.meter is None:
            raise SourceSettingError(source, "it needs a database that counts its requests")
        return self.meter


def account(source: str, key: str) -> str:
    """Name the account of a key: the source and a mark that tells two keys apart without saying either."""
    return f"{source} {hashlib.sha256(key.encode()).hexdigest()[:8]}"

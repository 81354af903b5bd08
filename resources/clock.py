"""The clock of runs and plans: which session is complete, and what time it is. A replay stops it at a session."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from resources import calendar


@dataclass(frozen=True)
class Clock:
    """The market's clock."""

    as_of: date | None = None  # the session that is the last completed one in a replay

    def now(self) -> datetime:
        """The time, with its zone."""
        return datetime.now(UTC)

    def today(self) -> date:
        """The date in New York, in a replay too."""
        return self.now().astimezone(calendar.NEW_YORK).date()

    def completed(self) -> date:
        """The last completed session."""
        newest = calendar.last_completed_session(self.now())
        return min(calendar.session_on_or_before(self.as_of), newest) if self.as_of else newest

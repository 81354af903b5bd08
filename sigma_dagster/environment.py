"""What every command works with: settings, database, price source, factor model, and the as-of session they imply."""

from dataclasses import dataclass
from datetime import date, datetime

from assets.factor_models import SAMPLE_5, FactorModel
from resources import calendar
from resources.database.engine import Database
from resources.sources.base import PriceSource
from resources.sources.registry import price_sources
from sigma_dagster.planner import target_sessions
from sigma_dagster.settings import Settings


class AsOfError(ValueError):
    """An as-of date that the price source or the settings do not reach."""


@dataclass(frozen=True)
class Environment:
    """The parts, made once a process."""

    settings: Settings
    database: Database
    source: PriceSource
    model: FactorModel

    @classmethod
    def of(cls, settings: Settings) -> "Environment":
        """Make the parts that the settings ask for; raises UnknownSourceError."""
        return cls(settings, Database(settings.database_url), price_sources(settings.price_sources), SAMPLE_5)

    def as_of(self, requested: date | None, now: datetime) -> date:
        """Give the as-of session: the last on or before the date asked for (argument, else SIGMA_AS_OF).

        Nothing asked for: the last completed session at `now`, or the source's last session if that is earlier.
        Raises AsOfError for a date after either.
        """
        completed = calendar.last_completed_session(now)
        latest = self.source.latest_session()
        newest = min(completed, latest) if latest else completed
        day = requested or self.settings.as_of or newest
        if day > newest:
            what = f"the last session of {self.source.title}" if newest == latest else "the last completed session"
            raise AsOfError(f"as-of date {day} is after {newest}, {what}")
        try:
            return calendar.session_on_or_before(day)
        except calendar.CalendarError as error:
            raise AsOfError(str(error)) from None

    def sessions(self, as_of: date) -> list[date]:
        """Give the target sessions up to the as-of session; raises NothingToPlanError."""
        return target_sessions(as_of, self.settings.start_date, self.settings.history_sessions)

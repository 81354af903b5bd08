"""What every command works with: settings, database, price source, factor model, and the as-of session they imply."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection

from assets import model_file
from assets.catalogue import ASSETS
from assets.factor_models import BUILT_IN, US_6, FactorModel
from assets.shared.block import Block
from resources import calendar
from resources.clock import Clock
from resources.database import home, symbols
from resources.database.engine import Database
from resources.database.portfolios import Portfolio
from resources.database.quota import DatabaseMeter
from resources.sources.base import Estimate, PriceSource, changed
from resources.sources.chain import estimates, members
from resources.sources.registry import live_sources, price_sources
from sigma_dagster.errors import BrokenHomeError
from sigma_dagster.planning import planner
from sigma_dagster.planning.planner import Force, WorkPlan, target_sessions
from sigma_dagster.settings import FIRST_START, Settings, SettingsError


class AsOfError(ValueError):
    """An as-of date that the price source or the settings do not reach."""


class LackingProxiesError(SettingsError):
    """The price sources do not have what the factor model needs; the message ends with lines to type."""

    def __init__(
        self, model: FactorModel, lacking: Sequence[str], source: PriceSource, remedies: Mapping[str, str]
    ) -> None:
        super().__init__(model, lacking, source, remedies)
        self.model = model
        self.lacking = lacking
        self.source = source
        self.remedies = remedies

    def __str__(self) -> str:
        what = f"factor model {self.model.name}: {self.source.title} has no prices of {', '.join(self.lacking)}"
        lines = (f"  {name:<14}  {line}" for name, line in self.remedies.items())
        return "\n".join([f"{what}. Add them, or type one of these, and the command again:", *lines])


def refuse_interrupted_restore(settings: Settings) -> None:
    """Raise BrokenHomeError for a home with some databases of a backup and some of its own."""
    if settings.restoring.exists():
        raise BrokenHomeError(f"{settings.home}: a restore was interrupted. Run it again: sigma db restore FILE")


@dataclass(frozen=True)
class Services:
    """The parts, made once a process."""

    settings: Settings
    database: Database
    source: PriceSource
    model: FactorModel

    @property
    def clock(self) -> Clock:
        """The market's clock; SIGMA_AS_OF stops it."""
        return Clock(self.settings.as_of)

    @classmethod
    def of(cls, settings: Settings) -> "Services":
        """Make the parts that the settings ask for; raises SourceSettingError, ModelFileError, BrokenHomeError."""
        refuse_interrupted_restore(settings)
        database = Database(settings.database_url)
        options = replace(settings.source_options, meter=DatabaseMeter(database))
        return cls(
            settings,
            database,
            price_sources(settings.price_sources, options),
            model_file.choose(settings.factor_model, settings.price_sources),
        )

    def check_proxies(self) -> None:
        """Refuse a model that the price source cannot feed, before anything is bought; raises LackingProxiesError.

        A source that cannot list its symbols is believed to have them.
        """
        known = self.source.symbols()
        lacking = [] if known is None else [symbol for symbol in self.model.proxies if symbol not in known]
        if lacking:
            own = self.settings.price_sources
            remedies = _smaller_models(known or ()) | live_sources(() if own == ("sample",) else own)
            raise LackingProxiesError(self.model, lacking, self.source, remedies)

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

    def plan(
        self,
        portfolios: Sequence[Portfolio],
        as_of: date,
        *,
        force: Force = Force(),
        watched: Sequence[str] = (),
        completed: date | None = None,
        tried: Collection[str] = (),
        now: datetime | None = None,
    ) -> WorkPlan:
        """Say what the portfolios (and the watched symbols) lack, as of a session; raises NothingToPlanError.

        By default the as-of session is the last completed one; for `tried` and `now` see `planner.plan`.
        """
        with self.database.read() as connection:
            return planner.plan(
                connection,
                portfolios,
                model=self.model,
                sessions=self.sessions(as_of),
                force=force,
                watched=watched,
                max_keys=self.settings.max_symbols_per_run,
                slots=self.settings.worker_slots,
                completed=completed,
                tried=tried,
                now=now,
            )

    def costs(self, todo: WorkPlan) -> dict[str, Estimate]:
        """Say what the fetching of a plan will cost, by the source that is asked first. Makes no request."""
        names = list(todo.fetch)
        if not names:
            return {}
        spans = (todo.wanted[asset.name].span(names) for asset in ASSETS if asset.look_back)
        first = min(span[0] for span in spans if span)
        with self.database.read() as connection:
            known = symbols.known(connection, names)
        stored = {name: was.source for name, was in known.items() if was.last_session}
        return estimates(self.source, names, first, stored)

    def blocks_again(self, names: Sequence[str], as_of: date, source: str = "") -> list[Block]:
        """Give the blocks that ask again for all that is stored of some symbols; see `planner.blocks_again`."""
        return planner.blocks_again(
            names,
            self.model.proxies,
            self.sessions(as_of),
            max_keys=self.settings.max_symbols_per_run,
            slots=self.settings.worker_slots,
            source=source,
        )

    def changed(self, names: Sequence[str], now: datetime | None = None) -> list[str]:
        """Name those of the symbols whose source says that what is stored of them has changed, as a file may.

        Given the time, not those that were asked for in vain and whose time has not come.
        """
        with self.database.read() as connection:
            known = symbols.known(connection, names)
            noted = symbols.pending(connection, known) if now else {}
        due = [name for name in known if name not in noted or noted[name].retry_at <= (now or noted[name].retry_at)]
        return [
            name
            for member in members(self.source)
            for name in changed(member, [one for one in due if known[one].source == member.name])
        ]

    def watched_symbols(self) -> tuple[list[str], list[str]]:
        """Give the symbols of SIGMA_PRELOAD_SYMBOLS (default: the proxies), and those that the price source lacks."""
        known, named = self.source.symbols(), self.settings.preload_symbols or self.model.proxies
        unknown = [] if known is None else [name for name in named if name not in known]
        return [name for name in named if name not in unknown], unknown

    def sessions(self, as_of: date) -> list[date]:
        """Give the target sessions up to the as-of session; raises NothingToPlanError."""
        return target_sessions(as_of, self.first_date(as_of), self.settings.history_sessions)

    def first_date(self, as_of: date) -> date:
        """Give the first date partition: SIGMA_START_DATE, else the home's own.

        A home without one, which has no portfolio yet, would begin with the first target session of `as_of`.
        """
        if self.settings.start_date:
            return self.settings.start_date
        with self.database.read() as connection:
            stored = home.first_date(connection)
        return stored or self._first_target(as_of)

    def fix_first_date(self, connection: Connection, as_of: date) -> None:
        """Let the home's date partitions begin with the first target session, unless they have begun already.

        Called in the transaction that stores a portfolio, and before a run is asked for: before that nothing is known
        of which sessions will be wanted, and a date fixed too early would leave partitions that are never filled.
        """
        home.fix_first_date(connection, self.settings.start_date or self._first_target(as_of))

    def _first_target(self, as_of: date) -> date:
        """Give the first target session of a home without a first date; raises SettingsError."""
        asked, possible = self.settings.history_sessions, calendar.sessions(FIRST_START, max(FIRST_START, as_of))
        if asked > len(possible):
            raise SettingsError(
                f"SIGMA_HISTORY_SESSIONS={asked}: at most {len(possible):,} is possible, the sessions from "
                f"{FIRST_START} to {as_of}"
            )
        return possible[-asked]


def _smaller_models(symbols: Collection[str]) -> dict[str, str]:
    """Give the line that chooses a model which these symbols can feed: a built-in one, else a part of `us-6`."""
    fed = {
        f"model {model.name}": f"export SIGMA_FACTOR_MODEL={model.name}"
        for model in BUILT_IN.values()
        if set(model.proxies) <= set(symbols)
    }
    if fed:
        return fed
    factors = [one.name for one in US_6.factors if one.proxy in symbols and (one.minus is None or one.minus in symbols)]
    tables = [f"'[factors.{name}]'" for name in factors]
    if "market" not in factors:
        tables = ["'[factors.market]'", "'proxy = \"SYMBOL\"'"]  # whichever of theirs stands for the market
    file = " ".join(["printf '%s\\n'", "'name = \"own\"'", *tables])
    return {"your own model": f"{file} > model.toml && export SIGMA_FACTOR_MODEL=$PWD/model.toml"}

"""The asset `daily_prices`: buy from the price source what is not stored yet, look-back included.

Here: which sessions are asked for, and what becomes of each symbol. Not here: what an answer may hold
(`resources.sources.guard`) and what it does to what is stored (`resources.database.prices`). The prices of factor
proxies are bought the same way, as an asset of their own (`assets.proxy_prices`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from time import perf_counter

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from assets.factor_models import FactorModel
from assets.numerics.constants import LOOKBACK_RETURNS
from assets.shared.definition import Frame, table_asset
from assets.shared.look_back import listed, price_sessions
from assets.shared.recorder import Cell, Recorder, row_facts
from assets.shared.run_block import BlockConfig, block_of_run, found_before
from assets.shared.stored_cells import stored_cells
from assets.shared.work import Stopwatch, row_counts
from resources.clock import Clock
from resources.database import bulk, prices, symbols
from resources.database.engine import Database
from resources.database.prices import Answer
from resources.database.symbols import Known, Pending
from resources.database.tables import daily_price
from resources.sources import guard
from resources.sources.base import (
    DelistedError,
    PriceRow,
    PriceSource,
    QuotaSpentError,
    SourceError,
    SourceUnavailableError,
    UnknownSymbolError,
    earliest_session,
    take_note,
)
from resources.sources.chain import fetch_from, members

#: One run at a time asks the price source.
POOL = "price_source"
#: What a person who clicks a partition would look for.
SHOWN = ("close", "absence", "source")

#: From one close to the next over a long weekend, and a day for the refresh.
_LONGEST_PAUSE = timedelta(days=5)

#: What the daemon does not ask for again sooner: a session that is late, or a symbol whose fetch failed.
ASK_AGAIN = timedelta(hours=2)
#: The same of a source that cannot be reached.
TRY_AGAIN = timedelta(minutes=15)

# What a source sells that follows the market is stored at once: a kill makes nobody pay for it twice. What comes of
# files is stored with others, for speed, unless reading took its time.
_UNSAVED_SECONDS = 0.05
_UNSAVED_SYMBOLS = 500


class GoneError(SourceError):
    """A source no longer has a symbol, or its stored sessions; what is stored is kept."""

    def __init__(self, symbol: str, source: str, last: date | None, said: str) -> None:
        super().__init__(symbol, source, last, said)
        self.symbol = symbol
        self.source = source
        self.last = last  # the last stored close
        self.said = said

    def __str__(self) -> str:
        return (
            f"{self.symbol}: the price source {self.source!r} {self.said}, but closes are stored up to {self.last}: "
            "they are kept. Was it renamed (sigma symbols rename OLD NEW), delisted, or is it for another source?"
        )


@dataclass
class Purchase:
    """What fetching did."""

    cells: list[Cell] = field(default_factory=list)  # written, or asked for again and unchanged
    symbols: int = 0  # fetched
    calls: int = 0
    corrected: int = 0  # stored rows whose close, dividend or split is another number now
    late: dict[str, list[date]] = field(default_factory=dict)  # sessions that the source has no row of yet
    failed: dict[str, str] = field(default_factory=dict)  # symbols, and why
    left: list[str] = field(default_factory=list)  # symbols whose turn did not come
    ended: SourceUnavailableError | None = None  # why it did not

    def failure(self) -> str:
        """Say what could not be had, for the run to fail with; empty if nothing."""
        told = [why if why.startswith(name) else f"{name}: {why}" for name, why in self.failed.items()]
        if self.ended:
            told.append(f"{self.left[0]}: {self.ended}")
        if not told:
            return ""
        rest = f". Not tried: {listed(self.left[1:])}" if self.left[1:] else ""
        kept = "1 symbol" if self.symbols == 1 else f"{self.symbols} symbols"
        return f"{'; '.join(told)}. Kept: the prices of {kept} fetched{rest}"


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset; sessions before the first partition are stored as look-back and are no partitions."""

    @table_asset(
        "daily_prices",
        frame,
        pool=POOL,
        freshness_policy=freshness(frame),
        description=(
            "One row is the closing price of one symbol on one session, or the knowledge that the source has none. "
            "Fetched once from the price source, with the sessions before it that betas and volatility look back on. "
            "A session that a source prints late has no row yet, and is asked for again."
        ),
    )
    def daily_prices(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_source: dg.ResourceParam[PriceSource],
        factor_model: dg.ResourceParam[FactorModel],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult[None]:
        buyer = Buyer(database, price_source, clock, factor_model.proxies)
        return materialize(context, config, frame, buyer)

    return daily_prices


def freshness(frame: Frame) -> dg.FreshnessPolicy | None:
    """Expect fresh prices of a source that follows the market."""
    return dg.FreshnessPolicy.time_window(fail_window=_LONGEST_PAUSE) if frame.live else None


def materialize(
    context: dg.AssetExecutionContext, config: BlockConfig, frame: Frame, buyer: "Buyer"
) -> dg.MaterializeResult[None]:
    """Fetch and store what the block lacks (with force: all), and record it.

    Recorded too is what the other asset of prices fetched: of factor proxies, which may be held.
    """
    block, found = block_of_run(context, config), found_before(context)
    _refuse_unknown(buyer, block.keys)
    record = Recorder(context)
    grid = price_sessions(block.sessions[0], block.sessions[-1])
    with buyer.database.read() as connection:
        have = bulk.present(connection, daily_price, block.keys, grid)
    chosen = np.isin(np.array(grid, dtype="datetime64[D]"), np.array(block.sessions, dtype="datetime64[D]"))
    wanted = ~have | chosen if config.force else ~have
    if record.deferred and block.dimension == "symbol":
        proxies = np.isin(block.keys, buyer.proxies)
        wanted[proxies] = ~have[proxies]  # the planner has them fetched as proxies, by force too
    _log_check(context, wanted, found.keys)
    bought = buyer.buy(
        block.keys, grid, wanted, completed=found.completed, force=config.force, whole=config.whole, only=config.source
    )
    _log_outcome(context, bought)
    written = [cell for cell in bought.cells if cell.session >= frame.first_date]

    def stored(keys: Sequence[str]) -> Iterator[Cell]:
        return stored_cells(buyer.database, daily_price, {key: key for key in keys}, block.sessions, SHOWN)

    other = {"proxy": "symbol", "symbol": "proxy"}[block.dimension]
    shared = sorted({*context.instance.get_dynamic_partitions(other), *buyer.proxies}.intersection(block.keys))
    if record.deferred and shared:
        new = {(cell.key, cell.session) for cell in written}
        record.once(cell for cell in stored(shared) if (cell.key, cell.session) not in new)
    totals = {
        **row_counts(len(bought.cells), int((~wanted).sum()) + found.rows),
        "symbols_fetched": bought.symbols,
        "prices_corrected": bought.corrected,
        "symbols_late": len(bought.late),
        "symbols_failed": len(bought.failed),
        "symbols_left": len(bought.left),
        "api_calls": bought.calls,
        "api_calls_saved": int((~wanted.any(axis=1)).sum()) + found.keys,
        "seconds": buyer.stopwatch.seconds,
    }
    result = record(written, lambda: stored(block.keys), totals)
    if failure := bought.failure():
        raise dg.Failure(failure)
    return result


def _refuse_unknown(buyer: "Buyer", keys: Sequence[str]) -> None:
    """Buy nothing for a key that somebody mistyped; a source that cannot list its symbols is asked for it.

    One of which something is stored was none: that it is gone from the source is its own failure.
    """
    known = buyer.source.symbols()
    if known is None:
        return
    with buyer.database.read() as connection:
        stored = symbols.known(connection, keys)
    unknown = sorted(set(keys).difference(known, stored), key=keys.index)
    if unknown:
        raise dg.Failure(
            f"Not in {buyer.source.title}: {listed(unknown)}. Take away a key that was added by mistake: "
            f"sigma symbols --forget {unknown[0]}",
            allow_retries=False,
        )


def _log_check(context: dg.AssetExecutionContext, wanted: NDArray[np.bool_], cached: int) -> None:
    to_fetch = int(wanted.any(axis=1).sum())
    total = len(wanted) + cached
    context.log.info(f"Granular cache check: {total - to_fetch}/{total} symbols fully cached")
    if to_fetch:
        context.log.info(f"  {to_fetch} symbols need fetching (missing current data or insufficient history)")
        sessions = int(wanted.any(axis=0).sum())
        context.log.info(f"Incremental: Fetching {sessions} sessions for {to_fetch} symbols")


def _log_outcome(context: dg.AssetExecutionContext, bought: Purchase) -> None:
    context.log.info(f"Stored {len(bought.cells)} prices of {bought.symbols} symbols in {bought.calls} provider calls")
    if bought.late:
        names = [f"{name} ({', '.join(map(str, days))})" for name, days in bought.late.items()]
        context.log.warning(f"No row yet of {listed(names)}: asked for again, what rests on them waits")


class Buyer:
    """Fetches symbol by symbol and stores what came, so that what is paid for is kept whatever comes after it."""

    def __init__(self, database: Database, source: PriceSource, clock: Clock, proxies: Sequence[str]) -> None:
        self.database = database
        self.source = source
        self.proxies = proxies
        self.stopwatch = Stopwatch()
        self._clock = clock
        self._completed = date.min
        self._members = {one.name: one for one in members(source)}
        self._live = source.latest_session() is None
        self._only = ""  # the source that is asked, of several
        self._since: date | None = None  # the whole: what is stored from here on is asked for, and before
        self._unsaved: list[Answer] = []
        self._unnoted: list[tuple[str, str]] = []  # source and symbol, of what was fetched
        self._unsaved_since = 0.0  # seconds of fetching
        self._bought = Purchase()

    def buy(
        self,
        names: Sequence[str],
        grid: Sequence[date],
        wanted: NDArray[np.bool_],
        *,
        completed: date | None,
        force: bool,
        whole: bool = False,
        only: str = "",
    ) -> Purchase:
        """Fetch and store the wanted cells, shape (names, grid); by `force`, also of symbols that no source has.

        With `whole` all is asked for that is stored of a symbol. `only` names the source of the chain that is asked.
        `completed` is the last completed session, as the planner knew it; None: ask the clock.
        """
        if only and only not in self._members:
            named = ", ".join(self._members)
            raise dg.Failure(
                f"{only!r} is not in SIGMA_PRICE_SOURCES ({named}): name one of these", allow_retries=False
            )
        self._only, self._since = only, grid[0] if whole else None
        self._completed = max(completed or self._clock.completed(), grid[-1])
        before = self.source.calls
        orders = {
            name: [day for day, due in zip(grid, row, strict=True) if due]
            for name, row in zip(names, wanted, strict=True)
            if row.any()
        }
        with self.database.read() as connection:
            known = symbols.known(connection, list(orders))
        try:
            self._fetch_all(orders, known, force=force)
        finally:
            self._save()
            self._bought.calls = self.source.calls - before
        self._postpone(orders)
        return self._bought

    def _fetch_all(self, orders: Mapping[str, list[date]], known: Mapping[str, Known], *, force: bool) -> None:
        for i, (name, asked) in enumerate(orders.items()):
            was = known.get(name)
            if was and not force and self._is_not_asked(was, asked):
                self._keep(Answer(name, asked, (), was.source, was.status, was.reason), 0.0)
                continue
            start = perf_counter()
            try:
                with self.stopwatch("fetch"):
                    answer = self._ask(name, asked, was)
            except SourceUnavailableError as error:
                self._bought.ended = error
                self._bought.left = list(orders)[i:]
                return
            except SourceError as error:
                self._bought.failed[name] = str(error)
            else:
                self._bought.symbols += 1
                self._unnoted.append((answer.source, name))
                self._keep(answer, perf_counter() - start)

    def _is_not_asked(self, was: Known, asked: Sequence[date]) -> bool:
        """Say whether the source has already told that it has none of this; another source may have."""
        if was.status == "delisted" and was.last_session and asked[0] > was.last_session:
            return was.source in self._members
        return was.status == "unknown" and was.source == self.source.name

    def _ask(self, name: str, asked: Sequence[date], was: Known | None) -> Answer:
        """Fetch one symbol and check what came; raises SourceError, also if a known symbol is said to be gone."""
        last = was.last_session if was else None
        source, rows, status, reason = self._fetch(name, asked, was)
        if status == "unknown" and was and last:
            if was.status == "ok" and not self._has_ended(name, last, asked):
                raise GoneError(name, source, last, "no longer knows it")
            source, status = was.source, "delisted"
        checked = guard.check(source, name, rows, completed=self._completed, today=self._clock.today())
        newest = checked.rows[-1].session if checked.rows else None
        if status == "ok" and was and was.status == "delisted" and not (newest and last and newest > last):
            status, reason = was.status, was.reason
        last = max(filter(None, [last, newest]), default=None)
        if status == "ok" and last and self._has_ended(name, last, asked):
            status, reason = "delisted", f"no price since {last}, while the factor proxies have theirs"
        elif status == "ok" and was and last and not checked.rows and not checked.refused:
            self._refuse_silence(name, asked, was, last)
        reach = earliest_session(self._members.get(source, self.source))
        return Answer(name, asked, checked.rows, source, status, reason, checked.refused, reach)

    def _fetch(
        self, name: str, asked: Sequence[date], was: Known | None
    ) -> tuple[str, Sequence[PriceRow], str, str | None]:
        """Give the source that answered, its rows, and what it says of the symbol."""
        first, stored = asked[0], was.source if was and was.last_session else None
        if was and was.first_session and (self._since or stored not in self._members):
            first = min(first, was.first_session)  # all of it is compared, if another source serves it from now on too
        first = min(first, self._since or first)
        try:
            if self._only:
                return self._only, self._members[self._only].fetch(name, first, asked[-1]), "ok", None
            found = fetch_from(self.source, name, first, asked[-1], stored)
            return found.source, found.rows, "ok", None
        except UnknownSymbolError as error:
            if self._only:
                raise SourceError(str(error)) from None  # what its own source has of it stays
            return self.source.name, (), "unknown", str(error)
        except DelistedError as error:
            return error.source, (), "delisted", str(error)
        except SourceError:
            raise
        except Exception as error:
            # Of a source of somebody else's. Its text and cause may hold a key.
            kind = type(error).__name__
            raise SourceError(f"the price source {self.source.name!r} failed with an unexpected {kind}") from None

    def _has_ended(self, name: str, last: date, asked: Sequence[date]) -> bool:
        """Say whether a symbol has had no price for the sessions of grace, while the factor proxies have theirs."""
        recent = prices.grace_sessions(self._completed)
        if not self._live or last >= recent[0] or asked[-1] < recent[-1]:
            return False
        self._save()  # the proxies' own rows may be among what is not saved
        with self.database.read() as connection:
            panel = prices.load(connection, [proxy for proxy in self.proxies if proxy != name], recent)
        return bool(np.isfinite(panel.close).any(axis=1).all())

    def _refuse_silence(self, name: str, asked: Sequence[date], was: Known, last: date) -> None:
        """Refuse an answer without a row where there must be one: what is stored was given once."""
        first = was.first_session or last
        if asked[0] <= last and asked[-1] >= first and self._has_close(name, asked[0], asked[-1]):
            raise GoneError(name, self.source.name, last, f"has no row of {asked[0]}..{asked[-1]}")
        recent = prices.grace_sessions(self._completed)
        if self._live and any(last < day < recent[0] for day in asked):
            raise GoneError(name, self.source.name, last, f"has no row since, up to {asked[-1]}")

    def _has_close(self, name: str, first: date, last: date) -> bool:
        with self.database.read() as connection:
            found = prices.last_closes(connection, [name], last + timedelta(days=1))
        return name in found and found[name][0] >= first

    def _keep(self, answer: Answer, seconds: float) -> None:
        self._unsaved.append(answer)
        self._unsaved_since += seconds
        paid = seconds > 0 and self._members.get(answer.source, self.source).latest_session() is None
        if paid or self._unsaved_since >= _UNSAVED_SECONDS or len(self._unsaved) >= _UNSAVED_SYMBOLS:
            self._save()

    def _save(self) -> None:
        answers, self._unsaved, self._unsaved_since = self._unsaved, [], 0.0
        if not answers:
            return
        with self.stopwatch("write"), self.database.write() as connection:
            done = prices.store(
                connection,
                answers,
                look_back=LOOKBACK_RETURNS,
                completed=self._completed if self._live else None,
                retry_at=self._clock.now() + ASK_AGAIN,
            )
        for answer in answers:
            if answer.symbol in done.refused:
                self._bought.symbols -= 1
                self._bought.failed[answer.symbol] = str(done.refused[answer.symbol])
            else:
                self._add_cells(answer, done.stored[answer.symbol])
        self._take_note(done.stored)

    def _take_note(self, stored: Collection[str]) -> None:
        """Tell the sources what is stored of what they gave."""
        unnoted, self._unnoted = self._unnoted, []
        for source in dict.fromkeys(source for source, _ in unnoted):
            member = self._members.get(source)
            if member:
                take_note(member, [name for given, name in unnoted if given == source and name in stored])

    def _add_cells(self, answer: Answer, stored: prices.Stored) -> None:
        self._bought.corrected += stored.rewritten
        if stored.late:
            self._bought.late[answer.symbol] = stored.late
        closes = {row.session: row.close for row in answer.rows}
        for day in sorted({*stored.sessions, *(day for day in answer.asked if day in closes)}):
            fact = {"close": closes[day]} if day in closes else {"absence": "no close"}
            self._bought.cells.append(Cell(answer.symbol, day, row_facts({**fact, "source": answer.source})))

    def _postpone(self, orders: Mapping[str, list[date]]) -> None:
        """Note what could not be had, so that it is not asked for every few seconds."""
        bought, now = self._bought, self._clock.now()
        if not bought.failed and not bought.left:
            return
        later = bought.ended.until if isinstance(bought.ended, QuotaSpentError) else now + TRY_AGAIN
        noted = [Pending(name, "failed", why, orders[name][-1], now + ASK_AGAIN) for name, why in bought.failed.items()]
        noted += [Pending(name, "left", str(bought.ended), orders[name][-1], later) for name in bought.left]
        with self.database.write() as connection:
            symbols.postpone(connection, noted)

"""Storing prices that move: what is late, what becomes another number, who is told to compute again."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from assets.factor_models import SAMPLE_5
from resources import calendar
from resources.database import portfolios, prices, results, symbols
from resources.database.engine import Database
from resources.database.prices import Answer, Outcome
from resources.database.symbols import RenameError
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol,
    symbol_volatility,
)
from resources.sources.base import PriceRow
from tests.support.contents import contents
from tests.support.home import lot

DAYS = calendar.last_sessions(60, date(2022, 12, 28))
LAST = DAYS[-1]
LOOK_BACK = 5
RETRY = datetime(2022, 12, 29, 0, 0, tzinfo=UTC)


def row(day: date, close: float = 100.0, **more: float) -> PriceRow:
    return PriceRow(day, None, None, None, close, None, more.get("dividend", 0.0), more.get("split", 1.0))


def rows(days: Sequence[date] = DAYS, close: float = 100.0) -> list[PriceRow]:
    """A series that rises, so that no two closes are the same."""
    return [row(day, close + DAYS.index(day)) for day in days]


def store(database: Database, *answers: Answer, completed: date | None = LAST) -> Outcome:
    with database.write() as connection:
        return prices.store(connection, answers, look_back=LOOK_BACK, completed=completed, retry_at=RETRY)


def answer(name: str, sent: Sequence[PriceRow], asked: Sequence[date] = (), **more: str) -> Answer:
    return Answer(name, asked, sent, "vendor", **more)


def stored_of(database: Database, name: str) -> dict[date, float | str]:
    """Close or absence by session."""
    price = daily_price.c
    query = sa.select(price.session, price.close, price.absence).where(price.symbol == name)
    with database.read() as connection:
        return {day: absence or close for day, close, absence in connection.execute(query)}


def known(database: Database, name: str) -> symbols.Known:
    with database.read() as connection:
        return symbols.known(connection, [name])[name]


def store_results(database: Database, model: str, book: Sequence[portfolios.Lot], shares_as_of: date, name: str) -> int:
    """A portfolio with a row of every table for each of DAYS, and rows of its symbols."""
    iso = [day.isoformat() for day in DAYS]
    with database.write() as connection:
        results.register_model(connection, model, "{}", SAMPLE_5.proxies)
        portfolios.store(connection, name, book, None, shares_as_of)
        number = connection.execute(sa.select(portfolio.c.id).where(portfolio.c.name == name)).scalar_one()
        for held in {one.symbol for one in book}:
            columns = {"symbol": [held] * 60, "session": iso, "n_obs": [252] * 60}
            results.store_volatility(connection, columns, {})
            more = {"model": [model] * 60, "quality": ["full_history"] * 60}
            results.store_exposures(connection, {**columns, **more}, {}, replace=False)
        columns = {"portfolio_id": [number] * 60, "session": iso}
        results.store_portfolios(connection, portfolio_factor_exposure, {**columns, "model": [model] * 60}, {})
        results.store_portfolios(connection, portfolio_volatility, {**columns, "n_obs": [252] * 60}, {})
    return number


def missing(database: Database, table: sa.Table, key: object, **fixed: str) -> set[int]:
    """Which of DAYS have no row any more, by position."""
    where = [table.primary_key.columns[0] == key, *(table.c[name] == value for name, value in fixed.items())]
    with database.read() as connection:
        there = set(connection.execute(sa.select(table.c.session).where(*where)).scalars())
    return {i for i, day in enumerate(DAYS) if day not in there}


# --- late, absent, gone


def test_trap_34_ten_completed_sessions_of_grace(database: Database) -> None:
    """Of asked sessions without a row the last ten are late, those before are absences; a later ask settles them."""
    done = store(database, answer("KO", rows(DAYS[:40]), DAYS))
    assert done.stored["KO"].late == DAYS[50:]
    found = stored_of(database, "KO")
    assert {found[day] for day in DAYS[40:50]} == {"no trade"}
    assert not found.keys() & set(DAYS[50:])
    with database.read() as connection:
        (told,) = symbols.pending(connection).values()
    assert (told.symbol, told.outcome, told.session, told.retry_at) == ("KO", "late", LAST, RETRY)
    store(database, answer("KO", rows(DAYS[51:]), DAYS[50:]), completed=calendar.shift(LAST, 1))
    assert stored_of(database, "KO")[DAYS[50]] == "no trade"
    with database.read() as connection:
        assert symbols.pending(connection) == {}


def test_trap_09_not_listed_yet_only_before_the_first_close(database: Database) -> None:
    """Sessions before the first close are before the listing; once an earlier close is known, holes are no trades."""
    store(database, answer("KO", rows(DAYS[30:]), DAYS[20:]))
    assert {stored_of(database, "KO")[day] for day in DAYS[20:30]} == {"not listed yet"}
    store(database, answer("KO", rows(DAYS[5:10]), DAYS[5:12]))
    assert {stored_of(database, "KO")[day] for day in DAYS[10:12]} == {"no trade"}
    assert known(database, "KO")[5:7] == (DAYS[5], LAST)


def test_trap_09_what_lies_beyond_the_history_of_a_source_says_nothing_of_the_listing(database: Database) -> None:
    """A source that reaches back so far only has not said that the symbol did not exist before."""
    store(database, Answer("KO", DAYS[:50], rows(DAYS[12:]), "vendor", reach=DAYS[10]))
    found = stored_of(database, "KO")
    assert {found[day] for day in DAYS[:10]} == {"beyond the source's history"}
    assert {found[day] for day in DAYS[10:12]} == {"not listed yet"}


def test_an_ended_source_has_no_late_sessions(database: Database) -> None:
    """What a source with an end does not have will not come."""
    done = store(database, answer("KO", rows(DAYS[:-1]), DAYS), completed=None)
    assert done.stored["KO"].late == []
    assert stored_of(database, "KO")[LAST] == "no trade"


def test_trap_35_nothing_stored_is_taken_away(database: Database) -> None:
    """Answers without rows, of whatever status, change no close, and no results."""
    store(database, answer("KO", rows(), DAYS))
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    before = stored_of(database, "KO")
    for status in ("ok", "unknown", "delisted"):
        store(database, answer("KO", [], DAYS, status=status))
    assert stored_of(database, "KO") == before
    assert missing(database, portfolio_volatility, number) == set()


def test_a_row_refused_by_the_data_checks_is_no_hole_in_what_is_stored(database: Database) -> None:
    """An old session says why it has no price; a stored close stays."""
    store(database, answer("KO", rows(DAYS[1:]), DAYS[1:]))
    refused = Answer("KO", DAYS[:2], [], "vendor", refused={DAYS[0]: "high below close", DAYS[1]: "high below close"})
    store(database, refused)
    found = stored_of(database, "KO")
    assert (found[DAYS[0]], found[DAYS[1]]) == ("refused by the data checks", 101.0)


# --- what counts as a change


@pytest.mark.parametrize(
    ("told", "rewritten"),
    [
        ({"close": 110.0 * (1 + 9e-6)}, 0),
        ({"close": 110.0 * (1 + 2e-5)}, 1),
        ({"split": 1 + 5e-7}, 0),
        ({"split": 1.1}, 1),
        ({"dividend": 0.25}, 1),
        ({"open": 109.0, "high": 120.0, "low": 100.0, "volume": 7.0}, 0),
    ],
)
def test_trap_12_what_is_rounded_otherwise_is_no_change(
    database: Database, told: dict[str, float], rewritten: int
) -> None:
    """Close and dividend to 1e-5, split to 1e-6; open, high, low and volume are taken over and change nothing."""
    store(database, answer("KO", rows(), DAYS))
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    done = store(database, answer("KO", [row(DAYS[10], 110.0)._replace(**told)]))
    assert done.stored["KO"].rewritten == rewritten
    assert known(database, "KO").revision == rewritten
    assert bool(missing(database, portfolio_volatility, number)) == bool(rewritten)
    with database.read() as connection:
        price = connection.execute(sa.select(daily_price).where(daily_price.c.session == DAYS[10])).mappings().one()
    for name, value in told.items():
        kept = {"close": 110.0, "split": 1.0, "dividend": 0.0}
        assert price[name] == (kept[name] if not rewritten and name in kept else value)


def test_trap_12_each_changed_return_and_nothing_between(database: Database) -> None:
    """Two corrections far apart: the windows of each, not all that lies between; a dividend changes one return."""
    store(database, answer("KO", rows(), DAYS), answer("AMD", rows(), DAYS))
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    other = store_results(database, "m@1", [lot("AMD")], LAST, "chips")
    store(database, answer("KO", [row(DAYS[10], 1.0), row(DAYS[40], 140.0, dividend=2.0)]))
    gone = {*range(10, 16), *range(40, 45)}
    for table, key in (
        (factor_exposure, "KO"),
        (symbol_volatility, "KO"),
        (portfolio_factor_exposure, number),
        (portfolio_volatility, number),
    ):
        assert missing(database, table, key) == gone, table.name
    for table, key in ((symbol_volatility, "AMD"), (portfolio_volatility, other), (portfolio_factor_exposure, other)):
        assert missing(database, table, key) == set()


def test_trap_12_rows_of_sessions_that_do_not_hold_the_symbol_stay(database: Database) -> None:
    """A portfolio rests on a symbol's prices on the sessions on which it holds it."""
    store(database, answer("KO", rows(), DAYS))
    sold = lot("KO", entry=DAYS[0].isoformat(), exit=DAYS[13].isoformat())
    number = store_results(database, "m@1", [sold, lot("AMD")], LAST, "mixed")
    store(database, answer("KO", [row(DAYS[10], 1.0)]))
    assert missing(database, portfolio_volatility, number) == {10, 11, 12}


@pytest.mark.parametrize("shares_as_of", [10, 45])
@pytest.mark.parametrize("first_known", [False, True], ids=["split fetched later", "split corrected"])
def test_trap_12_a_split_changes_the_shares_of_rows_on_the_other_side_of_the_import(
    database: Database, shares_as_of: int, first_known: bool
) -> None:
    """Lots are in shares of their import session: a split between it and a row's session is part of that row,
    however long ago, whether its session was stored before or not."""
    there = [one for one in rows() if first_known or one.session != DAYS[30]]
    store(database, answer("KO", there, [one.session for one in there]))
    number = store_results(database, "m@1", [lot("KO", entry="2020-01-02")], DAYS[shares_as_of], "coke")
    store(database, answer("KO", [row(DAYS[30], 130.0, split=2.0)]))
    shares = set(range(30)) if shares_as_of >= 30 else set(range(30, 60))
    returns = set(range(30, 35)) if first_known else set()
    assert missing(database, portfolio_volatility, number) == shares | returns
    assert missing(database, symbol_volatility, "KO") == returns
    assert known(database, "KO").revision == 1


def test_an_old_close_that_a_window_starts_with_is_found(database: Database) -> None:
    """A symbol without a close at the start of a window is valued at its last one before: rows that rest on it go,
    also when that close becomes known later."""
    silent = DAYS[11:30]
    store(database, answer("KO", [one for one in rows(DAYS[1:]) if one.session not in silent], DAYS[1:]))
    number = store_results(database, "m@1", [lot("KO", entry="2020-01-02")], LAST, "coke")
    store(database, answer("KO", [row(DAYS[10], 7.0)]))
    assert missing(database, portfolio_volatility, number) == {*range(10, 16), *range(16, 35)}
    assert missing(database, symbol_volatility, "KO") == set(range(10, 16))


def test_a_model_of_other_proxies_keeps_its_rows(database: Database) -> None:
    """A factor that is corrected makes the betas of the models that use it wrong, and no others."""
    store(database, answer("VLUE", rows(), DAYS))
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    with database.write() as connection:
        results.register_model(connection, "other@1", "{}", ["SP500"])
        columns = {"session": [day.isoformat() for day in DAYS], "model": ["other@1"] * 60}
        own = {"symbol": ["KO"] * 60, "n_obs": [9] * 60, "quality": ["full_history"] * 60}
        results.store_exposures(connection, {**columns, **own}, {}, replace=False)
        ids = {"portfolio_id": [number] * 60}
        results.store_portfolios(connection, portfolio_factor_exposure, {**ids, **columns}, {})
    store(database, answer("VLUE", [row(DAYS[10], 1.0)]))
    for table, key in ((factor_exposure, "KO"), (portfolio_factor_exposure, number)):
        assert missing(database, table, key, model="m@1") == set(range(10, 16))
        assert missing(database, table, key, model="other@1") == set()
    assert missing(database, symbol_volatility, "KO") == set()


def test_force_deletes_rows_of_its_own_model_and_days(database: Database) -> None:
    """A beta that is replaced by another makes its holders' rows of that model and those sessions wrong, no more."""
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    store_results(database, "other@1", [lot("KO")], LAST, "coke")
    with database.write() as connection:
        columns = {"portfolio_id": [number] * 60, "session": [day.isoformat() for day in DAYS]}
        model = {"model": ["other@1"] * 60}
        results.store_portfolios(connection, portfolio_factor_exposure, {**columns, **model}, {})
        fits = {
            "symbol": ["KO"] * 2,
            "session": [DAYS[3].isoformat(), DAYS[50].isoformat()],
            "model": ["m@1"] * 2,
            "beta_market": np.array([1.0, 2.0]),
            "n_obs": [252] * 2,
            "quality": ["full_history"] * 2,
        }
        results.store_exposures(connection, fits, {}, replace=True)
    assert missing(database, portfolio_factor_exposure, number, model="m@1") == {3, 50}
    assert missing(database, portfolio_factor_exposure, number, model="other@1") == set()


# --- series that are adjusted anew, or of somebody else


def test_a_rebased_series_is_carried_over_and_deletes_nothing(database: Database) -> None:
    """Returns that agree to 1e-5: closes and dividends outside the answer are multiplied, no result goes."""
    store(database, answer("KO", [*rows(DAYS[:59]), row(DAYS[59], 159.0, dividend=1.0)], DAYS))
    number = store_results(database, "m@1", [lot("KO")], LAST, "coke")
    done = store(database, answer("KO", [row(one.session, one.close * 0.5) for one in rows(DAYS[20:40])]))
    assert done.stored["KO"].rewritten == 0
    assert stored_of(database, "KO") == pytest.approx({one.session: one.close * 0.5 for one in rows()}, rel=1e-14)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.sum(daily_price.c.dividend))).scalar() == 0.5
    for table, key in ((factor_exposure, "KO"), (portfolio_volatility, number)):
        assert missing(database, table, key) == set()


def test_another_security_is_refused_and_the_others_of_its_batch_are_stored(database: Database) -> None:
    """More than a fifth of the closes differ by more than 1%: stored data stay, by symbol and with the share."""
    store(database, answer("KO", rows(), DAYS))
    other = [row(one.session, one.close * (1.5 if i % 3 else 0.8)) for i, one in enumerate(rows(DAYS[20:40]))]
    done = store(database, answer("KO", other), answer("AMD", rows(), DAYS))
    assert done.refused.keys() == {"KO"}
    assert "another security under this ticker" in str(done.refused["KO"])
    assert stored_of(database, "KO") == {one.session: one.close for one in rows()}
    assert len(stored_of(database, "AMD")) == 60


# --- two at once, and names


def test_two_writers_raise_the_revision_twice(database: Database) -> None:
    """The second one locks the symbol and reads what the first one wrote: neither revision is lost."""
    store(database, answer("KO", rows(), DAYS), answer("AMD", rows(), DAYS))

    def correct(i: int) -> None:
        changed = [answer(name, [row(DAYS[i], 50.0 + i)]) for name in ("KO", "AMD")]
        store(database, *(changed if i % 2 else changed[::-1]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(correct, range(8)))
    assert (known(database, "KO").revision, known(database, "AMD").revision) == (8, 8)


def test_a_renamed_symbol_keeps_prices_lots_and_results(database: Database) -> None:
    """Every number stays, under the new name; what said that the new name is unknown goes."""
    store(database, answer("FB", rows(), DAYS), answer("META", [], DAYS, status="unknown"))
    number = store_results(database, "m@1", [lot("FB")], LAST, "social")
    before = stored_of(database, "FB")
    with database.write() as connection:
        symbols.rename(connection, "FB", "META")
    assert (stored_of(database, "META"), stored_of(database, "FB")) == (before, {})
    assert known(database, "META")[1:3] == ("ok", None)
    for table, key in ((factor_exposure, "META"), (symbol_volatility, "META"), (portfolio_volatility, number)):
        assert missing(database, table, key) == set()
    with database.read() as connection:
        (book,) = portfolios.load(connection)
    assert [one.symbol for one in book.lots] == ["META"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("NONE", "META", "no prices of NONE are stored"),
        ("FB", "KO", "prices of KO are stored"),
        ("VLUE", "META", "VLUE is a proxy of a factor model"),
        ("FB", "FB", "that is its name"),
    ],
)
def test_what_cannot_be_renamed_is_refused_whole(database: Database, old: str, new: str, why: str) -> None:
    """The message says why; nothing is changed."""
    store(database, *(answer(name, rows(), DAYS) for name in ("FB", "KO", "VLUE")))
    store_results(database, "m@1", [lot("FB")], LAST, "social")
    before = contents(database)
    with pytest.raises(RenameError, match=why), database.write() as connection:
        symbols.rename(connection, old, new)
    assert contents(database) == before


def test_the_first_and_last_close_of_a_symbol_are_known(database: Database) -> None:
    """Absences before and after are none of them."""
    store(database, answer("KO", rows(DAYS[3:50]), DAYS[:50]), completed=None)
    assert known(database, "KO")[5:7] == (DAYS[3], DAYS[49])
    with database.read() as connection:
        assert connection.execute(sa.select(symbol.c.status)).scalars().all() == ["ok"]

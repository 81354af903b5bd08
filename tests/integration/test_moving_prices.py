"""Prices of a source that follows the market: late, corrected, gone; what rests on them waits or is computed anew."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from resources import calendar
from resources.database import portfolios
from resources.database.portfolios import Lot
from resources.sources.base import (
    DelistedError,
    PriceRow,
    QuotaSpentError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.compute import compute
from sigma_dagster.planning.planner import Force
from sigma_dagster.planning.work import Tally
from tests.support.home import LAST, RESULT_TABLES, Home, assert_same, lots
from tests.support.sources import Edit, LiveSource, at_price, changed, each, without

PRICES = Force(prices=True)
#: A history that reaches before the corrected sessions.
LONG = {"history_sessions": "19"}


def assert_equal_numbers(home: Home, other: Home, book: str) -> None:
    """All result rows of both homes agree to 1e-12."""
    for table in RESULT_TABLES:
        name = book if table.startswith("portfolio") else None
        assert_same(home.numbers(table, name), other.numbers(table, name), 1e-12)


def sessions_of(home: Home, table: str, symbol: str) -> list[str]:
    where = "portfolio_id = (SELECT id FROM portfolio WHERE name = ?)" if "portfolio" in table else "symbol = ?"
    return [day for (day,) in home.query(f"SELECT session FROM {table} WHERE {where} ORDER BY session", symbol)]  # noqa: S608


# --- how often it is planned


def test_what_comes_as_planned_is_not_planned_again_in_between(home: Home) -> None:
    """Proxies, symbols and portfolios run after each other by one plan, and a second one finds that nothing is missing;
    a late session is other work for what rests on it, which is planned before it is run."""
    assert plans(home, LiveSource(without("AMD", lambda day: day == LAST))) == 3
    assert not [text for text in home.said if "portfolio" in text and "2022-12-28" in text]
    assert plans(home, LiveSource()) == 2
    assert home.numbers("portfolio_volatility", "pair")[-1]["session"] == "2022-12-28"


def plans(home: Home, source: LiveSource) -> int:
    """Onboard a pair, and count the plans: only they ask which proxies models ever had."""
    services, home.said = home.environment(source), []
    asked: list[str] = []
    sa.event.listen(services.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with services.database.write() as connection:
        portfolios.store(connection, "pair", lots("AAPL AMD"), None, LAST)
    compute(services, ["pair"], LAST, say=home.said.append)
    services.database.engine.dispose()
    return sum("SELECT DISTINCT factor_model_proxy" in text for text in asked)


# --- late


def test_trap_34_a_session_that_is_late_is_no_absence(home: Home, other_home: Home) -> None:
    """A session that the source has not printed is stored as nothing; its results, and those of its holders, wait for
    it; all others are computed, and the next command asks for exactly that session."""
    late = LiveSource(without("AMD", lambda day: day == LAST))
    done = home.onboard(lots("AAPL AMD"), "pair", source=late)
    assert done.risk.as_of == date(2022, 12, 27)
    assert home.statuses()["FAILURE"] == 0
    assert late.fetched.count("AMD") == 1
    assert home.query("SELECT * FROM daily_price WHERE symbol = 'AMD' AND session = '2022-12-28'") == []
    for table, key, newest in (
        ("factor_exposure", "AMD", "2022-12-27"),
        ("symbol_volatility", "AMD", "2022-12-27"),
        ("factor_exposure", "AAPL", "2022-12-28"),
        ("portfolio_factor_exposure", "pair", "2022-12-27"),
        ("portfolio_volatility", "pair", "2022-12-27"),
    ):
        assert sessions_of(home, table, key)[-1] == newest
    assert "Waiting for prices: AMD (no row yet of 2022-12-28)" in home.said
    home.assert_records_are_rows()

    printed = LiveSource()
    again = home.onboard(lots("AAPL AMD"), "pair", source=printed)
    assert printed.asked == [("AMD", LAST, LAST)]
    assert again.tally.regressions_run == 1
    assert again.risk.as_of == LAST
    assert home.query("SELECT * FROM pending_fetch") == []
    home.assert_records_are_rows()
    other_home.onboard(lots("AAPL AMD"), "pair", source=LiveSource())
    assert_equal_numbers(home, other_home, "pair")


def test_trap_41_betas_wait_for_a_factor_that_is_late(home: Home) -> None:
    """No beta is computed from a window that lacks a factor's close; volatility does not need it. When the close has
    come exactly the missing rows are made."""
    home.onboard(lots("KO"), source=LiveSource(without("MTUM", lambda day: day == LAST)))
    assert sessions_of(home, "factor_exposure", "KO")[-1] == "2022-12-27"
    assert sessions_of(home, "symbol_volatility", "KO")[-1] == "2022-12-28"
    assert sessions_of(home, "portfolio_factor_exposure", "book")[-1] == "2022-12-27"
    assert sessions_of(home, "portfolio_volatility", "book")[-1] == "2022-12-28"
    before = sessions_of(home, "factor_exposure", "KO"), sessions_of(home, "portfolio_factor_exposure", "book")

    printed = LiveSource()
    again = home.onboard(lots("KO"), source=printed)
    assert printed.asked == [("MTUM", LAST, LAST)]
    assert again.tally.regressions_run == 1
    after = sessions_of(home, "factor_exposure", "KO"), sessions_of(home, "portfolio_factor_exposure", "book")
    assert after == tuple([*sessions, "2022-12-28"] for sessions in before)


def test_trap_34_an_old_hole_is_an_absence(home: Home) -> None:
    """What is missing before the last ten sessions never comes: it is recorded, and not asked for again."""
    hole = calendar.shift(LAST, -10)
    home.onboard(lots("KO AMD"), source=LiveSource(without("AMD", lambda day: day in (hole, LAST))))
    stored = dict(home.query("SELECT session, absence FROM daily_price WHERE symbol = 'AMD' AND close IS NULL"))
    assert stored == {hole.isoformat(): "no trade"}
    again = LiveSource()
    home.onboard(lots("KO AMD"), source=again)
    assert again.asked == [("AMD", LAST, LAST)]


# --- failures


def test_trap_26_only_a_failure_of_the_source_ends_the_fetching(home: Home) -> None:
    """A refused key ends it at once: what came before is kept, what is left is named, and asked for the next time."""
    source = LiveSource()
    source.errors["MRK"] = SourceUnavailableError("the key is refused")
    with pytest.raises(BlockFailedError) as failed:
        home.onboard(lots("AMD MRK PEP"), "three", source=source)
    text = str(failed.value)
    assert "MRK: the key is refused" in text
    assert "Kept: the prices of 1 symbol fetched. Not tried: PEP" in text
    assert source.fetched[-1] == "MRK"
    assert home.query("SELECT symbol, outcome FROM pending_fetch ORDER BY 1") == [("MRK", "left"), ("PEP", "left")]
    assert sessions_of(home, "factor_exposure", "AMD")[-1] == "2022-12-28"
    better = LiveSource()
    home.onboard(lots("AMD MRK PEP"), "three", source=better)
    assert better.fetched == ["MRK", "PEP"]


def test_what_a_spent_quota_leaves_is_asked_for_after_its_reset(home: Home) -> None:
    """The time of the reset is stored with what is left: the daemon does not ask before."""
    until = datetime(2030, 1, 2, 5, 0, tzinfo=UTC)
    source = LiveSource()
    source.errors["KO"] = QuotaSpentError("sample", until, "25 requests a day")
    with pytest.raises(BlockFailedError, match="takes no more requests before 2030-01-02 05:00"):
        home.onboard(lots("KO"), source=source)
    assert home.query("SELECT symbol, outcome, retry_at FROM pending_fetch") == [
        ("KO", "left", "2030-01-02 05:00:00.000000")
    ]
    services = home.environment(LiveSource())
    with services.database.read() as connection:
        book = portfolios.load(connection)
    waiting = services.plan(book, LAST, now=until - timedelta(seconds=1))
    assert (waiting.fetch, list(waiting.waiting), waiting.blocks) == ({}, ["KO"], ())
    assert list(services.plan(book, LAST, now=until).fetch) == ["KO"]
    services.database.engine.dispose()


def test_an_unexpected_error_of_a_source_fails_its_symbol_without_its_text(home: Home) -> None:
    """A source of somebody else's may raise anything, with its key in the text: only the kind is told."""
    source = LiveSource()
    source.errors["KO"] = KeyError("https://vendor/?apikey=sesame")
    with pytest.raises(BlockFailedError, match="KO: the price source 'sample' failed with an unexpected KeyError") as e:
        home.onboard(lots("KO AMD"), source=source)
    assert "sesame" not in str(e.value)
    assert sessions_of(home, "factor_exposure", "AMD")[-1] == "2022-12-28"


def test_trap_40_a_refused_answer_keeps_what_is_stored(home: Home) -> None:
    """A series with an infinite price fails by name; nothing of it is stored, and the next command works."""
    home.onboard(lots("KO"), source=LiveSource())
    before = home.rows("daily_price", "factor_exposure", "portfolio_volatility")
    bad = LiveSource(changed("KO", LAST, close=float("inf")))
    with pytest.raises(BlockFailedError, match=r"KO 2022-12-28: the price source 'sample' sent inf, but close is"):
        home.onboard(lots("KO"), source=bad, force=PRICES)
    assert home.rows("daily_price", "factor_exposure", "portfolio_volatility") == before
    assert home.onboard(lots("KO"), source=LiveSource()).tally.api_calls == 0


# --- gone


@pytest.mark.parametrize("gone", [None, UnknownSymbolError("AMD", "sample")], ids=["no row", "unknown"])
def test_trap_35_a_known_symbol_never_becomes_unknown(home: Home, gone: Exception | None) -> None:
    """By force too: an empty or refusing answer is a failed fetch that says what to check, and erases nothing."""
    home.onboard(lots("KO AMD"), source=LiveSource())
    before = home.rows("daily_price", *RESULT_TABLES), home.query("SELECT symbol, status, revision FROM symbol")
    source = LiveSource(None if gone else lambda name, rows: [] if name == "AMD" else rows)
    if gone:
        source.errors["AMD"] = gone
    with pytest.raises(BlockFailedError, match=r"AMD: the price source .* stored up to 2022-12-28: they are kept"):
        home.onboard(lots("KO AMD"), source=source, force=PRICES)
    assert (
        home.rows("daily_price", *RESULT_TABLES),
        home.query("SELECT symbol, status, revision FROM symbol"),
    ) == before


def test_trap_35_a_narrow_answer_without_a_row_is_late_and_not_unknown(home: Home) -> None:
    """The evening of a session that no vendor has yet: known symbols stay known, and are asked for again."""
    first = calendar.shift(LAST, -1)
    home.onboard(lots("KO"), source=LiveSource(), as_of=first)
    source = LiveSource(lambda _name, rows: [row for row in rows if row.session <= first])
    home.onboard(lots("KO"), source=source)
    assert set(home.query("SELECT status FROM symbol")) == {("ok",)}
    assert home.query("SELECT count(*) FROM daily_price WHERE close IS NULL OR session = '2022-12-28'") == [(0,)]
    again = LiveSource()
    home.onboard(lots("KO"), source=again)
    assert {(first, last) for _, first, last in again.asked} == {(LAST, LAST)}


def test_a_symbol_without_a_price_for_ten_sessions_is_delisted(home: Home) -> None:
    """While the proxies have theirs: it is recorded, its results say why, it is not asked for again but by force."""
    end = calendar.shift(LAST, -10)
    gone = without("AMD", lambda day: day > end)
    home.onboard(lots("KO AMD"), source=LiveSource(gone))
    ((status, reason),) = home.query("SELECT status, reason FROM symbol WHERE symbol = 'AMD'")
    assert (status, reason) == ("delisted", f"no price since {end}, while the factor proxies have theirs")
    absent = home.query("SELECT absence, count(*) FROM daily_price WHERE symbol = 'AMD' AND close IS NULL GROUP BY 1")
    assert absent == [("delisted", 10)]
    again = LiveSource(gone)
    home.onboard(
        lots("KO AMD"),
        source=again,
    )
    assert again.asked == []
    back = LiveSource()
    home.onboard(lots("KO AMD"), source=back, force=PRICES)
    assert home.query("SELECT status, reason FROM symbol WHERE symbol = 'AMD'") == [("ok", None)]
    assert "AMD" in back.fetched


def test_a_source_may_say_that_a_symbol_is_delisted(home: Home) -> None:
    """Its new sessions are recorded as absences without another call, and what is stored stays."""
    first = calendar.shift(LAST, -2)
    home.onboard(lots("KO AMD"), source=LiveSource(), as_of=first)
    source = LiveSource()
    source.errors["AMD"] = DelistedError("AMD", "sample", first)
    home.onboard(lots("KO AMD"), source=source, as_of=calendar.shift(LAST, -1))
    home.onboard(lots("KO AMD"), source=source)
    assert source.fetched.count("AMD") == 1
    absent = home.query("SELECT session, absence FROM daily_price WHERE symbol = 'AMD' AND close IS NULL")
    assert absent == [("2022-12-27", "delisted"), ("2022-12-28", "delisted")]
    assert home.query("SELECT count(*) FROM daily_price WHERE symbol = 'AMD' AND close IS NOT NULL") == [(278,)]


# --- corrected


def raw(symbol: str, split_on: date) -> Edit:
    """A series as traded before and after a split of 4 for 1, without saying so."""
    return at_price(symbol, lambda row: row.close * (4 if row.session < split_on else 1))


def onboard_whole(home: Home, edit: Edit, book: Sequence[Lot] = (), **more: object) -> Tally:
    """Onboard from a source that sends whole series, as files and Alpha Vantage do."""
    source = LiveSource(edit)
    source.whole_from = date(2021, 6, 1)
    return home.onboard(book or BOOK, "book", source=source, **LONG, **more).tally  # type: ignore[arg-type]


SPLIT = date(2022, 12, 14)
BOOK: Sequence[Lot] = (*lots("AMD KO"), *lots("AMD", entry="2022-12-08", exit="2022-12-16"))


def test_trap_12_after_any_sequence_of_corrections_the_numbers_are_those_from_scratch(
    home: Home, other_home: Home
) -> None:
    """A wrong close, a split and a dividend that become known late, a corrected factor: each fetch finds them."""
    base = raw("AMD", SPLIT)
    split = changed("AMD", SPLIT, split=4.0)
    wrong_close = changed("KO", date(2022, 12, 9), close=lambda row: row.close * 1.2)
    dividend = changed("KO", date(2022, 11, 15), dividend=0.44)
    wrong_factor = changed("VLUE", date(2022, 12, 20), close=lambda row: row.close * 0.9)
    wrong_old = changed("AMD", date(2021, 12, 1), close=lambda row: row.close * 1.1)
    onboard_whole(home, each(base, wrong_close, wrong_factor, wrong_old))
    for edit in (
        each(base, wrong_factor, wrong_old),
        each(base, split, wrong_factor, wrong_old),
        each(base, split, dividend, wrong_factor, wrong_old),
        each(base, split, dividend, wrong_old),
        each(base, split, dividend),
    ):
        onboard_whole(home, edit, force=PRICES)
    onboard_whole(other_home, each(base, split, dividend))
    assert_equal_numbers(home, other_home, "book")


def test_trap_12_a_correction_computes_exactly_what_it_touches(home: Home) -> None:
    """Of 19 sessions, those from the corrected close on; of the other symbol, and of other years, none."""
    onboard_whole(home, changed("KO", date(2022, 12, 9), close=lambda row: row.close * 1.2))
    before = home.rows("factor_exposure", "symbol_volatility")
    tally = onboard_whole(home, lambda _name, rows: rows, force=PRICES)
    assert tally.regressions_run == 13  # KO's sessions from 2022-12-09 to 2022-12-28
    for table, rows in before.items():
        now = set(home.rows(table)[table])
        assert {row[:2] for row in rows if row not in now} == {
            ("KO", day.isoformat()) for day in calendar.sessions(date(2022, 12, 9), LAST)
        }, table


def test_trap_12_open_high_low_and_volume_are_no_correction(home: Home) -> None:
    """They are stored as they come, and nothing that rests on closes is computed again."""
    home.onboard(lots("KO"), source=LiveSource())
    results = home.rows(*RESULT_TABLES)
    told = changed("KO", LAST, open=lambda row: row.close, high=lambda row: row.close * 1.01, volume=5.0)
    home.onboard(lots("KO"), source=LiveSource(told), force=PRICES)
    assert home.rows(*RESULT_TABLES) == results
    assert home.query("SELECT volume FROM daily_price WHERE symbol = 'KO' AND session = '2022-12-28'") == [(5.0,)]
    assert home.query("SELECT revision FROM symbol WHERE symbol = 'KO'") == [(0,)]


def test_a_rebased_series_computes_nothing_again(home: Home) -> None:
    """The same returns at another level: every stored close is carried over, the sessions outside the answer too."""
    home.onboard(lots("KO AMD"), source=LiveSource())
    results = home.rows(*RESULT_TABLES)
    before = dict(home.query("SELECT session, close FROM daily_price WHERE symbol = 'KO'"))
    rebased = LiveSource(at_price("KO", lambda row: row.close * 0.97))
    tally = home.onboard(lots("KO AMD"), source=rebased, force=PRICES).tally
    after = dict(home.query("SELECT session, close FROM daily_price WHERE symbol = 'KO'"))
    assert tally.regressions_run == 0
    assert home.rows(*RESULT_TABLES) == results
    assert len(after) == 278 > len([row for row in rebased.asked if row[0] == "KO"])
    assert after == pytest.approx({day: close * 0.97 for day, close in before.items()}, rel=1e-12)


def test_a_new_session_of_a_rebased_series_is_that_from_scratch(home: Home, other_home: Home) -> None:
    """Symbols to 1e-12 on every session, and the portfolio on the new one. Its rows of before keep their weights: they
    are those of the market value of their session, which a later dividend does not lower."""
    rebased = at_price("KO", lambda row: row.close * 0.97)
    home.onboard(lots("KO AMD"), source=LiveSource(), as_of=calendar.shift(LAST, -1))
    before = home.rows("portfolio_factor_exposure", "portfolio_volatility")
    onboard_whole(home, rebased, lots("KO AMD"))
    onboard_whole(other_home, rebased, lots("KO AMD"))
    for table in RESULT_TABLES:
        name = "book" if table.startswith("portfolio") else None
        chosen = [
            [row for row in one.numbers(table, name) if not name or row["session"] == LAST.isoformat()]
            for one in (home, other_home)
        ]
        assert_same(*chosen, 1e-12)
    for table, rows in before.items():
        assert set(rows) <= set(home.rows(table)[table])


def test_another_security_under_the_ticker_is_refused(home: Home) -> None:
    """A series that differs all over is not this company's: nothing changes, and the message asks."""
    source = LiveSource()
    home.onboard(lots("KO AMD"), source=source, **LONG)
    before = home.rows("daily_price", *RESULT_TABLES)
    amd = {row.session: row.close for row in LiveSource().fetch("AMD", date(2021, 1, 4), LAST)}
    other = LiveSource(at_price("KO", lambda row: amd[row.session]))
    with pytest.raises(BlockFailedError, match=r"KO: .* of the closes differ .* another security under this ticker"):
        home.onboard(lots("KO AMD"), source=other, force=PRICES, **LONG)
    assert home.rows("daily_price", *RESULT_TABLES) == before


def test_trap_12_a_split_between_a_row_and_the_import_reaches_it_whenever_it_is_fetched(
    home: Home, other_home: Home
) -> None:
    """Lots imported on the last session, rows computed up to an earlier one: the split in between is not known yet."""

    def edit(name: str, rows: list[PriceRow]) -> list[PriceRow]:
        return each(raw("AMD", SPLIT), changed("AMD", SPLIT, split=4.0))(name, rows)

    for target, stops in ((home, [date(2022, 12, 9), LAST]), (other_home, [LAST])):
        services = target.environment(LiveSource(edit), **LONG)
        with services.database.write() as connection:
            portfolios.store(connection, "book", lots("AMD KO"), None, LAST)
        for as_of in stops:
            compute(services, None, as_of, say=print)
        services.database.engine.dispose()
    assert len(sessions_of(home, "portfolio_volatility", "book")) == 19
    assert_equal_numbers(home, other_home, "book")


def test_a_symbol_that_changes_its_source_is_compared_whole(home: Home) -> None:
    """The source left the chain: the next one is asked for all that is stored, what differs is corrected, and each row
    says whose it is."""
    first = calendar.shift(LAST, -1)
    home.onboard(lots("KO"), source=LiveSource(), as_of=first)
    other = LiveSource(changed("KO", date(2022, 12, 22), close=lambda row: row.close * 1.01))
    other.name = "other"
    tally = home.onboard(lots("KO"), source=other).tally
    asked = {symbol: begin for symbol, begin, _ in other.asked}
    assert asked["KO"] == date(2021, 11, 18)
    assert tally.regressions_run == 4  # from 2022-12-22 to 2022-12-27 again, and 2022-12-28
    sources = home.query("SELECT session, source FROM daily_price WHERE symbol = 'KO' AND source = 'other'")
    assert [day for day, _ in sources] == ["2022-12-22", "2022-12-28"]


def test_force_buys_the_chosen_sessions_and_no_others(home: Home) -> None:
    """Prices of the look-back, stored already, are neither asked for nor written again."""
    home.onboard(lots("KO"), source=LiveSource())
    source = LiveSource()
    home.onboard(lots("KO"), source=source, force=PRICES)
    assert {(first, last) for _, first, last in source.asked} == {(date(2022, 12, 21), LAST)}
    forced = LiveSource()
    home.materialize("daily_prices", "2022-12-22|KO", "2022-12-23|KO", source=forced, config={"force": True})
    assert forced.asked == [("KO", date(2022, 12, 22), date(2022, 12, 23))]

"""Reading prices as columns, and once in a run: the same numbers as the rows, and never old ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from resources import calendar
from resources.database import prices
from resources.database.engine import Database
from resources.database.prices import Answer, PricePanel, Reader
from resources.database.tables import daily_price
from resources.sources.base import PriceRow

SESSIONS = calendar.last_sessions(6, date(2022, 12, 28))
NAMES = ("B", "SHORT", "A.1", "NONE", "A", "GAP")


@pytest.fixture
def stored(database: Database) -> Database:
    """A and its kind are whole, GAP has an absence, SHORT lacks sessions, of NONE nothing is known."""
    for i, name in enumerate(("A", "A.1", "B", "GAP", "SHORT")):
        days = SESSIONS[2:] if name == "SHORT" else SESSIONS
        rows = [row(day, 10.0 * i + j + 1) for j, day in enumerate(days) if (name, j) != ("GAP", 3)]
        store(database, name, rows, days)
    store(database, "B", [row(SESSIONS[4], 25.0)._replace(dividend=0.5, split=2.0)])
    return database


def row(day: date, close: float) -> PriceRow:
    return PriceRow(day, None, None, None, close, None, 0.0, 1.0)


def store(database: Database, name: str, rows: Sequence[PriceRow], asked: Sequence[date] = ()) -> None:
    with database.write() as connection:
        prices.store(connection, [Answer(name, asked, rows, "test")], look_back=3)


def read(database: Database, reader: Reader, names: Sequence[str], days: Sequence[date]) -> PricePanel:
    with database.read() as connection:
        return reader.load(connection, names, days)


def check_is_stored(database: Database, panel: PricePanel) -> None:
    """Compare a panel with the rows, each read by its key."""
    with database.read() as connection:
        for i, day in enumerate(panel.sessions):
            for j, name in enumerate(panel.symbols):
                key = (daily_price.c.symbol == name) & (daily_price.c.session == day)
                found = connection.execute(sa.select(daily_price).where(key)).one_or_none()
                assert panel.known[i, j] == (found is not None)
                close = found.close if found and found.close is not None else np.nan
                np.testing.assert_equal(panel.close[i, j], close)
                assert panel.dividend[i, j] == ((found and found.dividend) or 0.0)
                assert panel.split[i, j] == ((found and found.split) or 1.0)


def test_a_panel_has_every_stored_number_in_its_place(stored: Database) -> None:
    """Whole symbols, absences, short histories, actions and unknown symbols, in the order that was asked for."""
    for names in (NAMES, NAMES[::-1], ("GAP",), ()):
        check_is_stored(stored, read(stored, Reader(), names, SESSIONS))
    check_is_stored(stored, read(stored, Reader(), NAMES, SESSIONS[1:4]))


def test_a_reader_gives_a_part_of_what_it_read(stored: Database) -> None:
    """Symbols in another order and fewer sessions come from what was read, as the database has them."""
    reader = Reader()
    read(stored, reader, ("A", "A.1", "B", "GAP"), SESSIONS)
    statements: list[str] = []
    sa.event.listen(stored.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    part = read(stored, reader, ("GAP", "B"), SESSIONS[2:5])
    assert [text for text in statements if "daily_price" in text] == []
    assert part.symbols == ("GAP", "B")
    check_is_stored(stored, part)


def test_a_reader_reads_again_what_became_another_number(stored: Database) -> None:
    """A corrected price, and one that came where none was known, are seen by the next step of a run."""
    reader = Reader()
    read(stored, reader, ("A", "B"), SESSIONS)
    store(stored, "B", [row(SESSIONS[1], 99.0)])
    check_is_stored(stored, read(stored, reader, ("A", "B"), SESSIONS))
    read(stored, reader, ("SHORT",), SESSIONS)
    store(stored, "SHORT", [row(day, 7.0) for day in SESSIONS[:2]], SESSIONS[:2])
    check_is_stored(stored, read(stored, reader, ("SHORT",), SESSIONS))


def test_a_part_that_has_changed_is_read_again_and_the_rest_is_kept(stored: Database) -> None:
    """One corrected price of many does not have all of them read again by every step that follows."""
    reader = Reader()
    read(stored, reader, ("A", "A.1", "B"), SESSIONS)
    store(stored, "B", [row(SESSIONS[1], 99.0)])
    check_is_stored(stored, read(stored, reader, ("B",), SESSIONS))
    statements: list[str] = []
    sa.event.listen(stored.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    part = read(stored, reader, ("A.1", "A"), SESSIONS)
    assert [text for text in statements if "daily_price" in text] == []
    check_is_stored(stored, part)


def test_a_reader_adds_what_it_has_not_read(stored: Database) -> None:
    """Blocks of a new session share the reader: of each only the symbols that nobody asked for before are read."""
    reader = Reader()
    read(stored, reader, ("A", "A.1"), SESSIONS)
    with named(stored) as names:
        both = read(stored, reader, ("GAP", "A"), SESSIONS)
    assert names.count("GAP") > names.count("A") == 1  # whose revision alone is looked at
    check_is_stored(stored, both)
    check_is_stored(stored, read(stored, reader, ("A.1", "GAP", "A", "B"), SESSIONS[1:5]))


def test_a_reader_reads_one_symbol_again_where_one_has_changed(stored: Database) -> None:
    """A corrected price of one symbol does not have those of a whole book read again."""
    reader = Reader()
    read(stored, reader, ("A", "A.1", "B"), SESSIONS)
    store(stored, "B", [row(SESSIONS[1], 99.0)])
    with named(stored) as names:
        found = read(stored, reader, ("A", "A.1", "B"), SESSIONS)
    assert names.count("B") > names.count("A") == names.count("A.1") == 1
    check_is_stored(stored, found)


@contextmanager
def named(database: Database) -> Iterator[list[object]]:
    """Collect what statements name meanwhile."""
    found: list[object] = []

    def collect(*args: Any) -> None:
        found.extend(args[3].values() if isinstance(args[3], dict) else args[3])

    sa.event.listen(database.engine, "before_cursor_execute", collect)
    yield found
    sa.event.remove(database.engine, "before_cursor_execute", collect)

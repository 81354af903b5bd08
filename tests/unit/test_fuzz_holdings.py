"""Holdings files that nobody expects: refused in words or read as they say, never a traceback, never a wrong lot."""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal

import openpyxl
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from resources.database import portfolios
from resources.database.engine import Database
from resources.database.portfolios import KEEP, Lot
from resources.sources.sample import SampleSource
from sigma_dagster.portfolio.holdings import AS_IT_SAYS, Holdings, HoldingsError, Reading, read_holdings
from tests.support import evil
from tests.support.evil import EXAMPLES, fuzz
from tests.support.home import EXAMPLES as BOOKS
from tests.support.home import LAST, ROOT

BROKERS = sorted((ROOT / "tests" / "fixtures" / "brokers").glob("*.csv"))
PLAIN = ["symbol", "quantity", "entry_price", "entry_date", "exit_date", "asset_class"]
LOTS = [
    ["AAPL", "120", "86.605", "2020-06-10", "", ""],
    ["MSFT", "-40", "253.131", "2021-04-20", "2022-03-01", "public"],
    ["LOFT-7", "1", "250000", "2021-01-15", "", "private"],
    ["CASH", "2500.5", "1", "2021-01-15", "", "cash"],
]
SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,14}")

Read = Callable[..., Holdings | None]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Read bytes; None if they are refused. Whatever is read can be stored, and whatever is said can be printed."""
    folder = tmp_path_factory.mktemp("fuzz")
    database = Database(f"sqlite:///{folder / 'sigma.db'}")

    def read_bytes(data: bytes, reading: Reading = AS_IT_SAYS) -> Holdings | None:
        path = folder / "book.csv"
        path.write_bytes(data)
        try:
            found = read_holdings(path, as_of=LAST, source=SampleSource(), reading=reading)
        except HoldingsError as error:
            assert all(line.isprintable() for line in str(error).split("\n")), str(error)
            assert error.errors
            return None
        assert found.lots
        assert len(found.lots) == len(found.rows) == len(found.assumed)
        for lot in found.lots:
            _check(lot)
        with suppress(_UndoneError), database.write() as connection:
            portfolios.store(connection, "fuzz", found.lots, KEEP, LAST)
            stored = connection.execute(sa.text("SELECT symbol, quantity, entry_price FROM lot ORDER BY id"))
            assert sorted(map(tuple, stored)) == sorted(
                (lot.symbol, lot.quantity, lot.entry_price) for lot in found.lots
            )
            raise _UndoneError
        return found

    return read_bytes


class _UndoneError(Exception):
    """Undoes what a block wrote."""


def _check(lot: Lot) -> None:
    assert SYMBOL.fullmatch(lot.symbol), lot
    assert 0 < abs(lot.quantity) < float("inf"), lot
    assert 0 <= lot.entry_price < float("inf"), lot
    assert date.min <= lot.entry_date <= (lot.exit_date or LAST) <= LAST, lot
    assert lot.asset_class in ("public", "private", "cash"), lot


def says(text: str) -> float | None:
    """What a number says, by another way than the importer's; None if it says none."""
    text = text.replace(" ", "")
    bare = re.fullmatch(r"\((.+)\)", text)
    sign, digits = re.fullmatch(r"([+-]?\$?[+-]?|\$)(.*)", bare[1] if bare else text, re.DOTALL).groups()  # type: ignore[union-attr]
    if not re.fullmatch(r"([0-9]{1,3}(,[0-9]{3})+|[0-9]+)?(\.[0-9]*)?", digits) or not re.search("[0-9]", digits):
        return None
    number = float(Decimal(digits.replace(",", "")))
    return -number if bare or "-" in sign else number


def as_csv(table: list[list[str]]) -> str:
    """Write a table as a spreadsheet does."""
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_bytes_are_refused_or_read(read: Read, examples: int) -> None:
    """Bytes of every kind, and the examples and brokers' files with some of theirs changed, whatever the options."""
    files = [*BROKERS, BOOKS / "core.csv"]
    bytes_ = st.binary(max_size=200) | st.sampled_from([file.read_bytes() for file in files]).flatmap(evil.damaged)
    readings = st.sampled_from([Reading(), Reading(dates="dmy"), Reading({"symbol": "Description"}, "mdy", LAST)])
    fuzz(examples, read, bytes_, readings)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_what_brokers_never_wrote_is_refused_or_read(read: Read, examples: int) -> None:
    """Their files with cells, rows and columns changed, in any encoding, cut off or not."""
    tables = [list(csv.reader(io.StringIO(file.read_text("utf-8-sig")))) for file in BROKERS]
    tables = [[row for row in table if row] for table in tables]
    files = st.sampled_from(tables).flatmap(evil.grids).map(as_csv).flatmap(evil.encoded)
    fuzz(examples, read, files)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_an_accepted_lot_is_what_its_line_says(read: Read, examples: int) -> None:
    """Of a plain file with one strange cell: accepted, the number and the dates are those of the text."""

    def check(row: int, column: int, text: str) -> None:
        table = [list(lot) for lot in LOTS]
        table[row][column] = text
        found = read(as_csv([PLAIN, *table]).encode())
        if found is None or len(found.lots) < len(LOTS):
            return
        for lot, cells in zip(found.lots, table, strict=True):
            symbol, quantity, price, entry, leave, _ = (cell.strip() for cell in cells)
            assert lot.symbol == symbol.upper()
            stated = 1.0 if lot.asset_class == "cash" and not price else says(price)
            assert (lot.quantity, lot.entry_price) == (says(quantity), stated), cells
            assert lot.entry_date == day(entry), cells
            assert lot.exit_date == (day(leave) if leave else None), cells

    fuzz(examples, check, st.integers(0, 3), st.integers(0, 5), evil.texts)


def day(text: str) -> date | None:
    """What a date in ISO form says, with or without a time of the day."""
    found = re.match(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?![0-9])", text)
    return date(*map(int, found.groups())) if found else None


def test_the_first_day_that_a_calendar_has_is_a_date(read: Read) -> None:
    """Found by 2,000 examples: the lot is held since then, as its line says."""
    table = [list(LOTS[0])]
    table[0][3] = "0001-01-01"
    found = read(as_csv([PLAIN, *table]).encode())
    assert found is not None
    assert found.lots[0].entry_date == date.min


@pytest.mark.parametrize("examples", EXAMPLES)
def test_workbooks_are_refused_or_read(read: Read, examples: int) -> None:
    """Cells of every type that a spreadsheet knows, in a workbook that is whole, and parts of one that is not."""
    cells = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
    cells |= st.dates(date(1900, 3, 1)) | st.datetimes(min_value=MIDNIGHT) | st.times() | st.timedeltas()
    cells |= evil.texts.filter(
        lambda text: len(text) < 1000 and not openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.search(text)
    )

    def check(row: int, column: int, value: object) -> None:
        table: list[list[object]] = [list(lot) for lot in LOTS]
        table[row][column] = value
        found = read(workbook([PLAIN, *table]))
        if found and len(found.lots) == len(LOTS) and type(value) in (int, float) and column in (1, 2):
            lot = found.lots[row]
            assert (lot.quantity, lot.entry_price)[column - 1] == pytest.approx(value, rel=1e-14)

    fuzz(examples, check, st.integers(0, 3), st.integers(0, 5), cells)


MIDNIGHT = datetime(1900, 3, 1)  # noqa: DTZ001


@pytest.mark.parametrize("examples", EXAMPLES)
def test_damaged_workbooks_are_refused_or_read(read: Read, examples: int) -> None:
    """The archive's bytes changed, or a part in it: its XML cut off, with other numbers, or bytes of another kind."""
    whole = workbook([PLAIN, *LOTS])
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def check(name: str, how: str, raw: bytes, at: int) -> None:
        part = parts[name]
        changed = {
            "damaged": lambda: part[:at] + raw + part[at + 1 :],
            "number": lambda: re.sub(rb'="[0-9]+"', lambda _: b'="%d"' % (10**at if at < 25 else -at), part, count=3),
            "reference": lambda: re.sub(rb'r="[A-Z]+[0-9]+"', lambda _: b'r="ZZZ%d"' % at, part, count=2),
            "value": lambda: re.sub(rb"<v>[^<]*</v>", lambda _: b"<v>" + raw + b"</v>", part, count=2),
            "type": lambda: re.sub(rb't="[a-z]+"', lambda _: b't="%c"' % (97 + at % 26), part, count=3),
        }[how]()
        read(zipped({**parts, name: changed}))

    names = st.sampled_from(sorted(parts))
    hows = st.sampled_from(["damaged", "number", "reference", "value", "type"])
    fuzz(
        examples,
        check,
        names,
        hows,
        st.binary(max_size=4) | st.sampled_from([b"1e999", b"-1", b"nan"]),
        st.integers(0, 3000),
    )
    fuzz(examples, read, evil.damaged(whole))


def workbook(table: list[list[object]]) -> bytes:
    """Write a table as .xlsx."""
    book = openpyxl.Workbook()
    for row in table:
        book.active.append(row)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def zipped(parts: dict[str, bytes]) -> bytes:
    """Pack the parts of a workbook."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return data.getvalue()

"""The holdings file: what is accepted, and that everything else is refused in words, never with a traceback."""

import codecs
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.sources.base import PriceRow
from resources.sources.sample import SampleSource
from sigma_dagster.portfolio import holdings
from sigma_dagster.portfolio.holdings import (
    HOLDINGS_HELP,
    Holdings,
    HoldingsError,
    Lot,
    RowError,
    portfolio_name,
    read_holdings,
)
from sigma_dagster.portfolio.holdings_file import sheet

AS_OF = date(2022, 12, 28)
HEADER = b"symbol,quantity,entry_price,entry_date,exit_date,asset_class\n"
GOOD = b"AAPL,10,75.5,2020-06-10,,\n"

Read = Callable[[bytes], Holdings]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    path = tmp_path_factory.mktemp("holdings") / "book.csv"

    def read_bytes(data: bytes) -> Holdings:
        path.write_bytes(data)
        return read_holdings(path, as_of=AS_OF, source=SampleSource())

    return read_bytes


def refused(read: Read, data: bytes) -> tuple[RowError, ...]:
    with pytest.raises(HoldingsError) as caught:
        read(data)
    return caught.value.errors


def outcome(read: Read, data: bytes) -> Holdings | HoldingsError:
    try:
        return read(data)
    except HoldingsError as error:
        return error


# --- what is accepted


def test_a_lot_carries_what_its_line_says(read: Read) -> None:
    """Every column arrives with its type."""
    found = read(HEADER + b"LOFT-7,-1.5,250000,2021-01-15,2022-03-01,private\n")
    assert found.lots == (Lot("LOFT-7", -1.5, 250000.0, date(2021, 1, 15), date(2022, 3, 1), "private"),)
    assert (found.rows, found.assumed, found.left_out, found.notes) == ((2,), (frozenset(),), (), ())


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + HEADER + GOOD,
        (HEADER + GOOD).replace(b"\n", b"\r\n"),
        (HEADER + GOOD).replace(b"\n", b"\r"),
        (HEADER + GOOD).rstrip(),
        b"# my book\n\n" + HEADER + b"\n  # bought low\n,,,,,\n" + GOOD + b"\n\n",
        b"Symbol, Quantity ,ENTRY PRICE,Entry_Date,exit date,AssetClass\n" + GOOD,
        b"entry_date,symbol,entry_price,quantity\n2020-06-10,AAPL,75.5,10\n",
        b"symbol,quantity,entry_price,entry_date\n  aapl , +10.0 ,75.50, 2020-06-10 \n",
        b'"symbol","quantity","entry_price","entry_date"\n"AAPL", "10","75.5","2020-06-10"\n',
        HEADER + b"AAPL,10.,75.5,2020-06-10,,PUBLIC\n",
    ],
)
def test_one_lot_in_its_many_spellings(read: Read, data: bytes) -> None:
    """BOM, line ends, blank and comment lines, order and case of the header, blanks and quotes change nothing."""
    (lot,) = read(data).lots
    assert (lot.symbol, lot.quantity, lot.entry_price, lot.entry_date) == ("AAPL", 10, 75.5, date(2020, 6, 10))
    assert (lot.exit_date, lot.asset_class) == (None, "public")


def test_several_lots_of_a_symbol_stay_apart(read: Read) -> None:
    """A second lot on the same day is a lot, not a duplicate."""
    first, second, third = read(HEADER + GOOD + GOOD + GOOD).lots
    assert first == second == third


def test_other_columns_are_ignored_and_named(read: Read) -> None:
    """Columns that the format does not know are returned, as spelled, for one warning; nameless ones are not."""
    book = read(b"Sector,symbol,,quantity,entry_price,entry_date,P&L\n" + b"Tech,AAPL,,1,2,2020-06-10,n/a\n")
    assert book.ignored_columns == ("Sector", "P&L")


def test_a_private_symbol_need_not_be_known(read: Read) -> None:
    """The class comes from the file: a private code is never looked up."""
    assert read(HEADER + b"LOFT-7,1,2,2020-06-10,,Private\n").lots[0].symbol == "LOFT-7"


def test_dates_on_the_limits_are_accepted(read: Read) -> None:
    """A lot may be entered, and another left, on the as-of session itself; a weekend is a date too."""
    assert len(read(HEADER + b"AAPL,1,2,2022-12-28,,\nAAPL,1,2,2022-12-24,2022-12-28,\n").lots) == 2


def test_the_help_shows_a_file_that_is_accepted(read: Read) -> None:
    """The example in `sigma onboard --help` can be copied, and its prices are those of the sample."""
    sample = HOLDINGS_HELP.split("\n\n")[1].replace("    ", "")
    lots = read(sample.encode()).lots
    assert len(lots) == 3
    assert_prices_of_the_sample([lot for lot in lots if lot.asset_class == "public"])


# --- what is refused


@pytest.mark.parametrize(
    ("line", "column", "value", "rule"),
    [
        (b"NVDA,1,2,2020-06-10,,", "symbol", "NVDA", "is not in the sample"),
        (b",1,2,2020-06-10,,", "symbol", "", "is empty"),
        (b"BRK?B,1,2,2020-06-10,,", "symbol", "BRK?B", "is not a symbol"),
        (b".SPX,1,2,2020-06-10,,", "symbol", ".SPX", "is not a symbol"),
        (b"ABCDEFGHIJKLMNOP,1,2,2020-06-10,,private", "symbol", "ABCDEFGHIJKLMNOP", "is not a symbol"),
        ("K\u017f,1,2,2020-06-10,,private".encode(), "symbol", "K\u017f", "is not a symbol"),  # upper-cases to KS
        (b"AAPL,,2,2020-06-10,,", "quantity", "", "is empty"),
        (b"AAPL,0,2,2020-06-10,,", "quantity", "0", "is no position"),
        (b"AAPL,-0.00,2,2020-06-10,,", "quantity", "-0.00", "is no position"),
        (b"AAPL,NaN,2,2020-06-10,,", "quantity", "NaN", "is not a plain decimal"),
        (b"AAPL,-Infinity,2,2020-06-10,,", "quantity", "-Infinity", "is not a plain decimal"),
        (b"AAPL,1e400,2,2020-06-10,,", "quantity", "1e400", "is not a plain decimal"),
        (b"AAPL,1e5,2,2020-06-10,,", "quantity", "1e5", "is not a plain decimal"),
        (b'AAPL,"1,00",2,2020-06-10,,', "quantity", "1,00", "is not a plain decimal"),
        (b"AAPL,1_000,2,2020-06-10,,", "quantity", "1_000", "is not a plain decimal"),
        (b"AAPL,0x10,2,2020-06-10,,", "quantity", "0x10", "is not a plain decimal"),
        (b"AAPL,(10,2,2020-06-10,,", "quantity", "(10", "is not a plain decimal"),
        (b"AAPL,(-10),2,2020-06-10,,", "quantity", "(-10)", "is not a plain decimal"),
        (b"AAPL,n/a,2,2020-06-10,,", "quantity", "n/a", "is not a plain decimal"),
        ("AAPL,\u0661,2,2020-06-10,,".encode(), "quantity", "\u0661", "is not a plain decimal"),  # an Arabic digit
        (b"AAPL," + b"9" * 400 + b",2,2020-06-10,,", "quantity", "9" * 40 + "...", "at most 12 digits before"),
        (b"AAPL,1,-2,2020-06-10,,", "entry_price", "-2", "is below 0"),
        ("AAPL,1,\u20ac2,2020-06-10,,".encode(), "entry_price", "\u20ac2", "no currency but $"),
        (b"AAPL,1,2,,,", "entry_date", "", "is empty"),
        (b"AAPL,1,2,06/10/2020,,", "entry_date", "06/10/2020", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,20200631,,", "entry_date", "20200631", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,2020-6-1,,", "entry_date", "2020-6-1", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,2021-02-29,,", "entry_date", "2021-02-29", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,0000-01-01,,", "entry_date", "0000-01-01", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,2022-12-29,,", "entry_date", "2022-12-29", "is after 2022-12-28"),
        (b"AAPL,1,2,2020-06-10,2022-12-29,", "exit_date", "2022-12-29", "is after 2022-12-28"),
        (b"AAPL,1,2,2020-06-10,2020-06-09,", "exit_date", "2020-06-09", "is before the entry date, 2020-06-10"),
        (b"AAPL,1,2,2020-06-10,never,", "exit_date", "never", "is not a date YYYY-MM-DD"),
        (b"AAPL,1,2,2020-06-10,,cash cow", "asset_class", "cash cow", "is not an asset class"),
        (b"AAPL,1,2,2020-06-10", "line", "4", "values, but the header names 6 columns"),
        (b"AAPL,1,000,2,2020-06-10,,", "line", "7", "values, but the header names 6 columns"),
        (b'AAPL,"1,2,2020-06-10,,', "line", 'AAPL,"1,2,2020-06-10,,', "is not a line of CSV"),
        (b'"AAPL"x,1,2,2020-06-10,,', "line", '"AAPL"x,1,2,2020-06-10,,', "is not a line of CSV"),
    ],
)
def test_trap_30_a_bad_value_is_named_with_its_rule(
    read: Read, line: bytes, column: str, value: str, rule: str
) -> None:
    """Line number, column, value and rule of each mistake, and only that mistake, among good lines."""
    (error,) = refused(read, HEADER + GOOD + line + b"\n" + GOOD)
    assert (error.row, error.column, error.value) == (3, column, value)
    assert rule in error.rule


@pytest.mark.parametrize(
    ("data", "row", "column", "rule"),
    [
        (b"", 0, "file", "is empty"),
        (b"\r\n# nothing\n\n", 0, "file", "is empty"),
        (HEADER, 0, "file", "has a header but no lots"),
        (HEADER + b"\n,,,,,\n# later\n", 0, "file", "has a header but no lots"),
        ((HEADER + GOOD).decode().encode("utf-16-le"), 0, "file", "is not a text file"),
        (b"\xff\xfes\x00y", 0, "file", "begins as UTF-16"),
        (b"PK\x03\x04\x14\x00\x06\x00", 0, "file", "is not an Excel file (.xlsx) that can be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "file", "save it as .xlsx"),
        (HEADER + GOOD + b"# \x81\n", 3, "file", "neither UTF-8 nor Windows-1252"),
        (b"\n" + HEADER[:-1] + b",Symbol\n" + GOOD, 2, "symbol", "stands more than once"),
        (b"# mine\nsymbol,entry_price\nAAPL,1\n", 2, "header", "names no column quantity"),
        (b"Name,Stk\nAAPL,1\n", 1, "header", "--map symbol=NAME,quantity=NAME"),
        (b"x" * sheet.MAX_BYTES, 1, "header", "names no column symbol and quantity"),
        (b"x" * (sheet.MAX_BYTES + 1), 0, "file", "is larger than 10 MB"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(read: Read, data: bytes, row: int, column: str, rule: str) -> None:
    """What is no holdings file at all is told in one message."""
    (error,) = refused(read, data)
    assert (error.row, error.column) == (row, column)
    assert rule in error.rule


def test_what_is_wrong_with_the_form_of_a_column_is_said_once(read: Read) -> None:
    """D5: a column of dates in words is one line that names the rows; symbols are named one by one."""
    lines = b"".join(b"AAPL,1,75.5,%d June 2020,,\n" % day for day in range(1, 15)) + b"XX,1,2,2020-06-10,,\n"
    with pytest.raises(HoldingsError) as caught:
        read(HEADER + lines + b"YY,1,2,2020-06-10,,\n")
    first, *others = str(caught.value).splitlines()
    assert first.startswith("row 2, entry_date: '1 June 2020' is not a date YYYY-MM-DD")
    assert first.endswith("(so in rows 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 3 more)")
    assert [line[:14] for line in others[:2]] == ["row 16, symbol", "row 17, symbol"]
    assert others[2].startswith("For prices of any US stock")
    assert len(caught.value.errors) == 16


@pytest.mark.parametrize(("typed", "meant"), [("APPL", "AAPL"), ("mstf", "MSFT"), ("JNJJ", "JNJ")])
def test_a_symbol_close_to_a_known_one_is_asked_about(read: Read, typed: str, meant: str) -> None:
    """D4: a slip is met with the symbol that was probably meant, and with the way out that always exists."""
    (error,) = refused(read, HEADER + f"{typed},1,2,2020-06-10,,\n".encode())
    assert f"did you mean {meant}?" in error.rule
    assert "asset_class private" in error.rule


def test_a_symbol_far_from_all_is_not_guessed_at(read: Read) -> None:
    """D4: no guess where nothing is close; the `private` way out is said all the same."""
    (error,) = refused(read, HEADER + b"NVDA,1,2,2020-06-10,,\n")
    assert "did you mean" not in error.rule
    assert "asset_class private" in error.rule


def test_lots_that_hold_or_are_worth_nothing_are_accepted_and_listed(read: Read) -> None:
    """G5: a round trip of one day, a gift at price 0 and a private lot without a value are no reason to refuse."""
    found = read(
        HEADER + b"KO,5,50,2021-06-15,2021-06-15,\nAAPL,3,0,2021-06-15,,\nLOFT,1,0,2021-06-15,,private\n" + GOOD
    )
    assert [(lot.symbol, lot.entry_price) for lot in found.lots[:3]] == [("KO", 50.0), ("AAPL", 0.0), ("LOFT", 0.0)]
    assert not found.lots[0].held_within(date(2021, 1, 4), date(2022, 12, 28))
    assert [note.rpartition(": ")[2] for note in found.notes] == ["row 2 KO", "row 3 AAPL", "row 4 LOFT"]
    assert read(HEADER + GOOD).notes == ()


def test_a_line_of_empty_quoted_cells_is_blank(read: Read) -> None:
    """G4: some spreadsheets quote every cell, the empty ones at the end of the sheet too."""
    assert len(read(HEADER + GOOD + b'"","","","","",""\n" ",,"",,,\n').lots) == 1


@pytest.mark.parametrize("name", ["missing.csv", "", "x" * 300, "a\0b"])
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """Nothing there, a folder, an impossible name: the message carries the path and the system's reason."""
    with pytest.raises(HoldingsError, match="cannot be read: ") as caught:
        read_holdings(f"{tmp_path}/{name}", as_of=AS_OF, source=SampleSource())
    assert caught.value.errors[0].value == f"{tmp_path}/{name}"


def test_all_errors_are_collected_and_twenty_are_shown(read: Read) -> None:
    """One pass finds everything; the text stays short and says how much it leaves out."""
    with pytest.raises(HoldingsError) as caught:
        read(HEADER + b"$,1,2,2020-06-10,,\n" * 24 + GOOD + b"AAPL,1\n")
    assert len(caught.value.errors) == 25
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("row 2, symbol: '$' is not a symbol")
    assert lines[-1] == "... and 5 more"


def test_messages_that_a_newcomer_meets_say_what_to_do(read: Read) -> None:
    """The two first mistakes of everyone with a portfolio of their own: an unknown symbol, a recent date."""
    errors = refused(read, HEADER + GOOD + GOOD + b"NVDA,1,2,2020-06-10,,\nAAPL,1,2,2024-05-01,,\n")
    assert [str(error) for error in errors] == [
        "row 4, symbol: 'NVDA' is not in the sample (20 symbols: AAPL, AMD, ...): hold it as asset_class private, "
        'or see README, "Your own prices"',
        "row 5, entry_date: 2024-05-01 is after 2022-12-28, the last session of the sample",
    ]


class LiveSource:
    """A source of another kind: it follows the market and cannot list its symbols."""

    name = "live"
    title = "the live source"
    coverage = "any listed stock"
    calls = 0

    def fetch(self, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        raise AssertionError(f"a provider call for {symbol}, {first} to {last}: reading a file must not cost any")

    def latest_session(self) -> None:
        return None

    def symbols(self) -> None:
        return None


def test_the_source_is_asked_what_it_knows_and_nothing_else(tmp_path: Path) -> None:
    """A source that cannot list its symbols refuses none, is not fetched from, and does not lend its wording."""
    path = tmp_path / "book.csv"
    path.write_bytes(HEADER + b"NVDA,1,2,2020-06-10,,\nNVDA,1,2,2024-05-01,,\n")
    assert len(read_holdings(path, as_of=date(2024, 5, 1), source=LiveSource()).lots) == 2
    with pytest.raises(HoldingsError, match=r"2024-05-01 is after 2022-12-28, the as-of session$"):
        read_holdings(path, as_of=AS_OF, source=LiveSource())


def test_control_characters_do_not_reach_the_terminal(read: Read) -> None:
    """A file cannot colour, move or fake the output that quotes it."""
    for data in (HEADER + b"\x1b[2J,1,2,2020-06-10,,\n", b"\x1b[2J,\x1b[2J\n", b'"\x1b[2J\n'):
        assert all(line.isprintable() for error in refused(read, data) for line in str(error).splitlines())


def test_a_hundred_thousand_lots_are_read(read: Read) -> None:
    """Promise: the largest file that is allowed is read whole, and one lot more is refused."""
    data = HEADER + GOOD * holdings.MAX_ROWS
    assert len(read(data).lots) == holdings.MAX_ROWS
    assert [error.rule for error in refused(read, data + GOOD)] == [
        "has more than 100,000 lots; split it into portfolios"
    ]


# --- any bytes

CELL = st.one_of(
    st.sampled_from(
        ["AAPL", "1", "-2.5", "0", "2020-06-10", "2024-01-01", "private", "", "NaN", '"', '"a,b"', "#", "\ufeff"]
    ),
    st.text(max_size=8),
)
NEARLY = st.lists(st.lists(CELL, max_size=7).map(",".join), max_size=8).map(
    lambda lines: HEADER + "\n".join(lines).encode("utf-8", "surrogatepass")
)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda junk: HEADER + junk), NEARLY))
@example(b"\xef\xbb\xbf\xff")
@example(HEADER + b"\xed\xa0\x80")
def test_any_bytes_give_lots_or_errors(read: Read, data: bytes) -> None:
    """No bytes lead to anything else, lots keep the promises of their types, errors point into the file."""
    result = outcome(read, data)
    if isinstance(result, HoldingsError):
        lines = len(re.split(rb"\r\n|\r|\n", data))
        assert result.errors
        assert all(0 <= error.row <= lines and error.rule and len(error.column) < 20 for error in result.errors)
        assert len(str(result).splitlines()) <= 21
    else:
        assert result.lots
        for lot in result.lots:
            assert re.fullmatch(r"[A-Z0-9][A-Z0-9.-]{0,14}", lot.symbol)
            assert 0 < abs(lot.quantity) < 1e12
            assert 0 < lot.entry_price < 1e12
            assert lot.entry_date <= AS_OF
            assert lot.exit_date is None or lot.entry_date < lot.exit_date <= AS_OF


@given(
    st.lists(st.sampled_from([GOOD, b"\n", b"# note\n", b",,,,,\n", b"  \t\n", b"AAPL,x,2,2020-06-10,,\n"]), min_size=1)
)
def test_line_numbers_are_those_of_a_text_editor(read: Read, lines: list[bytes]) -> None:
    """Header, comments and blank lines are counted, whatever stands between the lots."""
    bad = [number for number, line in enumerate([HEADER, *lines], start=1) if b"x" in line and line != HEADER]
    result = outcome(read, HEADER + b"".join(lines))
    if isinstance(result, HoldingsError):
        assert [error.row for error in result.errors] == (bad or [0])
    else:
        assert len(result.lots) == lines.count(GOOD)
        assert not bad


@pytest.mark.parametrize(
    "line",
    [
        b"AAPL,1,5.2,2020-06-10,,option",
        b"AAPL240119C00150000,1,5.2,2020-06-10,,",
        b"AAPL  240119C00150000,1,5.2,2020-06-10,,",
        b"AAPL240119C150,1,5.2,2020-06-10,,public",
        b" -AAPL240119C150,1,5.2,2020-06-10,,",
        b"AAPL 01/19/2024 150.00 C,1,5.2,2020-06-10,,",
        b"AAPL 19JAN24 150 P,1,5.2,2020-06-10,,",
        b"AAPL Jan 19 '24 $150 Call,1,5.2,2020-06-10,,",
    ],
)
def test_trap_21_an_option_is_listed_and_never_priced_as_its_stock(read: Read, line: bytes) -> None:
    """However an option is written, and whatever class is claimed of it, it is no lot: it is named with the reason."""
    found = read(HEADER + GOOD + line + b"\n")
    assert [lot.symbol for lot in found.lots] == ["AAPL"]
    ((row, text, reason),) = found.left_out
    assert (row, text) == (3, line.decode().split(",")[0].strip())
    assert reason.startswith("an option")


# --- the portfolio's name


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        (None, "books/core.csv", "core"),
        (None, Path("books/2022 Q4.v2.csv"), "2022 Q4.v2"),
        (None, "core", "core"),
        ("My book_1-a", "core.csv", "My book_1-a"),
        ("x" * 64, "core.csv", "x" * 64),
        ("core ", "other.csv", "core"),  # no twin of `core`
        (None, " core .csv", "core"),
    ],
)
def test_a_portfolio_is_named_by_option_or_file(name: str | None, path: str | Path, expected: str) -> None:
    """The option wins, else the file's name without its suffix."""
    assert portfolio_name(name, path) == expected


@pytest.mark.parametrize("name", ["", "  ", "a|b", "a/b", "caf\u00e9", "co\nre", "x" * 65, "-x", ".", "\u0663"])
def test_a_name_that_cannot_be_a_partition_key_is_refused(name: str) -> None:
    """The rule holds for the whole name, a line end included, and the message offers the option."""
    with pytest.raises(HoldingsError, match="give one with --name") as caught:
        portfolio_name(name, "core.csv")
    assert (caught.value.errors[0].row, caught.value.errors[0].column) == (0, "name")
    with pytest.raises(HoldingsError):
        portfolio_name(None, "my book!.csv")


# --- the examples


def assert_prices_of_the_sample(lots: Sequence[Lot]) -> None:
    source = SampleSource()
    for lot in lots:
        (row,) = source.fetch(lot.symbol, lot.entry_date, lot.entry_date)
        assert lot.entry_price == row.close, lot


@pytest.mark.parametrize(("name", "positions"), [("core", 10), ("growth", 15)])
def test_the_examples_are_bought_at_the_prices_of_the_sample(name: str, positions: int) -> None:
    """Entry prices are the closes of the entry sessions, and all lots are held through the last 365 sessions."""
    path = Path(__file__).parents[2] / "examples" / f"{name}.csv"
    book = read_holdings(path, as_of=AS_OF, source=SampleSource())
    assert len({lot.symbol for lot in book.lots}) == len(book.lots) == positions
    assert book.ignored_columns == ()
    assert_prices_of_the_sample(book.lots)
    assert all(date(2020, 6, 1) <= lot.entry_date <= date(2021, 7, 1) and not lot.exit_date for lot in book.lots)


def test_growth_shares_the_symbols_of_core() -> None:
    """The demo rests on it: ten symbols in common, five new ones."""
    folder = Path(__file__).parents[2] / "examples"
    core, growth = (
        {lot.symbol for lot in read_holdings(folder / f"{name}.csv", as_of=AS_OF, source=SampleSource()).lots}
        for name in ("core", "growth")
    )
    assert core < growth
    assert len(growth - core) == 5


def test_reading_needs_no_pandas() -> None:
    """The command line imports this module for its help, which must appear at once."""
    code = "import sys, sigma_dagster.portfolio.holdings; sys.exit('pandas' in sys.modules or 'dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code

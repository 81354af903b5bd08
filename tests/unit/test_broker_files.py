"""Files as brokers export them: each row is a lot or is listed with its reason, and what is assumed is said."""

import csv
import json
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from resources.sources.sample import SampleSource
from sigma_dagster.portfolio.holdings import Holdings, HoldingsError, Lot, Reading, read_holdings
from sigma_dagster.portfolio.holdings_file.table import parse_map
from tests.support.home import LAST, ROOT

BROKERS = ROOT / "tests" / "fixtures" / "brokers"
BOUGHT, SOLD = date(2020, 6, 10), date(2021, 4, 20)
AAPL, MSFT = Lot("AAPL", 120, 86.605, LAST), Lot("MSFT", -40, 253.131, LAST)

Read = Callable[..., Holdings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(text: str | bytes, **reading: object) -> Holdings:
        path = tmp_path / "book.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_holdings(path, as_of=LAST, source=SampleSource(), reading=Reading(**reading))  # type: ignore[arg-type]

    return read_text


def cash(symbol: str, amount: float) -> Lot:
    return Lot(symbol, amount, 1.0, LAST, None, "cash")


#: The lots of each file, by hand; the last session is the entry date of those that the broker gives none of.
LOTS = {
    "fidelity": [cash("SPAXX", 4210.55), AAPL, Lot("KO", 75.5, 0, LAST), MSFT],
    "schwab": [AAPL, Lot("JNJ", 10, 0, LAST), Lot("MTUM", 25, 156.0, LAST), cash("CASH", 9483.2)],
    "ibkr_statement": [
        cash("CASH", 5120.4),
        Lot("AAPL", 100, 86.605, BOUGHT),
        Lot("AAPL", 20, 107.575, SOLD),
        Lot("MSFT", -40, 253.131, LAST),
    ],
    "ibkr_flex": [
        Lot("AAPL", 100, 86.605, BOUGHT),
        Lot("AAPL", 20, 107.575, SOLD),
        Lot("MSFT", -40, 253.131, SOLD),
    ],
    "vanguard": [Lot("AAPL", 120, 0, LAST), Lot("KO", 75.5, 0, LAST), cash("VMFXX", 4210.55)],
    "robinhood": [
        Lot("AAPL", 120, 86.61, LAST),
        Lot("JNJ", 2.5, 0, LAST),
        Lot("KO", 75.5, 50.1, LAST),
        cash("USD", 310.22),
    ],
    "etrade": [AAPL, Lot("KO", 75.5, 50.1, LAST), cash("CASH", 6348.8)],
}


@pytest.mark.parametrize("broker", LOTS)
def test_a_brokers_file_is_read_without_an_option(broker: str) -> None:
    """The lots are those that stand in the file, computed by hand: quantities, costs, dates, shorts, cash."""
    found = read_holdings(BROKERS / f"{broker}.csv", as_of=LAST, source=SampleSource())
    assert list(found.lots) == LOTS[broker]


@pytest.mark.parametrize("broker", LOTS)
def test_every_row_of_a_brokers_file_is_a_lot_or_is_listed_with_its_reason(broker: str) -> None:
    """No line is lost without a word, but the headers and blank ones; the options are among those listed."""
    text = (BROKERS / f"{broker}.csv").read_text(encoding="utf-8-sig")
    found = read_holdings(BROKERS / f"{broker}.csv", as_of=LAST, source=SampleSource())
    filled = {number for number, line in enumerate(text.splitlines(), start=1) if line.strip('", ')}
    told = {*found.rows, *(one.row for one in found.left_out)}
    assert len(found.rows) + len(found.left_out) == len(told)
    headers = filled - told
    assert all({"Symbol"} <= set(next(csv.reader([text.splitlines()[row - 1]]))) for row in headers)
    assert len(headers) == (2 if broker == "ibkr_statement" else 1)
    assert all(one.reason for one in found.left_out)
    options = [one for one in found.left_out if one.reason.startswith("an option")]
    assert len(options) == (0 if broker == "vanguard" else 1)


def test_what_a_broker_does_not_say_is_marked_as_assumed() -> None:
    """Dates and costs that stand in the file are not among the assumed ones."""
    flex = read_holdings(BROKERS / "ibkr_flex.csv", as_of=LAST, source=SampleSource())
    assert set(flex.assumed) == {frozenset()}
    fidelity = read_holdings(BROKERS / "fidelity.csv", as_of=LAST, source=SampleSource())
    dated = frozenset({"entry_date"})
    assert list(fidelity.assumed) == [dated, dated, frozenset({"entry_date", "entry_price"}), dated]


def test_the_kind_of_account_is_no_asset_class() -> None:
    """Fidelity's column Type says Cash of stocks held in a cash account."""
    found = read_holdings(BROKERS / "fidelity.csv", as_of=LAST, source=SampleSource())
    assert [lot.asset_class for lot in found.lots] == ["cash", "public", "public", "public"]


@pytest.mark.parametrize(
    ("report", "lots", "left_out"),
    [
        ("Base Currency Summary,-120.5", [cash("CASH", -120.5)], 0),
        ("Base Currency Summary,0", [], 1),
        ("Base Currency Summary,900|USD,900", [cash("CASH", 900)], 1),
        ("Base Currency Summary,900|EUR,0|USD,900", [cash("CASH", 900)], 2),
    ],
)
def test_the_cash_of_a_statement_is_a_lot(read: Read, report: str, lots: list[Lot], left_out: int) -> None:
    """What was there at the end, debts too, counted once; a sum over currencies and 0 are listed."""
    rows = "".join(f"Cash Report,Data,Ending Cash,{row}\n" for row in report.split("|"))
    found = read(
        "Account Information,Data,Base Currency,USD\nCash Report,Header,Currency Summary,Currency,Total\n"
        f"{rows}Open Positions,Header,Currency,Symbol,Quantity\nOpen Positions,Data,USD,KO,5\n"
    )
    assert list(found.lots) == [*lots, Lot("KO", 5, 0, LAST)]
    told = [one for one in found.left_out if "Ending Cash" in one.text or one.text == "CASH"]
    assert len(told) == left_out
    assert len(found.rows) + len(found.left_out) == 4 + report.count("|")


@pytest.mark.parametrize(("base", "row"), [("EUR", "Base Currency Summary,5"), ("USD", "EUR,5")])
def test_cash_in_another_currency_is_refused_as_any_row_is(read: Read, base: str, row: str) -> None:
    """Its dollars are not known."""
    with pytest.raises(HoldingsError) as caught:
        read(
            f"Account Information,Data,Base Currency,{base}\nCash Report,Header,Currency Summary,Currency,Total\n"
            f"Cash Report,Data,Ending Cash,{row}\nOpen Positions,Header,Symbol,Quantity\nOpen Positions,Data,KO,5\n"
        )
    assert [(error.row, error.column, error.value) for error in caught.value.errors] == [(3, "currency", "EUR")]


def test_short_and_odd_rows_of_a_statement_are_listed(read: Read) -> None:
    """Rows of one cell, a cash report without columns that say what: none is lost, none ends the reading."""
    found = read(
        "x\nCash Report\nCash Report,Data,Ending Cash,USD,5\nCash Report,Header,Currency\n"
        "Cash Report,Data,Ending Cash\n"
        "Open Positions,Header,Symbol,Quantity\nOpen Positions,Data,KO,5\nOpen Positions\n"
    )
    assert found.rows == (7,)
    assert [one.row for one in found.left_out] == [1, 2, 3, 4, 5, 8]


# --- names of columns


def test_a_column_of_another_name_is_mapped(read: Read) -> None:
    """`--map` adds to the aliases; the other columns keep theirs."""
    found = read("Wertpapier,Stk,Cost Price\nAAPL,3,100\n", mapped=parse_map("symbol=Wertpapier, quantity=STK"))
    assert found.lots == (Lot("AAPL", 3, 100.0, LAST),)


@pytest.mark.parametrize(("text", "said"), [("quantity=Stk", "is no column of the header"), ("a=b", "a=b"), ("x", "x")])
def test_a_map_that_does_not_fit_is_refused(read: Read, text: str, said: str) -> None:
    """A name that no column has, and a column that there is not, are named."""
    with pytest.raises(ValueError, match=said):
        read("Symbol,Shares\nAAPL,1\n", mapped=parse_map(text))


def test_the_total_cost_counts_where_there_is_no_cost_a_share(read: Read) -> None:
    """Total / quantity, whichever sign a broker gives the cost of a short position; a cost a share comes first."""
    text = "Ticker,Qty,Cost Basis,Average Cost Basis\nAAPL,4,100,\nKO,-4,-100,\nMSFT,-4,100,\nJNJ,4,100,7\n"
    assert [lot.entry_price for lot in read(text).lots] == [25.0, 25.0, 25.0, 7.0]


# --- numbers and dates


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1,234.5", 1234.5), ("$1,234.50", 1234.5), ("1,234,567", 1234567.0), ("+7", 7.0), (".5", 0.5)],
        *[("(12.5)", -12.5), ("($12.50)", -12.5), ("-$3", -3.0), ("$-3", -3.0)],
    ],
)
def test_numbers_as_brokers_write_them(read: Read, text: str, value: float) -> None:
    """Dollars, thousands and brackets for what is below 0."""
    assert read(f'Symbol,Quantity\nAAPL,"{text}"\n').lots[0].quantity == value


def test_semicolons_bring_decimal_commas_unless_the_numbers_contradict(read: Read) -> None:
    """`1.234,5` is 1234.5 there; a file with decimal points is read with these; either is said."""
    comma = read("Symbol;Qty;Cost Price\nAAPL;1.234,5;86,605\nKO;10;1.200\n")
    assert [(lot.quantity, lot.entry_price) for lot in comma.lots] == [(1234.5, 86.605), (10, 1200)]
    assert "Decimals are read after a comma" in comma.notes
    point = read("Symbol;Qty;Cost Price\nAAPL;10;86.605\nKO;10;50.5\n")
    assert [lot.entry_price for lot in point.lots] == [86.605, 50.5]
    assert "Decimals are read after a point" in point.notes


@pytest.mark.parametrize("sign", ["\t", "|"])
def test_tabs_and_bars_separate_too(read: Read, sign: str) -> None:
    """Whatever separates the columns, no option is needed."""
    assert read(f"Symbol{sign}Qty\nAAPL{sign}1,000.5\n").lots[0].quantity == 1000.5


def test_the_form_of_dates_is_decided_for_the_whole_column_and_said(read: Read) -> None:
    """One date that only month/day fits decides all; so does one that only day/month fits."""
    us = read("Symbol,Qty,Date Acquired\nAAPL,1,03/04/2021\nKO,1,6/15/21\n")
    assert [lot.entry_date for lot in us.lots] == [date(2021, 3, 4), date(2021, 6, 15)]
    assert us.notes == ("Dates are read as month/day/year",)
    other = read("Symbol,Qty,Date Acquired\nAAPL,1,03/04/2021\nKO,1,15.6.2021\n")
    assert [lot.entry_date for lot in other.lots] == [date(2021, 4, 3), date(2021, 6, 15)]


def test_dates_that_fit_both_forms_are_asked_for(read: Read) -> None:
    """Nothing is guessed: the message names the option, and the option decides."""
    text = "Symbol,Qty,Date Acquired\nAAPL,1,03/04/2021\nKO,1,5/6/2021\n"
    with pytest.raises(HoldingsError, match="say which by --dates mdy or --dates dmy") as caught:
        read(text)
    assert len(caught.value.errors) == 1
    assert [lot.entry_date.month for lot in read(text, dates="mdy").lots] == [3, 5]
    assert [lot.entry_date.month for lot in read(text, dates="dmy").lots] == [4, 6]


def test_the_entry_date_of_lots_without_one_can_be_given(read: Read) -> None:
    """`--entry-date` stands in for a missing column and for cells that say nothing; what stands there stays."""
    text = "Symbol,Qty,Entry Date\nAAPL,1,2021-06-15\nKO,1,--\nMSFT,1,\n"
    found = read(text, entry_date=SOLD)
    assert [lot.entry_date for lot in found.lots] == [date(2021, 6, 15), SOLD, SOLD]


# --- encodings and workbooks


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
def test_encodings(read: Read, encoding: str) -> None:
    """UTF-8, UTF-16 with its mark, and Windows-1252, which is said so since it is a guess."""
    found = read("Symbol,Qty,Name\nAAPL,1,Soci\u00e9t\u00e9\n".encode(encoding))
    assert found.lots == (Lot("AAPL", 1, 0.0, LAST),)
    assert bool(found.notes) == (encoding == "windows-1252")


def test_a_workbook_is_read_from_the_first_sheet_with_a_header(tmp_path: Path) -> None:
    """Numbers and dates of cells come without a loss; blank rows, totals and other sheets are as in a text file."""
    book = openpyxl.Workbook()
    book.active.append(["Notes"])
    positions = book.create_sheet("Positions")
    for row in (
        ["Portfolio of", "me"],
        [],
        ["Ticker", "Qty", "Average Cost Basis", "Date Acquired"],
        ["AAPL", 0.1 + 0.2, 86.605, date(2020, 6, 10)],
        ["KO", "1,000", "--", "4/20/2021"],
        ["Total", None, 1, None],
    ):
        positions.append(row)
    book.save(tmp_path / "book.xlsx")
    found = read_holdings(tmp_path / "book.xlsx", as_of=LAST, source=SampleSource(), reading=Reading(dates="mdy"))
    assert found.lots == (Lot("AAPL", 0.3, 86.605, BOUGHT), Lot("KO", 1000, 0, SOLD))
    assert found.rows == (4, 5)
    assert [one.row for one in found.left_out] == [1, 6]
    assert "Read from the sheet 'Positions'" in found.notes


def test_a_bomb_of_a_workbook_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """An archive that says it unpacks to more than 100 MB, and entities that grow, end in one sentence each."""
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    book = openpyxl.Workbook()
    book.active.append(["Symbol", "Qty"])
    book.save(tmp_path / "good.xlsx")
    with zipfile.ZipFile(tmp_path / "good.xlsx") as good, zipfile.ZipFile(tmp_path / "evil.xlsx", "w") as evil:
        for name in good.namelist():
            text = good.read(name).decode()
            evil.writestr(name, text.replace("<worksheet", f"{entities}<worksheet", 1) if "sheet1" in name else text)
    with zipfile.ZipFile(tmp_path / "large.xlsx", "w", zipfile.ZIP_DEFLATED) as large:
        large.writestr("xl/worksheets/sheet1.xml", b" " * (101 * 2**20))
    for name, said in (("evil", "is not an Excel file"), ("large", "unpacks to more than 100 MB")):
        with pytest.raises(HoldingsError, match=said) as caught:
            read_holdings(tmp_path / f"{name}.xlsx", as_of=LAST, source=SampleSource())
        assert len(str(caught.value).splitlines()) == 1


# --- what is no lot, and what looks like it


def test_other_currencies_are_refused(read: Read) -> None:
    """A row in euros refuses the file, with the way out; an option in euros is left out anyway."""
    with pytest.raises(HoldingsError) as caught:
        read("Symbol,Quantity,CurrencyPrimary\nAAPL,1,USD\nKO,1,EUR\n")
    ((row, column, value, rule),) = caught.value.errors
    assert (row, column, value) == (3, "currency", "EUR")
    assert "US dollars" in rule


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("ESZ3,1,Futures", "a future"),
        ("912828YK0,1000,", "a security without a ticker"),
        ("T 2.5 05/15/46,1000,Bond", "a bond"),
        ("BTC,1,Crypto", "a cryptocurrency"),
        ("AAPL,1,Equity and Index Options", "an option"),
        ("Pending activity,,", "pending activity"),
        ("Total,,", "a total"),
        ("The prices are those of the close,,", "a text"),
    ],
)
def test_what_risk_is_not_computed_of_is_listed(read: Read, row: str, reason: str) -> None:
    """Neither a lot nor an error: the row, what stands there and why it is left out."""
    found = read(f"Symbol,Quantity,Security Type\nKO,1,Stock\n{row}\n")
    assert len(found.lots) == 1
    ((number, text, said),) = found.left_out
    assert (number, text.split(",")[0]) == (3, row.split(",")[0])
    assert said.startswith(reason)


def test_trap_28_one_writing_of_a_symbol_and_the_class_from_the_file(tmp_path: Path) -> None:
    """BF.B and BF-B are one; tickers like CASH are stocks where they have a cost; private codes stay private."""

    class Live(SampleSource):
        def symbols(self) -> None:  # type: ignore[override]
            return None

    path = tmp_path / "book.csv"
    path.write_text(
        "Symbol,Quantity,Cost Price,Asset Type\nBF.B,1,60,\nBF-B,1,60,\nbf/b,1,60,\nBF B,1,60,Stock\n"
        "CASH,10,41,\nUSD,5,30,\nXX,3,2,\nAAPL240119C150,1,9,Private\n"
    )
    found = read_holdings(path, as_of=LAST, source=Live())
    assert [lot.symbol for lot in found.lots[:4]] == ["BF.B"] * 4
    assert [(lot.symbol, lot.asset_class) for lot in found.lots[4:]] == [
        ("CASH", "public"),
        ("USD", "public"),
        ("XX", "public"),
        ("AAPL240119C150", "private"),
    ]


def test_trap_30_a_mistake_in_a_brokers_file_refuses_it_whole(read: Read) -> None:
    """Row, column, value and rule of each, as in the plain layout; a total or a text hides none of them."""
    with pytest.raises(HoldingsError) as caught:
        read('Ticker,Shares,Average Cost\nAAPL,ten,5\nKO,1,-3\n,4,5\nMSFT,1,2,3\n"KO,1\nTotal,,\n')
    assert [(error.row, error.column) for error in caught.value.errors] == [
        (2, "quantity"),
        (3, "entry_price"),
        (4, "symbol"),
        (5, "line"),
        (6, "line"),
    ]


def test_lots_go_on_after_a_blank_line_and_a_repeated_header(read: Read) -> None:
    """Several accounts in one file: the same header again, and rows of the table after a blank line, are lots."""
    text = "Account 1\nTicker,Shares\nAAPL,1\n\nKO,2\nTotal,\n\nAccount 2\nTicker,Shares\nMSFT,3\n"
    found = read(text)
    assert [(lot.symbol, lot.quantity) for lot in found.lots] == [("AAPL", 1), ("KO", 2), ("MSFT", 3)]
    assert [one.row for one in found.left_out] == [1, 6, 8]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "=cmd()", "@SUM(A1)", "A" * 200, "\u202eLPAA", "\x1b[31mAAPL", "a\u0085b"]
)
def test_hostile_names_are_refused_and_shown_harmlessly(read: Read, name: str) -> None:
    """None becomes a symbol, of whichever class; the message is printable text, the JSON plain ASCII."""
    for kind in ("Stock", "Private"):
        with pytest.raises(HoldingsError) as caught:
            read(f"Symbol,Quantity,Type\nKO,1,Stock\n{name},1,{kind}\n")
        assert {error.column for error in caught.value.errors} <= {"symbol", "line"}
        assert all(line.isprintable() for line in str(caught.value).splitlines())
        assert json.dumps([error._asdict() for error in caught.value.errors]).isascii()

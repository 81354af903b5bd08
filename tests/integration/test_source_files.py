"""The price source `files`: layouts, changes, errors that name their place, and a file that is larger than memory."""

import itertools
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resources.database.quota import DatabaseMeter
from resources.sources.base import PriceRow, SourceError, SourceSettingError, SourceUnavailableError, UnknownSymbolError
from resources.sources.file_layouts import PriceFileError
from resources.sources.files import FilesSource
from resources.sources.options import SourceOptions
from tests.support.vendors.market import archive

ALWAYS = (date.min, date.max)
LONG = "symbol,date,close,open,high,low,volume,dividend,split\n"
DAYS = pd.to_datetime(["2013-02-27", "2013-02-28", "2013-03-01"])

Make = Callable[..., FilesSource]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prices").mkdir()
    return tmp_path / "prices"


@pytest.fixture
def make(folder: Path, meter: DatabaseMeter, tmp_path: Path) -> Make:
    """Write files, given by name, and make the source of them."""

    def made(**files: str) -> FilesSource:
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return FilesSource(SourceOptions(price_files=folder, meter=meter, cache=tmp_path / "cache"))

    return made


def closes(source: FilesSource, symbol: str) -> dict[str, float]:
    """Close by ISO date."""
    return {row.session.isoformat(): row.close for row in source.fetch(symbol, *ALWAYS)}


# --- layouts


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_long_raw_layout_is_kept_to_the_last_digit(folder: Path, make: Make, kind: str) -> None:
    """Five stocks, 13 years, prices, dividends and splits as they were written, whatever the order of rows."""
    market = archive()
    frame = pd.DataFrame([(symbol, *row) for symbol, rows in market.rows.items() for row in rows])
    frame.columns = ["symbol", "date", *PriceRow._fields[1:]]
    frame = frame.sample(frac=1, random_state=3)
    if kind == "csv":
        frame.to_csv(folder / "all.csv", index=False)
    else:
        frame.to_parquet(folder / "all.parquet", index=False, row_group_size=5_000)
    source = make()
    assert source.symbols() == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert source.latest_session() == date(2013, 3, 1)
    assert source.coverage == "5 symbols: AAPL, FB, ..."
    for symbol, rows in market.rows.items():
        assert source.fetch(symbol, *ALWAYS) == rows
    first, last = date(2005, 2, 1), date(2005, 2, 28)
    assert source.fetch("AAPL", first, last) == [r for r in market.rows["AAPL"] if first <= r.session <= last]


ADJUSTED = PriceRow(date(2013, 3, 1), None, None, None, 20.5, None, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("all.csv", "symbol,date,adjusted_close\nAAPL,2013-03-01,20.5\n", ADJUSTED),
        ("AAPL.csv", "date,close\n2013-03-01,20.5\n", ADJUSTED),
        ("wide.csv", "date,AAPL,MSFT\n2013-03-01,20.5,1\n", ADJUSTED),
        ("wide.csv", "date;AAPL;MSFT\n2013-03-01;20.5;\n", ADJUSTED),
        ("wide.txt", "\ufeffDate\tAAPL\tMSFT\r\n2013-03-01\t20.5\tNaN\r\n", ADJUSTED),
        # Yahoo's page: the adjusted close counts, and the others are scaled to it.
        (
            "AAPL.csv",
            "Date,Open,High,Low,Close,Adj Close,Volume\n2013-03-01,40,42,39,41,20.5,7\n",
            ADJUSTED._replace(open=20.0, high=21.0, low=19.5, volume=7.0),
        ),
        # Ticker.history of yfinance: closes are adjusted already, the events beside them are not for counting twice.
        (
            "AAPL.csv",
            "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
            "2013-03-01 00:00:00-05:00,20,21,19.5,20.5,7,0.3,2.0\n",
            ADJUSTED._replace(open=20.0, high=21.0, low=19.5, volume=7.0),
        ),
        # Stooq: its page, and its bulk files.
        (
            "aapl_us_d.csv",
            "Date,Open,High,Low,Close,Volume\n2013-03-01,20,21,19.5,20.5,7\n",
            ADJUSTED._replace(open=20.0, high=21.0, low=19.5, volume=7.0),
        ),
        (
            "aapl.us.txt",
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
            "AAPL.US,D,20130301,000000,20,21,19.5,20.5,7,0\n",
            ADJUSTED._replace(open=20.0, high=21.0, low=19.5, volume=7.0),
        ),
        # Alpha Vantage: raw, with its events.
        (
            "AAPL.csv",
            "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
            "2013-03-01,40,42,39,41,20.5,7,0.3,2.0\n",
            PriceRow(date(2013, 3, 1), 40.0, 42.0, 39.0, 41.0, 7.0, 0.3, 2.0),
        ),
        # As a spreadsheet saves it: a mark in front, capitals, quotes, blank lines.
        (
            "all.csv",
            '\ufeff"SYMBOL","Date","CLOSE"\r\n"AAPL","2013-03-01","20.5"\r\n\r\n',
            ADJUSTED,
        ),
        # What pandas writes with its index, and of a frame whose index has no name.
        ("all.csv", ",symbol,date,close\n0,AAPL,2013-03-01,20.5\n", ADJUSTED),
        ("wide.csv", ",AAPL\n2013-03-01,20.5\n", ADJUSTED),
        # A split of 0 or none is no split, as many vendors write it.
        (
            "all.csv",
            f"{LONG}AAPL,2013-03-01,41,,,,,,0\n",
            PriceRow(date(2013, 3, 1), None, None, None, 41.0, None, 0.0, 1.0),
        ),
    ],
)
def test_layouts_are_recognised_by_their_columns(make: Make, name: str, text: str, expected: PriceRow) -> None:
    """Ours, and the downloads of Yahoo, Stooq and Alpha Vantage as they come."""
    source = make(**{name.replace(".", "__"): text})
    assert source.fetch("AAPL", *ALWAYS) == [expected]


def yfinance_frame(*, by_ticker: bool, adjusted: bool) -> pd.DataFrame:
    """A frame as `yfinance.download` makes it."""
    fields = ["Close", "High", "Low", "Open", "Volume"] if adjusted else ["Adj Close", "Close", "Dividends"]
    pairs = [(field, symbol) for field in fields for symbol in ("AAPL", "BRK-B")]
    columns = pd.MultiIndex.from_tuples(pairs, names=["Price", "Ticker"])
    numbers = np.arange(1.0, 1 + 3 * len(pairs)).reshape(3, -1)
    frame = pd.DataFrame(numbers, index=pd.DatetimeIndex(DAYS, name="Date"), columns=columns)
    return frame.swaplevel(axis=1).sort_index(axis=1) if by_ticker else frame


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("by_ticker", [False, True])
@pytest.mark.parametrize("adjusted", [False, True])
def test_frames_of_yfinance_are_recognised(
    folder: Path, make: Make, kind: str, by_ticker: bool, adjusted: bool
) -> None:
    """Two levels of columns in either order, as text or as Parquet; the adjusted close counts where there is one."""
    frame = yfinance_frame(by_ticker=by_ticker, adjusted=adjusted)
    getattr(frame, f"to_{kind}")(folder / f"download.{kind}")
    source = make()
    assert source.symbols() == ["AAPL", "BRK.B"]
    expected = frame.xs("BRK-B", axis=1, level="Ticker")["Close" if adjusted else "Adj Close"]
    assert list(closes(source, "BRK.B").values()) == expected.to_list()
    assert all((row.dividend, row.split) == (0.0, 1.0) for row in source.fetch("BRK.B", *ALWAYS))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_frame_of_yfinance_with_one_ticker(folder: Path, make: Make, kind: str) -> None:
    """It has two levels as well; with one level it is told by the name of its file."""
    frame = yfinance_frame(by_ticker=False, adjusted=True).xs("AAPL", axis=1, level="Ticker", drop_level=False)
    getattr(frame, f"to_{kind}")(folder / f"download.{kind}")
    flat = frame.droplevel("Ticker", axis=1)
    getattr(flat, f"to_{kind}")(folder / f"BRK-B.{kind}")
    source = make()
    assert source.symbols() == ["AAPL", "BRK.B"]
    assert source.fetch("AAPL", *ALWAYS) == source.fetch("BRK.B", *ALWAYS)
    assert list(closes(source, "AAPL").values()) == flat["Close"].to_list()


def test_a_name_without_a_row_is_no_symbol(folder: Path, make: Make) -> None:
    """A column of categories keeps those that no row has, as after a filter."""
    frame = pd.DataFrame({"symbol": ["IBM", "KO"], "date": DAYS[:2], "close": [5.0, 6.0]})
    frame["symbol"] = frame["symbol"].astype("category")
    frame[frame["symbol"] == "KO"].to_parquet(folder / "all.parquet", index=False)
    source = make()
    assert source.symbols() == ["KO"]
    assert closes(source, "KO") == {"2013-02-28": 6.0}


@pytest.mark.parametrize("dates", ["date", "timestamp", "zone", "text"])
@pytest.mark.parametrize("number", ["float32", "int64", "float64"])
def test_types_of_parquet(folder: Path, make: Make, dates: str, number: str) -> None:
    """Whatever the types: a date is the day where it was written, a number a double, and nothing there is no row."""
    day: Any = {"date": DAYS.date, "timestamp": DAYS, "zone": DAYS.tz_localize("America/New_York")}.get(dates)
    frame = pd.DataFrame({"date": DAYS.strftime("%Y-%m-%d") if day is None else day, "IBM": [1, 2, 3]})
    frame = frame.astype({"IBM": number})
    if number != "int64":
        frame.loc[1, "IBM"] = np.nan
    frame.to_parquet(folder / "wide.parquet")
    expected = {"2013-02-27": 1.0, "2013-02-28": 2.0, "2013-03-01": 3.0}
    if number != "int64":
        del expected["2013-02-28"]
    assert closes(make(), "IBM") == expected


@pytest.mark.parametrize("name", ["BRK.B", "BRK-B", "BRK/B", "BRK B", "brk.b"])
def test_a_share_class_has_one_form(make: Make, name: str) -> None:
    """However the file writes it."""
    assert make(all__csv=f"symbol,date,close\n{name},2013-03-01,5\n").symbols() == ["BRK.B"]


def test_files_of_one_symbol_stand_beside_a_long_one(make: Make) -> None:
    """And what is no file of prices is passed over."""
    source = make(
        all__csv="symbol,date,close\nIBM,2013-03-01,5\nKO,2013-03-01,6\n",
        AAPL__csv="date,close\n2013-03-04,7\n",
        README__md="text",
        __hidden__csv="",
    )
    assert source.symbols() == ["AAPL", "IBM", "KO"]
    assert source.latest_session() == date(2013, 3, 4)
    assert source.calls == 0
    with pytest.raises(UnknownSymbolError):
        source.fetch("NVDA", *ALWAYS)
    assert source.calls == 1


def test_a_large_file_is_read_as_a_stream(folder: Path, make: Make) -> None:
    """More numbers than are held in memory give the same rows, from either order of the file."""
    symbols, sessions = [f"S{i}" for i in range(200)], pd.bdate_range("2004-01-01", periods=2_000)
    frame = pd.DataFrame(
        {
            "symbol": np.tile(symbols, len(sessions)),
            "date": np.repeat(sessions, len(symbols)),
            "close": np.arange(1.0, 1 + len(symbols) * len(sessions)),
            **dict.fromkeys(("open", "high", "low", "volume", "dividend", "split"), 1.0),
        }
    )
    frame.to_parquet(folder / "all.parquet", row_group_size=50_000)
    truth = frame[frame["symbol"] == "S77"]["close"].to_list()
    source = make()
    assert [row.close for row in source.fetch("S77", *ALWAYS)] == truth
    frame.sort_values(["symbol", "date"]).to_parquet(folder / "all.parquet")
    assert [row.close for row in source.fetch("S77", *ALWAYS)] == truth


def test_a_wide_parquet_file_is_read_in_blocks_of_columns(folder: Path, make: Make) -> None:
    """Whichever block a symbol stands in, its prices and what is wrong with them are its own."""
    sessions, count = pd.bdate_range("2004-01-01", periods=1_200), 1_600
    numbers = np.arange(1.0, 1 + len(sessions) * count).reshape(len(sessions), count)
    numbers[7, 1_100] = -5
    frame = pd.DataFrame(numbers, columns=[f"S{i}" for i in range(count)])
    frame.insert(0, "date", sessions)
    frame.to_parquet(folder / "wide.parquet")
    source = make()
    for at in (0, 499, 500, 999, 1_000, 1_599):
        assert list(closes(source, f"S{at}").values()) == numbers[:, at].tolist()
    with pytest.raises(PriceFileError, match=r"^wide.parquet, line 8, column 'S1100': -5 is not a number"):
        source.fetch("S1100", *ALWAYS)


def test_a_folder_of_many_files_is_looked_at_anew_when_the_file_of_a_symbol_moves(folder: Path, make: Make) -> None:
    """A symbol whose file is gone is unknown, and one whose file has another name or came later is found."""
    source = make(IBM__csv="date,close\n2013-03-01,5\n", KO__csv="date,close\n2013-03-01,6\n")
    assert [closes(source, symbol) for symbol in ("IBM", "KO")] == [{"2013-03-01": 5}, {"2013-03-01": 6}]
    (folder / "KO.csv").unlink()
    make(PEP__csv="date,close\n2013-03-01,7\n")
    (folder / "IBM.csv").rename(folder / "ibm.us.csv")
    assert [closes(source, symbol) for symbol in ("IBM", "PEP")] == [{"2013-03-01": 5}, {"2013-03-01": 7}]
    with pytest.raises(UnknownSymbolError):
        source.fetch("KO", *ALWAYS)


def test_a_full_disk_ends_in_a_message(folder: Path, make: Make, tmp_path: Path) -> None:
    """The numbers of a file are kept on disk while it is used: where they do not fit, the place is named."""
    frame = pd.DataFrame({"date": pd.bdate_range("2004-01-01", periods=5_000), "IBM": 1.0})
    frame.to_csv(folder / "wide.csv", index=False)
    source = make()
    assert source.symbols() == ["IBM"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # a disk with so much room for a file
    try:
        with pytest.raises(SourceUnavailableError) as caught:
            source.fetch("IBM", *ALWAYS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == (
        f"{tmp_path / 'cache'}: the numbers of a price file do not fit there (0.1 MB so far); make room and ask again"
    )
    assert len(source.fetch("IBM", *ALWAYS)) == 5_000


# --- errors


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("IBM,2013-03-01,5\nIBM,2013-03-04,x5\n", 3, "close", "'x5' is not a number"),
        ("IBM,2013-03-01,-5\n", 2, "close", "-5 is not a number of more than 0"),
        ("IBM,2013-03-01,0\n", 2, "close", "0 is not a number of more than 0"),
        ("IBM,2013-03-01,inf\n", 2, "close", "inf is not a number of more than 0"),
        ("IBM,01/03/2013,5\n", 2, "date", "'01/03/2013' is not a date such as 2026-11-27"),
        ("IBM,2013-02-30,5\n", 2, "date", "'2013-02-30' is not a date"),
        ("IBM,20130230,5\n", 2, "date", "'20130230' is not a date"),
        ("IBM,2013-03-011,5\n", 2, "date", "'2013-03-011' is not a date"),
        ("IBM,2013-W09-5,5\n", 2, "date", "'2013-W09-5' is not a date"),
        ("IBM,2013-03-01,1_0\n", 2, "close", "'1_0' is not a number"),
        ("IBM,,5\n", 2, "date", "nothing there"),
        ("KO,2013-03-01,5\nIBM,2013-03-01,5\nIBM,2013-03-01,6\n", 4, "date", "2013-03-01 stands there twice"),
    ],
)
def test_a_wrong_cell_names_its_place_and_fails_its_symbol_only(
    make: Make, text: str, line: int, column: str, problem: str
) -> None:
    """File, line, column, value and rule; the other symbols of the file are as good as ever."""
    source = make(all__csv=f"symbol,date,close\n{text}AAPL,2013-03-01,7\n")
    with pytest.raises(PriceFileError, match=f"all.csv, line {line}, column '{column}': {problem}") as caught:
        source.fetch("IBM", *ALWAYS)
    assert (caught.value.file, caught.value.line, caught.value.column) == ("all.csv", line, column)
    assert isinstance(caught.value, SourceError)
    assert not isinstance(caught.value, SourceUnavailableError)
    assert closes(source, "AAPL") == {"2013-03-01": 7.0}


def test_a_wrong_cell_of_a_wide_file_fails_its_column_only(make: Make) -> None:
    """The line is that of the file, the column the symbol's."""
    source = make(wide__csv="date,IBM,KO\n2013-02-28,1,2\n2013-03-01,n/a?,3\n")
    with pytest.raises(PriceFileError, match=r"wide.csv, line 3, column 'IBM': 'n/a\?' is not a number"):
        source.fetch("IBM", *ALWAYS)
    assert closes(source, "KO") == {"2013-02-28": 2.0, "2013-03-01": 3.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("all.csv", "symbol,day,close\nIBM,2013-03-01,5\n", "there is no column `date`; a file has"),
        ("all.csv", "symbol,date,price\nIBM,2013-03-01,5\n", "there is no column `close` or `adjusted_close`"),
        ("IBM.csv", "date,close,dividnd\n2013-03-01,5,1\n", "column 'dividnd': is not a column of prices"),
        ("all.csv", "symbol,date,close\nIBM,2013-03-01,5,9\n", "line 2: has 4 columns where the header has 3"),
        ("all.csv", "symbol,date,close\nIBM,2013-03-01,5\n,2013-03-01,6\n", "line 3, column 'symbol': '' is not a sym"),
        ("all.csv", "symbol,date,close\nI&M,2013-03-01,5\n", "line 2, column 'symbol': 'I&M' is not a symbol"),
        ("wide.csv", "date,IBM,IBM\n2013-03-01,5,6\n", "column 'IBM': the column stands there twice"),
        ("wide.csv", "date,BRK.B,BRK-B\n2013-03-01,5,6\n", "column 'BRK-B': is the second column of BRK.B"),
        ("my prices 2013.csv", "date,close\n2013-03-01,5\n", "'my prices 2013' is not a symbol"),
        ("w.csv", "Price,Close,Volume\nTicker,IBM,KO\nDate,,\n2013-03-01,5,6\n", "there are no closes of KO"),
        ("w.csv", "date,\"('Close', '\\x')\"\n2013-03-01,5\n", "is not a symbol"),
        ("all.csv", "", "all.csv: is empty"),
        ("all.parquet", "no parquet", "all.parquet: is no Parquet file that can be read"),
        ("all.parquet", "PAR1" + "x" * 500, "all.parquet: is no Parquet file that can be read"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_named(make: Make, name: str, text: str, message: str) -> None:
    """Nothing is guessed: the source is not used until the file is right."""
    source = make(**{name.replace(".", "__"): text})
    with pytest.raises(SourceUnavailableError) as caught:
        source.symbols()
    assert message in str(caught.value)
    assert str(caught.value).startswith("SIGMA_PRICE_FILES=")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_text_that_is_not_utf_8_says_what_to_save(folder: Path, make: Make, encoding: str) -> None:
    """As a spreadsheet's "Unicode text" is."""
    (folder / "all.csv").write_bytes("symbol,date,close,\u00e9\nIBM,2013-03-01,5,1\n".encode(encoding))
    with pytest.raises(SourceUnavailableError, match=r"all.csv: is not UTF-8 text; save it as CSV in UTF-8"):
        make().symbols()


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("close", [True], "True is not a number"),
        ("close", [[5.0]], r"\[5.0\] is not a number"),
        ("symbol", [["IBM"]], "cannot be read"),
        ("date", [20130230], "20130230 is not a date"),
        ("date", [5.5], "5.5 is not a date"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused(
    folder: Path, make: Make, column: str, values: list[Any], problem: str
) -> None:
    """Nothing is taken for a number, a name or a date that is none."""
    frame = {"symbol": ["IBM"], "date": DAYS[:1], "close": [5.0]} | {column: values}
    pd.DataFrame(frame).to_parquet(folder / "all.parquet")
    with pytest.raises(SourceError, match=problem):
        make().fetch("IBM", *ALWAYS)


def test_a_parquet_file_with_a_broken_page_is_refused(folder: Path, make: Make) -> None:
    """Its end, which is read first, is whole."""
    path = folder / "all.parquet"
    pd.DataFrame({"symbol": ["IBM"], "date": DAYS[:1], "close": [5.0]}).to_parquet(path)
    path.write_bytes(b"PAR1" + bytes(60) + path.read_bytes()[64:])
    with pytest.raises(SourceError, match="cannot be read"):
        make().fetch("IBM", *ALWAYS)


def test_half_a_parquet_file_is_refused(folder: Path, make: Make) -> None:
    """A copy that was cut off."""
    path = folder / "all.parquet"
    pd.DataFrame({"symbol": ["IBM"], "date": DAYS[:1], "close": [5.0]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceUnavailableError, match=r"all.parquet: is no Parquet file that can be read"):
        make().symbols()


def test_a_file_that_is_still_written_is_refused(folder: Path, make: Make) -> None:
    """Half of a file would be stored as sessions without a price."""
    path, done = folder / "all.csv", threading.Event()
    path.write_text(LONG + "".join(f"S{i},2013-03-01,1,,,,,,\n" for i in range(200_000)))

    def write() -> None:
        with path.open("a") as file:
            for i in itertools.count():
                if done.wait(0.001):
                    return
                file.write(f"T{i},2013-03-01,1,,,,,,\n")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(SourceUnavailableError, match=r"all.csv: changed while it was read; ask again"):
            make().symbols()
    finally:
        done.set()
        writer.join()
    assert len(make().symbols()) >= 200_000


def test_a_symbol_in_two_files_is_refused(make: Make) -> None:
    """Which one counts must not depend on the order of names."""
    source = make(A__csv="symbol,date,close\nIBM,2013-03-01,5\n", IBM__csv="date,close\n2013-03-01,6\n")
    with pytest.raises(SourceUnavailableError, match=r"IBM stands in A.csv and in IBM.csv"):
        source.fetch("IBM", *ALWAYS)


@pytest.mark.parametrize(
    ("path", "message"), [(None, "set SIGMA_PRICE_FILES to the folder"), ("nowhere", "nowhere is not a folder")]
)
def test_the_folder_has_to_exist(tmp_path: Path, path: str | None, message: str) -> None:
    """When the source is made."""
    with pytest.raises(SourceSettingError, match=message):
        FilesSource(SourceOptions(price_files=tmp_path / path if path else None))


# --- changes


def test_a_changed_file_is_read_again(make: Make, folder: Path) -> None:
    """By the same object, and so by a daemon that runs for weeks; a new file and a removed one count too."""
    source = make(IBM__csv="date,close\n2013-03-01,5\n")
    assert closes(source, "IBM") == {"2013-03-01": 5.0}
    make(IBM__csv="date,close\n2013-03-01,5.5\n2013-03-04,6\n", KO__csv="date,close\n2013-03-05,1\n")
    assert closes(source, "IBM") == {"2013-03-01": 5.5, "2013-03-04": 6.0}
    assert (source.symbols(), source.latest_session()) == (["IBM", "KO"], date(2013, 3, 5))
    (folder / "KO.csv").unlink()
    assert source.symbols() == ["IBM"]


def test_a_change_that_keeps_time_and_size_is_noticed(make: Make, folder: Path) -> None:
    """As a copy that preserves the time of its original; stored series too."""
    source = make(IBM__csv="date,close\n2013-03-01,5\n")
    stat = (folder / "IBM.csv").stat()
    assert closes(source, "IBM") == {"2013-03-01": 5.0}
    source.stored(["IBM"])
    time.sleep(0.02)  # the clock of a file system ticks in milliseconds
    make(IBM__csv="date,close\n2013-03-01,6\n")
    os.utime(folder / "IBM.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source.changed(["IBM"]) == ["IBM"]
    assert closes(source, "IBM") == {"2013-03-01": 6.0}


def test_it_says_which_stored_series_have_changed(make: Make, folder: Path) -> None:
    """First time and size, then content: a file that was only touched changes nothing, a corrected close its symbol."""
    text = "symbol,date,close\nIBM,2013-03-01,5\nKO,2013-03-01,6\n"
    source = make(all__csv=text)
    assert source.changed(["IBM", "KO"]) == []
    source.stored(["IBM", "KO"])
    assert source.changed(["IBM", "KO"]) == []
    os.utime(folder / "all.csv", (1, 1))
    assert make().changed(["IBM", "KO"]) == []
    other = make(all__csv=text.replace("6", "6.5"))
    assert other.changed(["IBM", "KO", "NVDA"]) == ["KO"]
    assert make().changed(["IBM", "KO"]) == ["KO"], "until it is stored"
    make().stored(["KO"])
    assert make().changed(["IBM", "KO"]) == []
    make(all__csv="symbol,date,close\nIBM,2013-03-01,5\n")
    assert make().changed(["IBM", "KO"]) == ["KO"], "a series that is gone has changed"


def test_what_is_in_the_folder_is_found_out_once(make: Make, folder: Path, meter: DatabaseMeter) -> None:
    """A second process knows symbols and last session from the note of the first; the files need not be read."""
    make(all__csv="symbol,date,close\nIBM,2013-03-01,5\n").symbols()
    note = meter.note(str(folder), "index")
    assert note is not None
    meter.set_note(str(folder), "index", note.replace("IBM", "KO"))
    assert make().symbols() == ["KO"]
    os.utime(folder / "all.csv", (1, 1))
    assert make().symbols() == ["IBM"]


def test_it_works_without_a_database(folder: Path, make: Make) -> None:
    """Nothing is remembered then."""
    make(all__csv="symbol,date,close\nIBM,2013-03-01,5\n")
    source = FilesSource(replace(SourceOptions(), price_files=folder))
    assert closes(source, "IBM") == {"2013-03-01": 5.0}
    source.stored(["IBM"])
    assert source.changed(["IBM"]) == []

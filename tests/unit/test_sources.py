"""The price sources: the shipped sample, the protocol it stands for, and the choice by name."""

import hashlib
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from resources import calendar
from resources.sources.base import PriceRow, PriceSource, UnknownSymbolError
from resources.sources.registry import UnknownSourceError, price_sources
from resources.sources.sample import DATA, SampleSource, _table

FIRST, LAST = date(2014, 1, 2), date(2022, 12, 28)
ROOT = Path(__file__).parents[2]


def test_the_sample_has_every_session_of_every_symbol() -> None:
    """No gaps: 26 symbols, each with one positive close per exchange session from 2014 to 2022."""
    source = SampleSource()
    assert len(source.symbols()) == 26
    for symbol in source.symbols():
        rows = source.fetch(symbol, date.min, date.max)
        assert [row.session for row in rows] == calendar.sessions(FIRST, LAST)
        assert min(row.close for row in rows) > 0


def test_the_sample_is_the_file_it_was() -> None:
    """Golden numbers rest on these prices; an edit of the file must be meant."""
    sessions, closes = _table(DATA / "sample_prices.csv.gz")
    text = repr((sessions, sorted(closes.items())))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "5d0f1576086dd75fd44a7390664773b685eb5e78dd521f2d663dba1d131480da"
    )


def test_rows_carry_the_close_and_admit_what_is_not_known() -> None:
    """Adjusted closes come with dividend 0 and split 1; prices that the sample has not are None, not 0."""
    assert SampleSource().fetch("AAPL", LAST, LAST) == [
        PriceRow(LAST, None, None, None, 125.674, None, dividend=0.0, split=1.0)
    ]


def test_real_jumps_are_in_the_sample() -> None:
    """AMD rose by 52% on 2016-04-22 (results and a licence to a Chinese venture): real, not a bad tick."""
    before, after = SampleSource().fetch("AMD", date(2016, 4, 21), date(2016, 4, 22))
    assert after.close / before.close == pytest.approx(1.52, abs=0.01)


@pytest.mark.parametrize(
    ("first", "last", "sessions"),
    [
        (date(2022, 12, 23), date(2022, 12, 27), 2),
        (date(2022, 12, 24), date(2022, 12, 26), 0),
        (date(2022, 12, 28), date(2026, 1, 1), 1),
        (date(1990, 1, 1), date(2014, 1, 2), 1),
        (date(2023, 1, 3), date(2023, 6, 1), 0),
    ],
)
def test_fetch_returns_what_lies_between_the_dates(first: date, last: date, sessions: int) -> None:
    """Both dates are included; a range that reaches beyond the sample gives what there is, without an error."""
    rows = SampleSource().fetch("KO", first, last)
    assert len(rows) == sessions
    assert all(first <= row.session <= last for row in rows)


def test_each_fetch_is_one_call() -> None:
    """Provider calls are counted per source object, unknown symbols too; listing symbols and sessions costs none."""
    source = SampleSource()
    source.symbols(), source.latest_session(), source.coverage
    assert source.calls == 0
    source.fetch("KO", FIRST, LAST)
    source.fetch("KO", LAST, LAST)
    with pytest.raises(UnknownSymbolError):
        source.fetch("NVDA", FIRST, LAST)
    assert source.calls == 3
    assert SampleSource().calls == 0


def test_an_unknown_symbol_is_not_a_failure_of_the_source() -> None:
    """The error names symbol and source, so that known absence can be stored."""
    with pytest.raises(UnknownSymbolError, match="'NVDA' is unknown to the price source 'sample'") as caught:
        SampleSource().fetch("NVDA", FIRST, LAST)
    assert (caught.value.symbol, caught.value.source) == ("NVDA", "sample")


def test_the_sample_describes_itself_for_messages() -> None:
    """Messages about the sample are made of these; the ETFs and the index are not advertised as holdings."""
    source: PriceSource = SampleSource()
    assert source.title == "the sample"
    assert source.coverage == "20 symbols: AAPL, AMD, ..."
    assert source.latest_session() == LAST
    assert {"AAPL", "MTUM", "SP500"} <= set(source.symbols() or ())


def test_price_sources_are_chosen_by_name() -> None:
    """The default setting gives the sample, a fresh object each time."""
    source = price_sources(["sample"])
    assert source.name == "sample"
    assert source is not price_sources(["sample"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["bloomberg"], "'bloomberg' is not a price source; choose from: sample, files, alpha_vantage, tiingo, yahoo"),
        (["sample", "Sample"], "'Sample' is not a price source; choose from: sample"),
        (["sample", "sample"], "'sample' is named twice"),
        ([""], "'' is not a price source; choose from: sample"),
        ([], "names no price source; choose from: sample"),
    ],
)
def test_a_wrong_source_name_is_refused_with_the_known_ones(names: list[str], message: str) -> None:
    """A typing error in the setting is named, and what could have been meant is listed."""
    with pytest.raises(UnknownSourceError, match=message):
        price_sources(names)


def test_the_notice_travels_with_the_data() -> None:
    """The licence of the data asks for its notice beside every copy: in the package and at the top level."""
    notice = (DATA / "NOTICE").read_text(encoding="utf-8")
    assert "Copyright (c) 2023-2026 The skfolio developers." in notice
    assert "solely for testing and example purposes" in notice
    assert (ROOT / "NOTICE").read_text(encoding="utf-8") == notice


def test_importing_the_sources_imports_no_pandas() -> None:
    """The command line asks the source at every start and must not pay for pandas."""
    code = "import sys, resources.sources.registry as r; r.price_sources(['sample']).symbols(); "
    code += "sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code

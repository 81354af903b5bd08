"""`sigma history`: one number of a portfolio over its sessions, as a picture, a table, CSV and JSON."""

import csv
import json

import pytest

from assets.factor_models import SAMPLE_5
from resources.database import portfolios
from sigma_dagster.analysis import history
from tests.support.home import Home


def stored(home: Home, column: str, table: str = "portfolio_volatility") -> list[tuple[str, float | None]]:
    return [(row["session"], row[column]) for row in home.numbers(table, "growth")]


@pytest.mark.parametrize(
    ("metric", "table"),
    [
        ("realized_vol_21d", "portfolio_volatility"),
        ("market_total", "portfolio_factor_exposure"),
        ("exposure_size", "portfolio_factor_exposure"),
    ],
)
def test_json_and_csv_are_the_stored_numbers(read_home: Home, metric: str, table: str) -> None:
    """Promise: every session with its number, in full, from either table."""
    rows = stored(read_home, metric, table)
    data = json.loads(read_home.sigma_here("history", "growth", "--metric", metric, "--json").stdout)
    assert (data["portfolio"], data["metric"]) == ("growth", metric)
    assert [(one["session"], one["value"]) for one in data["history"]] == rows
    text = read_home.sigma_here("history", "growth", "--metric", metric, "--csv").stdout
    header, *lines = csv.reader(text.splitlines())
    assert header == ["session", metric]
    assert [(day, float(value)) for day, value in lines] == rows


def test_every_metric_that_is_listed_can_be_had(read_home: Home) -> None:
    """Promise: those of the model; the message of a wrong one names them all."""
    names = history.metrics(SAMPLE_5)
    done = read_home.sigma_here("history", "growth", "--metric", "beta")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"metric 'beta' is none of {', '.join(names)}" in " ".join(done.stderr.split())
    assert "exposure_growth" not in names
    assert {"exposure_market", "se_value", "share_specific", "var_99_1d", "return_1d", "gross"} <= set(names)
    services = read_home.environment()
    with services.database.read() as connection:
        (one,) = portfolios.load(connection, ["growth"])
        for name in names:
            assert len(history.read(connection, one, SAMPLE_5, name).values) == 365


def test_the_sparkline_goes_from_the_lowest_to_the_highest(core_home: Home) -> None:
    """Promise: a block a session, a blank where a number is not known, and the numbers in words below it."""
    days = [row["session"] for row in core_home.numbers("portfolio_volatility", "core")]
    with core_home.sql() as connection:
        for day, value in zip(days, (0.1, 0.2, None, 0.8, 0.5), strict=True):
            connection.execute("UPDATE portfolio_volatility SET realized_vol_21d = ? WHERE session = ?", (value, day))
    shown = core_home.sigma_here("history", "core").stdout.splitlines()
    assert shown[0] == "core, realized_vol_21d, 2022-12-21..2022-12-28"
    assert shown[1] == "▁▂ █▅"
    assert shown[2] == "lowest 0.1, highest 0.8, newest known 0.5"
    assert shown[-1].split() == ["2022-12-28", "0.5"]
    assert ["2022-12-23", "-"] in [line.split() for line in shown]
    found = core_home.sigma_here("history", "core", "--csv").stdout.splitlines()
    assert found[3] == "2022-12-23,"


def test_a_long_history_fits_a_terminal_and_the_table_has_all(read_home: Home) -> None:
    """Promise: at most 72 blocks and 10 sessions; --table prints each; --as-of ends it."""
    lines = read_home.sigma_here("history", "growth").stdout.splitlines()
    assert len(lines[1]) <= 72
    assert len(lines) == 4 + 1 + 10
    assert len(read_home.sigma_here("history", "growth", "--table").stdout.splitlines()) == 4 + 1 + 365
    early = json.loads(read_home.sigma_here("history", "growth", "--as-of", "2022-06-01", "--json").stdout)
    assert early["history"][-1]["session"] == "2022-06-01"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("growth", "--csv", "--json"), "give --csv or --json, not both"),
        (("nobody",), "portfolio 'nobody' is not stored"),
        (("growth", "--as-of", "2001-01-02"), "nothing is computed of portfolio growth up to 2001-01-02"),
    ],
)
def test_what_cannot_be_shown_is_said(read_home: Home, arguments: tuple[str, ...], said: str) -> None:
    """Promise: exit status 2, one message."""
    done = read_home.sigma_here("history", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())

"""The command line on bad input and in a bad environment: a message, an exit status, nothing stored, no traceback."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.sources import sample
from tests.support.home import Ended, Home, holdings
from tests.support.sources import RecordedSource

HEADER = "symbol,quantity,entry_price,entry_date,exit_date,asset_class\n"
GOOD = "AAPL,10,75.5,2020-06-10,,\n"


def refused(home: Home, *arguments: str | Path, status: int = 2, **settings: str) -> Ended:
    """Run a command that must fail with the status, a message, and nothing stored."""
    before = stored(home)
    ended = home.sigma_here(*arguments, **settings)
    assert ended.returncode == status, ended
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr
    assert stored(home) == before
    return ended


def stored(home: Home) -> dict[str, list[object]]:
    """The rows of every table that has some; an empty database is as good as none."""
    rows = home.rows() if home.database.is_file() else {}
    return {table: found for table, found in rows.items() if found and table != "alembic_version"}


# What stands in the file, and where, in which column and in what words it is refused.
BAD_FILES = {
    "missing column": ("symbol,entry_price,entry_date\nAAPL,1,2020-06-10\n", 1, "header", "no column quantity"),
    "duplicate header": ("symbol,Symbol,quantity,entry_price,entry_date\nA,A,1,1,2020-06-10\n", 1, "symbol", ""),
    "NaN": (HEADER + "AAPL,NaN,75.5,2020-06-10,,\n", 2, "quantity", "plain decimal"),
    "Infinity": (HEADER + "AAPL,Infinity,75.5,2020-06-10,,\n", 2, "quantity", "plain decimal"),
    "1e400": (HEADER + GOOD + "AAPL,1e400,75.5,2020-06-10,,\n", 3, "quantity", "plain decimal"),
    "no quantity": (HEADER + "AAPL,0,75.5,2020-06-10,,\n", 2, "quantity", "no position"),
    "negative price": (HEADER + "AAPL,1,-3,2020-06-10,,\n", 2, "entry_price", "is below 0"),
    "bad date": (HEADER + "AAPL,1,3,2020-02-30,,\n", 2, "entry_date", "is not a date"),
    "American date": (HEADER + "AAPL,1,3,06/10/2020,,\n", 2, "entry_date", "--dates mdy"),
    "date after as-of": (HEADER + "AAPL,1,3,2024-05-01,,\n", 2, "entry_date", "is after 2022-12-28"),
    "exit before entry": (HEADER + "AAPL,1,3,2020-06-10,2020-06-09,\n", 2, "exit_date", "is before the entry date"),
    "empty": ("", 0, "file", "is empty"),
    "header only": (HEADER, 0, "file", "no lots"),
    "unknown symbol": (HEADER + "NVDA,1,3,2020-06-10,,\n", 2, "symbol", "is not in the sample"),
    "bad class": (HEADER + "AAPL,1,3,2020-06-10,,cash cow\n", 2, "asset_class", "public or private"),
}


@pytest.mark.parametrize(("text", "row", "column", "rule"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_holdings_file_is_refused_whole(
    core_home: Home, tmp_path: Path, text: str, row: int, column: str, rule: str
) -> None:
    """One bad cell refuses the file: exit 2, row, column, value and rule for people and as JSON, nothing stored."""
    file = tmp_path / "bad.csv"
    file.write_text(text, encoding="utf-8")
    ended = refused(core_home, "onboard", file, "--json")
    (error, *_) = json.loads(ended.stdout)["errors"]
    assert list(error) == ["row", "column", "value", "rule"]
    assert (error["row"], error["column"]) == (row, column)
    assert rule in error["rule"]
    assert rule in refused(core_home, "plan", file).stderr


@pytest.mark.parametrize(
    "data",
    [b"\x00\x01PNG" * 1000, b"PK\x03\x04" * 1000, b"x" * (10 * 2**20 + 1)],
    ids=["binary", "archive", "10 MB"],
)
def test_junk_is_refused_quickly_and_in_words(core_home: Home, tmp_path: Path, data: bytes) -> None:
    """A file that is no table is refused by one sentence, not by a thousand errors."""
    file = tmp_path / "junk.csv"
    file.write_bytes(data)
    ended = refused(core_home, "onboard", file)
    assert len(ended.stderr.splitlines()) == 1


def test_the_two_errors_that_a_newcomer_meets_say_what_to_do(core_home: Home, tmp_path: Path) -> None:
    """A symbol the sample lacks and a date after its end, in the very words that name the way out."""
    lines = ["AAPL", "KO", "NVDA", "KO,10,100,2024-05-01"]
    ended = refused(core_home, "onboard", holdings(tmp_path / "new.csv", *lines))
    assert ended.stderr.splitlines()[:2] == [
        "row 4, symbol: 'NVDA' is not in the sample (20 symbols: AAPL, AMD, ...): hold it as asset_class private, "
        'or see README, "Your own prices"',
        "row 5, entry_date: 2024-05-01 is after 2022-12-28, the last session of the sample",
    ]
    offered = "\n".join(ended.stderr.splitlines()[2:])
    for way in ("=yahoo", "=tiingo", "=alpha_vantage", "=files"):
        assert f"SIGMA_PRICE_SOURCES{way}" in offered


def test_twenty_errors_are_shown_and_the_rest_is_counted(core_home: Home, tmp_path: Path) -> None:
    """A file that is wrong everywhere does not flood the terminal; programs get every error."""
    ended = refused(core_home, "onboard", holdings(tmp_path / "new.csv", *[f"BAD{i}" for i in range(1030)]), "--json")
    lines = ended.stderr.splitlines()
    assert lines[20] == "... and 1,010 more"
    assert not any(line.startswith("row ") for line in lines[20:])
    assert len(json.loads(ended.stdout)["errors"]) == 1030


def test_a_private_code_needs_no_price_source(core_home: Home, tmp_path: Path) -> None:
    """What the source does not know is refused as public and accepted as private."""
    header = "symbol,quantity,entry_price,entry_date,asset_class"
    file = holdings(tmp_path / "own.csv", "NVDA,1,100,2021-06-15,private", header=header)
    assert core_home.sigma_here("plan", file).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "cores"], "portfolio 'cores' is not stored; known: core"),
        (["plan", "--portfolio", "cores"], "portfolio 'cores' is not stored; known: core"),
        (["plan", "--as-of", "2023-01-03"], "2023-01-03 is after 2022-12-28, the last session of the sample"),
        (["plan", "--as-of", "2022-11-30"], "2022-11-30 is before 2022-12-01, the first date partition"),
        (["plan", "--as-of", "1066-10-14"], "1066-10-14"),
        (["plan", "--as-of", "yesterday"], "YYYY-MM-DD"),
        (["plan", "--as-of", "20221223"], "YYYY-MM-DD"),
        (["onboard", "/nowhere/mine.csv"], "/nowhere/mine.csv' cannot be read"),
        (["onboard", "/tmp"], "cannot be read"),  # noqa: S108
        (["onboard"], "Missing argument 'FILE'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["plan", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_wrong_arguments_are_refused(core_home: Home, arguments: list[str], said: str) -> None:
    """Exit 2 and the reason; an unknown portfolio lists the known ones, a date names its bound."""
    text = " ".join(refused(core_home, *arguments).stderr.split())
    assert said in text.replace(" │ │ ", " ")


@pytest.mark.parametrize("equity", ["0", "-5", "nan", "inf", "much", "1e-160", "1e300"])
def test_equity_is_a_positive_number(core_home: Home, tmp_path: Path, equity: str) -> None:
    """Equity is the denominator of every weight: zero, negative and infinite ones are refused."""
    refused(core_home, "onboard", holdings(tmp_path / "new.csv", "KO"), "--equity", equity)


@pytest.mark.parametrize("name", ["", "-x", "a/b", "x" * 65, "a|b", "ü"])
def test_a_name_that_cannot_be_a_partition_key_is_refused(core_home: Home, tmp_path: Path, name: str) -> None:
    """The name becomes a partition key and part of others: only harmless characters."""
    ended = refused(core_home, "onboard", holdings(tmp_path / "new.csv", "KO"), f"--name={name}")
    assert "--name" in ended.stderr


def test_a_file_name_that_cannot_be_a_portfolio_name_asks_for_one(core_home: Home, tmp_path: Path) -> None:
    """The file's stem is the default name; where it cannot be one, the message says how to give one."""
    assert "--name" in refused(core_home, "onboard", holdings(tmp_path / "späte Käufe.csv", "KO")).stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"history_sessions": "many"}, "SIGMA_HISTORY_SESSIONS=many"),
        ({"history_sessions": "0"}, "SIGMA_HISTORY_SESSIONS=0"),
        ({"start_date": "2021"}, "SIGMA_START_DATE=2021: a date is written YYYY-MM-DD"),
        ({"as_of": "soon"}, "SIGMA_AS_OF=soon"),
        ({"price_sources": "bloomberg"}, "'bloomberg' is not a price source; choose from: sample"),
        ({"database_url": "mysql://u:secret@h/d"}, "SIGMA_DATABASE_URL=mysql"),
    ],
)
def test_wrong_settings_are_named(core_home: Home, settings: dict[str, str], said: str) -> None:
    """A variable with a bad value is named with its value and rule; a password in it is not repeated."""
    ended = refused(core_home, "plan", **settings)
    assert said in ended.stderr
    assert "secret" not in ended.stderr


def test_show_before_anything_is_computed(core_home: Home, tmp_path: Path) -> None:
    """A stored portfolio without rows, or none that early: the message says how to get them."""
    with core_home.sql() as connection:
        connection.execute("DELETE FROM portfolio_factor_exposure WHERE session > '2022-12-21'")
    assert core_home.sigma_here("show", "core").returncode == 0
    assert (
        "nothing is computed of portfolio core up to 2022-12-20"
        in refused(core_home, "show", "core", "--as-of", "2022-12-20").stderr
    )
    assert "known: none yet: sigma onboard FILE" in refused(Home(tmp_path / "new", {}), "show", "core").stderr


# --- what is outside


@pytest.mark.parametrize("command", [["portfolios"], ["plan"], ["show", "core"]])
def test_a_database_that_cannot_be_opened(core_home: Home, tmp_path: Path, command: list[str]) -> None:
    """Exit 1 and one sentence: the database is not the input's fault."""
    ended = refused(core_home, *command, status=1, database_url=f"sqlite:///{tmp_path}")
    assert f"{tmp_path}: unable to open database file. SIGMA_HOME" in ended.stderr


def test_a_database_that_is_none(core_home: Home, tmp_path: Path) -> None:
    """A file that is something else is neither read nor overwritten."""
    other = tmp_path / "thesis.txt"
    other.write_text("chapter one " * 1000)
    ended = refused(core_home, "portfolios", status=1, database_url=f"sqlite:///{other}")
    assert f"{other}: file is not a database. Move it away" in ended.stderr
    assert other.read_text().startswith("chapter one")


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    """SIGMA_HOME below a file, or where nothing may be written: a sentence and exit 1, no traceback."""
    (tmp_path / "file").write_text("")
    for command in (["portfolios"], ["onboard", str(holdings(tmp_path / "new.csv", "KO"))]):
        ended = refused(Home(tmp_path / "file" / "home", {}), *command, status=1)
        assert "file/home" in ended.stderr


def test_trap_26_a_failing_source_ends_in_exit_1(
    core_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the symbol, the provider's answer and what was kept; repeating the command finishes the job."""
    source = RecordedSource(broken=["LLY"])
    monkeypatch.setattr(sample, "SampleSource", lambda _options: source)
    file = holdings(tmp_path / "new.csv", "AMD", "LLY")
    ended = core_home.sigma_here("onboard", file, "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "daily_prices: LLY: the provider answered 503. Kept: the prices of 1 symbol fetched" in ended.stderr
    assert "Traceback" not in ended.stderr
    source.broken.clear()
    assert core_home.sigma_here("onboard", file).returncode == 0
    assert source.fetched == ["AMD", "LLY", "LLY"]
    core_home.assert_records_are_rows()


def test_damaged_files_are_named(core_home: Home, tmp_path: Path) -> None:
    """D7: of all the files in a home the one that is no database is named, with what to do; nothing is overwritten."""
    file = holdings(tmp_path / "new.csv", "AMD")
    for broken, command in (("dagster/history/runs.db", ["onboard", file]), ("sigma.db", ["portfolios"])):
        damaged = core_home.path / broken
        damaged.write_bytes(b"no database at all " * 100)
        ended = core_home.sigma_here(*command)
        assert ended.returncode == 1
        assert f"{damaged}: " in ended.stderr
        assert "Move it away" in ended.stderr
        assert damaged.read_bytes().startswith(b"no database")


@pytest.mark.parametrize("kept", [0, 1000])
def test_a_damaged_sample_is_named(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """F8: an empty or truncated file of prices ends in one line that names it."""
    monkeypatch.setattr(sample, "DATA", tmp_path)
    name = "sample_prices.csv.gz"
    (tmp_path / name).write_bytes((Path(sample.__file__).with_name("data") / name).read_bytes()[:kept])
    ended = home.sigma_here("symbols", "--known")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"{tmp_path / name}: the sample's prices are damaged")


def test_a_dagster_database_that_does_not_answer_is_one_line(core_home: Home, tmp_path: Path) -> None:
    """F8: the Postgres of the Dagster instance is down: its setting is named, the password is not, no traceback."""
    url = "postgresql://me:hunter2@127.0.0.1:1/dagster"
    ended = core_home.sigma_here("onboard", holdings(tmp_path / "new.csv", "KO"), dagster_database_url=url)
    assert ended.returncode == 1
    message = ended.stderr.splitlines()[-1]
    assert "Connection refused" in message
    assert "SIGMA_DAGSTER_DATABASE_URL" in message
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("program", ["worker", "webserver", "daemon"])
@pytest.mark.parametrize("gone", ["database_url", "dagster_database_url"])
def test_a_program_that_has_no_database_is_one_line(
    home: Home, new_postgres_url: Callable[[], str], program: str, gone: str
) -> None:
    """Before Celery or Dagster are started, which would tell it in a hundred lines."""
    there = new_postgres_url().replace("postgresql+psycopg2", "postgresql")
    urls = {"database_url": there, "dagster_database_url": there, gone: "postgresql://me:hunter2@127.0.0.1:1/none"}
    broker = {"broker_url": "redis://:hunter3@127.0.0.1:1/0"} if program == "worker" else {}
    ended = home.sigma(program, **urls, **broker)
    assert ended.returncode == 1
    assert (ended.stderr.count("\n"), "Connection refused" in ended.stderr) == (1, True), ended.stderr
    assert "hunter" not in ended.stderr


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("{sigma} plan --json >&-", 1, "standard output is closed"),
        ("{sigma} symbols --json | head -1", 0, ""),
        ("{sigma} symbols | head -1", 0, ""),
    ],
)
def test_closed_output_and_closed_pipes(core_home: Home, script: str, status: int, said: str) -> None:
    """D4, F8: closed standard output is a message, a reader that has enough is none."""
    (sigma,), environment = core_home.command()
    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", script.format(sigma=sigma)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert said in done.stderr
    assert bool(done.stderr) is bool(said)


def test_reading_works_on_a_home_that_cannot_be_written(core_home: Home) -> None:
    """G4, D7: show, plan and portfolios read it; what must write names the path and SIGMA_HOME."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0 and not setpriv:
        pytest.skip("root writes everywhere; setpriv (util-linux) takes that from it")
    gone = "-dac_override,-dac_read_search"
    powers = [setpriv or "", f"--bounding-set={gone}", f"--inh-caps={gone}"] if os.geteuid() == 0 else []
    for path in (*core_home.path.rglob("*"), core_home.path):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        for arguments, status in (
            (["portfolios"], 0),
            (["show", "core"], 0),
            (["plan"], 0),
            (["refresh", "--as-of", "2022-12-23"], 1),
        ):
            command, environment = core_home.command(*arguments)
            done = subprocess.run([*powers, *command], env=environment, capture_output=True, text=True, check=False)  # noqa: S603
            assert done.returncode == status, (arguments, done.stderr)
            assert "Traceback" not in done.stderr
        assert str(core_home.path) in done.stderr
        assert "SIGMA_HOME" in done.stderr
    finally:
        for path in (core_home.path, *core_home.path.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


def test_escapes_of_a_file_do_not_reach_the_terminal(core_home: Home, tmp_path: Path) -> None:
    """F5: a header with an escape and a bidirectional mark is shown with both written out."""
    file = tmp_path / "new.csv"
    file.write_text("symbol,quantity,entry_price,entry_date,se\x1b[31mct\u202eor\nKO,1,50,2021-06-15,x\n")
    ended = core_home.sigma_here("plan", file)
    assert ended.stderr == "Ignored columns: se\\x1b[31mct\\u202eor\n"

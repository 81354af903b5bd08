"""The settings: every variable has a default, a rule, and a message that names it."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from assets.numerics.constants import LOOKBACK_RETURNS
from assets.shared.look_back import price_sessions
from resources import calendar
from sigma_dagster.services import Services
from sigma_dagster.settings import PROJECT, SECRETS, Settings, SettingsError, parse_date, secret_file


def test_without_variables_everything_has_its_default() -> None:
    """A newcomer sets nothing: the home is `.sigma` beside pyproject.toml wherever the command is started."""
    made = Settings.from_environment({})
    assert made.home == PROJECT / ".sigma"
    assert (PROJECT / "pyproject.toml").is_file()
    assert made.database_url == sa.make_url(f"sqlite:///{PROJECT / '.sigma' / 'sigma.db'}")
    assert made.dagster_home == PROJECT / ".sigma" / "dagster"
    assert made.price_sources == ("sample",)
    assert (made.as_of, made.start_date, made.history_sessions) == (None, None, 365)


def test_variables_are_read() -> None:
    """Each variable ends up in its setting, with its type; blanks around values do not matter."""
    made = Settings.from_environment(
        {
            "SIGMA_HOME": "/tmp/elsewhere",  # noqa: S108
            "SIGMA_DATABASE_URL": " postgresql://u:p@h/d ",
            "SIGMA_PRICE_SOURCES": "folder, sample,",
            "SIGMA_AS_OF": "2022-06-30",
            "SIGMA_START_DATE": "2020-01-02",
            "SIGMA_HISTORY_SESSIONS": "20",
        }
    )
    assert made.home == Path("/tmp/elsewhere")  # noqa: S108
    assert made.database_url == sa.make_url("postgresql://u:p@h/d")
    assert made.price_sources == ("folder", "sample")
    assert (made.as_of, made.start_date, made.history_sessions) == (date(2022, 6, 30), date(2020, 1, 2), 20)


def test_the_ui_has_hosts_with_the_names_of_hosts() -> None:
    """The README's own example and longer names are taken: a host is no symbol of 15 characters."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (example,) = set(re.findall(r"SIGMA_UI_HOSTS=([\w.-]+)", readme))
    names = (example, "a-very-long-name.of-a-host.internal.example.com", "10.0.0.7")
    assert Settings.from_environment({"SIGMA_UI_HOSTS": ", ".join(names).upper()}).ui_hosts == names


@pytest.mark.parametrize("value", ["https://risk.example.com", "risk.example.com:443", "a b", "-x", "x" * 300, "*"])
def test_what_is_no_host_is_refused(value: str) -> None:
    """The message names the variable, the value and the form."""
    with pytest.raises(SettingsError, match=r"SIGMA_UI_HOSTS: .* is not the name of a host"):
        Settings.from_environment({"SIGMA_UI_HOSTS": value})


def test_a_variable_set_to_nothing_is_not_set() -> None:
    """`SIGMA_AS_OF=` in a shell or a compose file means the default."""
    names = ("SIGMA_HOME", "SIGMA_DATABASE_URL", "SIGMA_PRICE_SOURCES", "SIGMA_AS_OF", "SIGMA_HISTORY_SESSIONS")
    assert Settings.from_environment(dict.fromkeys(names, " ")) == Settings.from_environment({})


def test_a_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dagster wants an absolute home; a relative one counts from where the command is started, `~` from the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.from_environment({"SIGMA_HOME": "here"}).home == tmp_path / "here"
    assert Settings.from_environment({"SIGMA_HOME": "~/there"}).home == tmp_path / "there"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("SIGMA_HISTORY_SESSIONS", value) for value in ("0", "-1", "1.5", "many", "10001", "\u0663")),
        *(("SIGMA_AS_OF", value) for value in ("today", "2022-13-01", "20220101", "2022-W01-1")),
        ("SIGMA_START_DATE", "2022-02-30"),
        *(("DAGSTER_EVENT_BATCH_SIZE", value) for value in ("abc", "", "-1", "1.5")),
    ],
)
def test_a_bad_value_is_named_with_its_variable(name: str, value: str) -> None:
    """The message says which variable, which value and which rule."""
    with pytest.raises(SettingsError, match=f"{name}={value}: a .* is "):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("SIGMA_START_DATE", "1980-01-01", "a date from 1992-01-02 to 2040-12-31"),
        ("SIGMA_START_DATE", "2041-01-02", "a date from 1992-01-02 to 2040-12-31"),
        ("SIGMA_AS_OF", "1066-10-14", "a date from 1992-01-02 to 2040-12-31"),
        ("SIGMA_HOME", "~nosuchuser/x", "no such home directory"),
        ("SIGMA_PRICE_FILES", "~nosuchuser/x", "no such home directory"),
        ("TZ", "Nowhere/Nope", "a time zone is needed"),
        ("TZ", "/etc/passwd", "a time zone is needed"),
        ("TZ", "America", "a time zone is needed"),
        ("TZ", "../UTC", "a time zone is needed"),
        ("SIGMA_PRELOAD_SYMBOLS", "AAPL,K O!", "is not a symbol"),
    ],
)
def test_what_would_fail_later_is_refused_where_it_is_read(name: str, value: str, rule: str) -> None:
    """G2: a date that the calendar cannot look back from, a home of nobody, no symbol, a time zone taken for UTC."""
    with pytest.raises(SettingsError, match=f"{name}.*{rule}"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("zone", ["", "UTC", ":Europe/Zurich", "EST5EDT", "<-03>3", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_every_form_of_a_time_zone_is_taken(zone: str) -> None:
    """G2: only what the C library itself would not know is refused."""
    assert Settings.from_environment({"TZ": zone}) == Settings.from_environment({})


def test_more_sessions_than_the_calendar_can_look_back_from_are_refused(tmp_path: Path) -> None:
    """G2: the message names the variable and the most that is possible; that many have their look-back."""
    made = Settings.from_environment({"SIGMA_HOME": str(tmp_path), "SIGMA_HISTORY_SESSIONS": "10000"})
    with pytest.raises(SettingsError, match=r"SIGMA_HISTORY_SESSIONS=10000: at most 7,807 is possible") as caught:
        Services.of(made).first_date(date(2022, 12, 28))
    assert "from 1992-01-02 to 2022-12-28" in str(caught.value)
    most = Services.of(replace(made, history_sessions=7807))
    assert most.first_date(date(2022, 12, 28)) == date(1992, 1, 2)


def test_results_of_the_first_possible_partition_can_look_back() -> None:
    """G2: the calendar has every session that a result of the earliest SIGMA_START_DATE looks back on."""
    first = calendar.session_on_or_after(Settings.from_environment({"SIGMA_START_DATE": "1992-01-02"}).start_date)
    assert len(price_sessions(first, first)) == LOOKBACK_RETURNS + 1


def test_a_database_url_of_another_kind_is_refused_without_its_password() -> None:
    """SQLite and Postgres are known; what follows the scheme may hold a password and is not repeated."""
    with pytest.raises(SettingsError, match="SIGMA_DATABASE_URL=mysql:") as caught:
        Settings.from_environment({"SIGMA_DATABASE_URL": "mysql://root:secret@host/d"})
    assert "secret" not in str(caught.value)


NO_URL = [
    "postgresql://me:hunter2@ss@host/db",  # the rest would be taken for the host
    "postgresql://me:hunter2@ss:5432@host:5432/db",
    "postgresql://me:hunter2@ss/word@host/db",
    "postgresql://me:hunter2@host:five/db",
    "postgresql://me:hunter2@host:99999/db",
    "postgresql://me:hunter2@host:0/db",
    "postgres://me:hunter2@host/db",
    "postgresql+hunter2://host/db",
    "me:hunter2@host/db",
    "hunter2",
]


@pytest.mark.parametrize("name", ["SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"])
@pytest.mark.parametrize("url", NO_URL)
def test_a_url_that_is_none_is_refused_in_a_line_without_any_part_of_the_credentials(name: str, url: str) -> None:
    """A password may hold an @, a port may be mistyped: the message names the variable and the form, nothing else."""
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_environment({name: url})
    message = str(caught.value)
    assert "\n" not in message
    for part in ("hunter2", "ss", "word", "99999", "me:"):
        assert part not in message.replace("password", "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Every run is a process of its own: none would see what another one stored."""
    with pytest.raises(SettingsError, match=r"SIGMA_DATABASE_URL=sqlite:.*sqlite:///path"):
        Settings.from_environment({"SIGMA_DATABASE_URL": url})


def test_special_characters_of_a_password_are_written_as_in_every_url() -> None:
    """What the messages advise works: %40 is an @; a user name with an @ needs no escape."""
    url = Settings.from_environment({"SIGMA_DATABASE_URL": "postgresql://me@there:p%40%2Fss@host:5433/db"}).database_url
    assert (url.username, url.password, url.host, url.port) == ("me@there", "p@/ss", "host", 5433)
    assert "p@/ss" not in str(url)


def test_one_database_for_both_is_refused() -> None:
    """Both keep the version of their tables in a table of the same name."""
    both = dict.fromkeys(("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"), "postgresql://me:hunter2@host/db")
    with pytest.raises(SettingsError, match="name the same database") as caught:
        Settings.from_environment(both)
    assert "hunter2" not in str(caught.value)


BOTH = {f"SIGMA_{name}DATABASE_URL": f"postgresql://me:hunter2@host/{name}d" for name in ("", "DAGSTER_")}


def test_a_broker_sends_runs_to_workers() -> None:
    """Named with both databases on Postgres; without one everything is as before."""
    made = Settings.from_environment(
        {**BOTH, "SIGMA_BROKER_URL": "redis://:hunter2@host:6379/0", "SIGMA_WORKER_SLOTS": "8"}
    )
    assert (made.to_workers, made.worker_slots, made.max_symbols_per_run) == (True, 8, 5000)
    assert "hunter2" not in repr(made)
    alone = Settings.from_environment(BOTH)
    assert (alone.to_workers, alone.worker_slots, alone.max_symbols_per_run) == (False, 1, 5000)


@pytest.mark.parametrize(
    ("variables", "rule"),
    [
        ({**BOTH, "SIGMA_BROKER_URL": "amqp://me:hunter2@host"}, "its form is redis://"),
        ({**BOTH, "SIGMA_BROKER_URL": "hunter2"}, "its form is redis://"),
        ({"SIGMA_BROKER_URL": "redis://:hunter2@host/0"}, "must name Postgres databases"),
        (
            {"SIGMA_BROKER_URL": "redis://:hunter2@host/0", "SIGMA_DATABASE_URL": BOTH["SIGMA_DATABASE_URL"]},
            "must name Postgres databases",
        ),
    ],
)
def test_a_broker_that_cannot_serve_is_refused_without_its_password(variables: dict[str, str], rule: str) -> None:
    """Workers are found over Redis, and share both databases."""
    with pytest.raises(SettingsError, match=f"SIGMA_BROKER_URL.*{rule}") as caught:
        Settings.from_environment(variables)
    assert "hunter2" not in str(caught.value)


def test_dates_have_one_form() -> None:
    """Python reads more ISO forms than a person would expect; we read one."""
    assert parse_date("2022-12-28") == date(2022, 12, 28)
    for text in ("20221228", "2022-W52-3", "2022-12-28T00:00", "28.12.2022", "", "\uff12022-12-28"):
        with pytest.raises(ValueError, match="YYYY-MM-DD"):
            parse_date(text)


def test_what_the_price_sources_are_told() -> None:
    """Keys, addresses and the folder of files; the sources read no variable themselves."""
    home = Path("/tmp/elsewhere")  # noqa: S108
    default = Settings.from_environment({"SIGMA_HOME": str(home)}).source_options
    assert default.cache == home / "cache"
    assert (default.alpha_vantage_plan, default.alpha_vantage_key, default.price_files) == ("auto", "", None)
    made = Settings.from_environment(
        {
            "ALPHAVANTAGE_API_KEY": " av-key ",
            "SIGMA_ALPHA_VANTAGE_URL": "http://127.0.0.1:8000/query",
            "SIGMA_ALPHA_VANTAGE_PLAN": "free",
            "SIGMA_TIINGO_KEY": "t-key",
            "SIGMA_TIINGO_URL": "http://127.0.0.1:8001",
            "SIGMA_YAHOO_URL": "http://127.0.0.1:8002",
            "SIGMA_PRICE_FILES": str(home / "prices"),
            "SIGMA_PRELOAD_SYMBOLS": "brk-b, BF/B,spy",
        }
    )
    told = made.source_options
    assert (told.alpha_vantage_key, told.alpha_vantage_plan, told.tiingo_key) == ("av-key", "free", "t-key")
    assert told.alpha_vantage_url == "http://127.0.0.1:8000/query"
    assert (told.tiingo_url, told.yahoo_url) == ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    assert told.price_files == home / "prices"
    assert made.preload_symbols == ("BRK.B", "BF.B", "SPY")
    assert "av-key" not in repr(made)
    assert "t-key" not in repr(made)


@pytest.mark.parametrize("name", ["SIGMA_ALPHA_VANTAGE_URL", "SIGMA_TIINGO_URL", "SIGMA_YAHOO_URL"])
@pytest.mark.parametrize("value", ["localhost:8000", "ftp://x/y", "http://", "http://x/query?apikey=s3cret"])
def test_an_address_has_one_form(name: str, value: str) -> None:
    """The message names the variable and repeats nothing of it."""
    with pytest.raises(SettingsError, match=f"{name}: its form is https://host/path") as caught:
        Settings.from_environment({name: value})
    assert value not in str(caught.value)


# --- secrets in files


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    """SIGMA_..._FILE is the same as the variable itself; the file's last newline is not part of the secret."""
    value = {
        "SIGMA_DATABASE_URL": "postgresql://u:p@h/one",
        "SIGMA_DAGSTER_DATABASE_URL": "postgresql://u:p@h/two",
        "SIGMA_ALERT_SMTP_URL": "smtp://u:p@h:25",
        "SIGMA_BROKER_URL": "redis://:p@h/0",
    }.get(name, "https://h/s3cret")
    others = BOTH if name == "SIGMA_BROKER_URL" else {}
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    by_file = Settings.from_environment({**others, secret_file(name): str(file)})
    given = Settings.from_environment({**others, name: value})
    variables = {"dagster_database_variable", "broker_variable"}
    assert replace(by_file, **{variable: getattr(given, variable) for variable in variables}) == given
    assert by_file != Settings.from_environment(others)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    """Nobody knows which of the two is meant; the message names both variables and no content."""
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: "0ther", secret_file(name): str(file)})
    assert name in str(caught.value)
    assert secret_file(name) in str(caught.value)
    assert not {"s3cret", "0ther"} & set(str(caught.value).split())


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfes3cret", b"s3cret" * 20_000])
def test_a_bad_secret_file_is_named_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, no text or too large: the variable and the file are named, never what is in it."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="SIGMA_TIINGO_KEY_FILE") as caught:
        Settings.from_environment({"SIGMA_TIINGO_KEY_FILE": str(file)})
    assert str(file) in str(caught.value)
    assert "s3cret" not in str(caught.value)

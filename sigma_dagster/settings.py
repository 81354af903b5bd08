"""Every setting, read from the environment in one place. Nothing else reads an environment variable of ours."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from resources import calendar
from resources.secret_files import read_secret
from resources.sources.options import SourceOptions
from resources.sqlite import sqlite_url
from resources.symbols import SYMBOL, canonical

#: dagster.yaml names this variable, so that no password is written there.
DAGSTER_DATABASE_URL = "SIGMA_DAGSTER_DATABASE_URL"
#: And this one.
BROKER_URL = "SIGMA_BROKER_URL"

#: Results can begin no earlier: they look back on sessions that the calendar must have.
FIRST_START = date(1992, 1, 2)

#: A time zone written out, as POSIX has it: `EST5EDT,M3.2.0,M11.1.0`.
_POSIX_ZONE = re.compile(
    r"([A-Za-z]{3,}|<[\w+-]{3,}>)[+-]?\d{1,3}(:\d\d){0,2}(([A-Za-z]{3,}|<[\w+-]{3,}>)[\w+:,./-]*)?"
)

#: RFC 1123: labels of letters, digits and `-`, 253 characters in all; container names have `_` too.
_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*")
_LONGEST_HOST = 253

_MAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")

PROJECT = Path(__file__).resolve().parents[1]


#: Each may stand in a file instead, which the variable of its name and this ending names (`secret_file`).
SECRETS = (
    "ALPHAVANTAGE_API_KEY",
    "SIGMA_TIINGO_KEY",
    "SIGMA_DATABASE_URL",
    DAGSTER_DATABASE_URL,
    BROKER_URL,
    "SIGMA_ALERT_WEBHOOK",
    "SIGMA_ALERT_SMTP_URL",
)


class SettingsError(ValueError):
    """An environment variable has a value that its rule forbids."""


def parse_date(text: str) -> date:
    """Read a date written YYYY-MM-DD and in no other way; raises ValueError saying so."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day and day.isoformat() == text:
        return day
    raise ValueError("a date is written YYYY-MM-DD")


@dataclass(frozen=True)
class Alerts:
    """Whom a failed run is told; nobody, unless a webhook or an address for mail is set."""

    webhook: str = field(default="", repr=False)  # takes JSON by POST
    mail_to: tuple[str, ...] = ()
    mail_from: str = ""
    smtp_url: str = field(default="", repr=False)  # smtp://user:password@host:port, or smtps://

    @property
    def wanted(self) -> bool:
        """Say whether anybody is told."""
        return bool(self.webhook or self.mail_to)


@dataclass(frozen=True)
class Settings:
    """What the environment asks for; README, "Settings", says it in words."""

    home: Path
    database_url: sa.URL
    dagster_database_url: sa.URL | None  # Postgres for Dagster's own tables; None: SQLite files in `dagster_home`
    dagster_database_variable: str  # the one that names it, or the file that holds it
    price_sources: tuple[str, ...]
    source_options: SourceOptions
    factor_model: str  # the name of a built-in model, or the path of a file; empty: the one that suits the sources
    as_of: date | None  # None: the last completed session, or the source's last if that is earlier
    start_date: date | None  # the first date partition; None: where the first onboarding's results began
    history_sessions: int
    max_symbols_per_run: int
    preload_symbols: tuple[str, ...]  # computed before anybody holds them
    stress: str  # the path of a file with scenarios; empty: the built-in ones alone
    to_workers: bool  # a broker is named: runs go to the workers that listen to it
    broker_variable: str  # the one that names it, or the file that holds its address
    worker_slots: int  # runs that all workers together execute at once; without workers 1
    ui_hosts: tuple[str, ...]  # names of the Dagster UI's host beside those of the loopback
    alerts: Alerts

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; raises SettingsError naming the variable, its value and the rule."""
        _check_time_zone(environment)
        _check_batches(environment)
        home = _folder(environment, "SIGMA_HOME", str(PROJECT / ".sigma"))
        sources = _text(environment, "SIGMA_PRICE_SOURCES", "sample")
        database_url = _url(environment, "SIGMA_DATABASE_URL", ("sqlite", "postgresql")) or sqlite_url(
            home / "sigma.db"
        )
        dagster_database_url = _url(environment, DAGSTER_DATABASE_URL, ("postgresql",))
        if database_url == dagster_database_url:
            raise SettingsError(
                f"SIGMA_DATABASE_URL and {DAGSTER_DATABASE_URL} name the same database: each needs its own"
            )
        to_workers, slots = _names_broker(environment), _count(environment, "SIGMA_WORKER_SLOTS", 2)
        if to_workers and not (dagster_database_url and database_url.get_backend_name() == "postgresql"):
            raise SettingsError(
                f"{BROKER_URL}: workers share both databases, so SIGMA_DATABASE_URL and {DAGSTER_DATABASE_URL} "
                "must name Postgres databases"
            )
        return cls(
            home=home,
            database_url=database_url,
            dagster_database_url=dagster_database_url,
            dagster_database_variable=_variable(environment, DAGSTER_DATABASE_URL),
            price_sources=tuple(name.strip() for name in sources.split(",") if name.strip()),
            source_options=_source_options(environment, home / "cache"),
            factor_model=_text(environment, "SIGMA_FACTOR_MODEL", ""),
            as_of=_date(environment, "SIGMA_AS_OF"),
            start_date=_date(environment, "SIGMA_START_DATE"),
            history_sessions=_count(environment, "SIGMA_HISTORY_SESSIONS", 365),
            max_symbols_per_run=_count(environment, "SIGMA_MAX_SYMBOLS_PER_RUN", 5_000),
            preload_symbols=_names(environment, "SIGMA_PRELOAD_SYMBOLS"),
            stress=_text(environment, "SIGMA_STRESS", ""),
            to_workers=to_workers,
            broker_variable=_variable(environment, BROKER_URL),
            worker_slots=slots if to_workers else 1,
            ui_hosts=_hosts(environment, "SIGMA_UI_HOSTS"),
            alerts=_alerts(environment),
        )

    @property
    def dagster_home(self) -> Path:
        """Where the Dagster instance keeps its files."""
        return self.home / "dagster"

    @property
    def restoring(self) -> Path:
        """A file that is there while a restore puts databases in their place, or since one was interrupted."""
        return self.home / "restoring"


def _source_options(environment: Mapping[str, str], cache: Path) -> SourceOptions:
    """Read what the price sources are told; whether it is enough is theirs to say, when one of them is made."""
    default = SourceOptions()
    files = _text(environment, "SIGMA_PRICE_FILES", "")
    return replace(
        default,
        cache=cache,
        alpha_vantage_key=_secret(environment, "ALPHAVANTAGE_API_KEY"),
        alpha_vantage_url=_address(environment, "SIGMA_ALPHA_VANTAGE_URL", default.alpha_vantage_url),
        alpha_vantage_plan=_text(environment, "SIGMA_ALPHA_VANTAGE_PLAN", default.alpha_vantage_plan),
        tiingo_key=_secret(environment, "SIGMA_TIINGO_KEY"),
        tiingo_url=_address(environment, "SIGMA_TIINGO_URL", default.tiingo_url),
        yahoo_url=_address(environment, "SIGMA_YAHOO_URL", default.yahoo_url),
        price_files=_folder(environment, "SIGMA_PRICE_FILES", "") if files else None,
    )


def _address(environment: Mapping[str, str], name: str, default: str) -> str:
    """Read the address of a provider; no message repeats it, since it may hold a password."""
    address = _text(environment, name, default)
    parts = urlsplit(address)
    if address != default and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query):
        raise SettingsError(f"{name}: its form is https://host/path, without a question mark")
    return address


def _text(environment: Mapping[str, str], name: str, default: str) -> str:
    return environment.get(name, "").strip() or default


def secret_file(name: str) -> str:
    """Name the variable that names the file of a secret."""
    return f"SIGMA_{name.removeprefix('SIGMA_')}_FILE"


def _variable(environment: Mapping[str, str], name: str) -> str:
    """Name the variable by which a secret is given: its own, or that of its file; raises SettingsError for both."""
    file = secret_file(name)
    if not _text(environment, file, ""):
        return name
    if _text(environment, name, ""):
        raise SettingsError(f"{name} and {file} are both set: unset one of them")
    return file


def _secret(environment: Mapping[str, str], name: str) -> str:
    """Read a secret; no message says more of it than the path of its file."""
    variable = _variable(environment, name)
    if variable == name:
        return _text(environment, name, "")
    path = _folder(environment, variable, "")
    try:
        return read_secret(path).strip()
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"{variable}={path}: {told}; a file that this user can read is needed") from None


def _alerts(environment: Mapping[str, str]) -> Alerts:
    webhook, smtp_url = _secret(environment, "SIGMA_ALERT_WEBHOOK"), _secret(environment, "SIGMA_ALERT_SMTP_URL")
    if webhook and not _is_address(webhook, ("http", "https")):
        raise SettingsError("SIGMA_ALERT_WEBHOOK: its form is https://host/path")
    if smtp_url and not _is_address(smtp_url, ("smtp", "smtps")):
        raise SettingsError(
            "SIGMA_ALERT_SMTP_URL: its form is smtp://user:password@host:port, special characters as %XX"
        )
    to = _mails(environment, "SIGMA_ALERT_MAIL_TO")
    sender = _mails(environment, "SIGMA_ALERT_MAIL_FROM")
    if to and not (smtp_url and len(sender) == 1):
        raise SettingsError(
            "SIGMA_ALERT_MAIL_TO: SIGMA_ALERT_SMTP_URL and one address in SIGMA_ALERT_MAIL_FROM are needed"
        )
    return Alerts(webhook, to, sender[0] if sender else "", smtp_url)


def _is_address(text: str, kinds: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in kinds and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _mails(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())
    for each in found:
        if not _MAIL.fullmatch(each):
            raise SettingsError(f"{name}: {each!r} is not the address of a mailbox")
    return found


def _url(environment: Mapping[str, str], name: str, kinds: Sequence[str]) -> sa.URL | None:
    """Read a database URL; no message repeats more of it than its kind, since the rest may hold a password."""
    text = _secret(environment, name)
    if not text:
        return None
    kind, found, rest = text.partition("://")
    if not found or kind not in kinds:
        shown = f"={kind}:..." if found and kind.isidentifier() else ""
        raise SettingsError(f"{name}{shown}: a {' or '.join(f'{each}:' for each in kinds)} URL is needed")
    # Else a part of the password would be taken for the host, and named when that is not found.
    if kind == "postgresql" and rest.partition(":")[2].count("@") > 1:
        raise SettingsError(f"{name}={kind}:...: more than one @; in a password it is written %40")
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # a ValueError is about the port
        url = None
    port = 5432 if url is None or url.port is None else url.port
    if url is None or not 0 < port < 65536 or (kind == "sqlite" and url.database in (None, "", ":memory:")):
        form = "sqlite:///path" if kind == "sqlite" else "postgresql://user:password@host:port/name"
        raise SettingsError(f"{name}={kind}:...: its form is {form}, the port a number, special characters as %XX")
    return url


def _names_broker(environment: Mapping[str, str]) -> bool:
    """Say whether a broker is named; no message repeats its address, since it may hold a password."""
    address = _secret(environment, BROKER_URL)
    parts = urlsplit(address)
    if address and (parts.scheme not in ("redis", "rediss") or not parts.netloc):
        raise SettingsError(f"{BROKER_URL}: its form is redis://:password@host:port/number, or rediss:// with TLS")
    return bool(address)


def _folder(environment: Mapping[str, str], name: str, default: str) -> Path:
    text = _text(environment, name, default)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # ~ of nobody, or of a user without a home
        raise SettingsError(f"{name}={text}: there is no such home directory; write the whole path") from None


def _date(environment: Mapping[str, str], name: str) -> date | None:
    value = _text(environment, name, "")
    if not value:
        return None
    try:
        day = parse_date(value)
    except ValueError as error:
        raise SettingsError(f"{name}={value}: {error}") from None
    if not FIRST_START <= day <= calendar.LAST_DAY:
        raise SettingsError(f"{name}={day}: a date from {FIRST_START} to {calendar.LAST_DAY} is needed")
    return day


def _check_time_zone(environment: Mapping[str, str]) -> None:
    """Refuse a TZ that nobody knows: the C library would take it for UTC without a word."""
    value = _text(environment, "TZ", "")
    name = value.removeprefix(":")
    if name and not _POSIX_ZONE.fullmatch(name) and not _is_zone(name):
        raise SettingsError(f"TZ={value}: a time zone is needed, such as America/New_York; or unset it")


def _check_batches(environment: Mapping[str, str]) -> None:
    """Refuse a variable of Dagster's that Dagster would only find out about in the middle of a run."""
    name = "DAGSTER_EVENT_BATCH_SIZE"
    value = environment.get(name)
    if value is not None and not (value.strip().isascii() and value.strip().isdigit()):
        raise SettingsError(f"{name}={value}: a whole number of events is needed; or unset it")


def _is_zone(name: str) -> bool:
    """Say whether it is the name of a time zone, or the path of a file that describes one."""
    try:
        if name.startswith("/"):
            return Path(name).read_bytes().startswith(b"TZif")
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; a folder
        return False
    return True


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    names = tuple(canonical(part) for part in environment.get(name, "").split(",") if part.strip())
    for each in names:
        if not SYMBOL.fullmatch(each):
            raise SettingsError(f"{name}: {each!r} is not a symbol; symbols separated by commas are needed")
    return names


def _hosts(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    hosts = tuple(part.strip().lower() for part in environment.get(name, "").split(",") if part.strip())
    for each in hosts:
        if len(each) > _LONGEST_HOST or not _HOST.fullmatch(each):
            raise SettingsError(
                f"{name}: {each!r} is not the name of a host; names such as risk.example.com, separated by commas and "
                "without port, are needed"
            )
    return hosts


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    value = _text(environment, name, str(default))
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 10_000:
        raise SettingsError(f"{name}={value}: a whole number from 1 to 10000 is needed")
    return int(value)

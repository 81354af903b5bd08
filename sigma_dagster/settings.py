"""Every setting, read from the environment in one place. Nothing else reads an environment variable of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

#: dagster.yaml names this variable, so that no password is written there.
DAGSTER_DATABASE_URL = "SIGMA_DAGSTER_DATABASE_URL"

PROJECT = Path(__file__).resolve().parents[1]


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
class Settings:
    """What the environment asks for; README, "Settings", says it in words."""

    home: Path
    database_url: str
    dagster_database_url: str  # Postgres for Dagster's own tables; empty: SQLite files in `dagster_home`
    price_sources: tuple[str, ...]
    factor_model: str  # the name of a built-in model, or the path of a file; empty: the one that suits the sources
    as_of: date | None  # None: the last completed session, or the source's last if that is earlier
    start_date: date | None  # the first date partition; None: where the first onboarding's results began
    history_sessions: int
    max_symbols_per_run: int
    preload_symbols: tuple[str, ...]  # computed before anybody holds them

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; raises SettingsError naming the variable, its value and the rule."""
        home = Path(_text(environment, "SIGMA_HOME", str(PROJECT / ".sigma"))).expanduser().absolute()
        sources = _text(environment, "SIGMA_PRICE_SOURCES", "sample")
        return cls(
            home=home,
            database_url=_database_url(environment, f"sqlite:///{home / 'sigma.db'}"),
            dagster_database_url=_dagster_database_url(environment),
            price_sources=tuple(name.strip() for name in sources.split(",") if name.strip()),
            factor_model=_text(environment, "SIGMA_FACTOR_MODEL", ""),
            as_of=_optional_date(environment, "SIGMA_AS_OF"),
            start_date=_optional_date(environment, "SIGMA_START_DATE"),
            history_sessions=_count(environment, "SIGMA_HISTORY_SESSIONS", 365),
            max_symbols_per_run=_count(environment, "SIGMA_MAX_SYMBOLS_PER_RUN", 500),
            preload_symbols=_names(environment, "SIGMA_PRELOAD_SYMBOLS"),
        )

    @property
    def dagster_home(self) -> Path:
        """Where the Dagster instance keeps its files."""
        return self.home / "dagster"


def _text(environment: Mapping[str, str], name: str, default: str) -> str:
    return environment.get(name, "").strip() or default


def _database_url(environment: Mapping[str, str], default: str) -> str:
    url = _text(environment, "SIGMA_DATABASE_URL", default)
    if not url.startswith(("sqlite:", "postgresql:")):
        kind = url.split(":")[0]  # no more of it: what follows may hold a password
        raise SettingsError(f"SIGMA_DATABASE_URL={kind}:...: a sqlite: or postgresql: URL is needed")
    return url


def _dagster_database_url(environment: Mapping[str, str]) -> str:
    url = _text(environment, DAGSTER_DATABASE_URL, "")
    if url and not url.startswith("postgresql:"):
        raise SettingsError(f"{DAGSTER_DATABASE_URL}={url.split(':')[0]}:...: a postgresql: URL is needed, or none")
    return url


def _optional_date(environment: Mapping[str, str], name: str) -> date | None:
    value = _text(environment, name, "")
    try:
        return parse_date(value) if value else None
    except ValueError as error:
        raise SettingsError(f"{name}={value}: {error}") from None


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in environment.get(name, "").split(",") if part.strip())


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    value = _text(environment, name, str(default))
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 10_000:
        raise SettingsError(f"{name}={value}: a whole number from 1 to 10000 is needed")
    return int(value)

"""How a command that fails ends: its exit status, and one message that names the thing and what to do.

Exit status 1: something outside failed (source, database, disk). 2: the input is wrong. An error that is not named here
is a fault of the program and ends in a traceback.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from assets.model_file import ModelFileError
from assets.shared.look_back import MissingInputsError
from resources.calendar import CalendarError
from resources.database.symbols import RenameError
from resources.releases import OtherReleaseError
from resources.sources.base import SourceError, SourceSettingError
from resources.sources.sample import DamagedSampleError
from sigma_dagster.analysis.attribution import NoChangeError
from sigma_dagster.analysis.history import MetricError
from sigma_dagster.analysis.scenarios import ScenarioError
from sigma_dagster.analysis.whatif import TradeError
from sigma_dagster.cli.app import InputError
from sigma_dagster.cli.output import ClosedOutputError
from sigma_dagster.errors import (
    BackupError,
    BlockFailedError,
    BrokenHomeError,
    PortTakenError,
    PruneError,
    WorkersError,
)
from sigma_dagster.planning.planner import NothingToPlanError
from sigma_dagster.portfolio.holdings import HoldingsError
from sigma_dagster.services import AsOfError
from sigma_dagster.settings import DAGSTER_DATABASE_URL, Settings, SettingsError

_WRONG_INPUT = (
    InputError,
    HoldingsError,
    SettingsError,
    ModelFileError,
    AsOfError,
    NothingToPlanError,
    SourceSettingError,
    CalendarError,
    MissingInputsError,
    RenameError,
    TradeError,
    MetricError,
    NoChangeError,
    ScenarioError,
    BackupError,
    PruneError,
)
_SAYS_ALL = (
    SourceError,
    BrokenHomeError,
    OtherReleaseError,
    PortTakenError,
    WorkersError,
    DamagedSampleError,
    ClosedOutputError,
)
_DAGSTER = ("dagster", "dagster_postgres", "dagster_shared")
_KEPT = "What was committed before is kept; the same command goes on from there"


def explain(error: Exception) -> tuple[int, str] | None:
    """Give the exit status and the message of a foreseeable error, None for any other."""
    if isinstance(error, _WRONG_INPUT):
        return 2, str(error)
    if isinstance(error, _SAYS_ALL):
        return 1, str(error)
    if isinstance(error, BlockFailedError):
        return 1, f"{error}\nWhat was stored is kept; the same command finishes the rest."
    if isinstance(error, (SQLAlchemyError, sqlite3.Error)) or _is_of(error, "psycopg2"):
        return 1, _database(error)
    if isinstance(error, OSError):
        return 1, _file(error)
    if isinstance(error, MemoryError):
        return 1, f"out of memory. {_KEPT}; a smaller SIGMA_MAX_SYMBOLS_PER_RUN needs less"
    return _of_cause(error)


def as_data(error: Exception) -> list[dict[str, Any]]:
    """Give what is wrong with a holdings file, row by row, for the JSON; nothing for any other error."""
    return [row._asdict() for row in error.errors] if isinstance(error, HoldingsError) else []


def _of_cause(error: Exception) -> tuple[int, str] | None:
    """Explain an error of Dagster's by what it was raised from: a database that cannot be reached, for instance."""
    cause = error.__cause__ or error.__context__
    return explain(cause) if isinstance(cause, Exception) and _is_of(error, *_DAGSTER) else None


def _is_of(error: Exception, *packages: str) -> bool:
    """Say whether a package defines the error, without importing it."""
    return type(error).__module__.partition(".")[0] in packages


def _database(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    told = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    if isinstance(cause, sqlite3.Error):
        return _sqlite(told)
    return (
        f"database: {told}. The Postgres of SIGMA_DATABASE_URL or {DAGSTER_DATABASE_URL} must run and let this user "
        f"connect. {_KEPT}"
    )


def _sqlite(told: str) -> str:
    settings = Settings.from_environment(os.environ)
    home = settings.home
    if "not a database" in told or "malformed" in told:
        file = next(filter(_is_damaged, _databases(settings)), home)
        return (
            f"{file}: {told}. Move it away and run the command again: what is lost with it is computed anew, "
            "portfolios are onboarded again from their files"
        )
    if "is full" in told:
        return f"{home}: {told}. Make room there, or give another SIGMA_HOME. {_KEPT}"
    if "unable to open" in told or "readonly" in told or "read-only" in told:
        return (
            f"{_barred(settings)}: {told}. SIGMA_HOME ({home}) must be a folder that this user can write, and so must "
            "all in it"
        )
    return f"database in {home}: {told}. {_KEPT}"


def _databases(settings: Settings) -> Iterator[Path]:
    """The files of both databases, as far as this user can see them."""
    folders = os.walk(settings.dagster_home)  # passes over what it may not enter
    files = (Path(folder, name) for folder, _, names in folders for name in sorted(names) if name.endswith(".db"))
    yield from filter(os.path.isfile, (_own(settings), *files))


def _own(settings: Settings) -> Path:
    url = settings.database_url
    return Path(url.database or settings.home) if url.get_backend_name() == "sqlite" else settings.home


def _is_damaged(file: Path) -> bool:
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError:
        return True
    finally:
        connection.close()


def _barred(settings: Settings) -> Path:
    """Find what this user cannot write, or what is not a file."""
    own = _own(settings)
    paths = (settings.home, own.parent, own, *_databases(settings))
    return next((path for path in paths if os.path.exists(path) and not os.access(path, os.W_OK)), own)


def _file(error: OSError) -> str:
    what = error.filename or "file system"
    told = error.strerror or str(error)
    home = Settings.from_environment(os.environ).home
    elsewhere = bool(error.filename) and not Path(what).absolute().is_relative_to(home)
    if error.errno == errno.ENOSPC:
        return f"{what}: {told}. Make room there{'' if elsewhere else ', or give another SIGMA_HOME'}. {_KEPT}"
    if elsewhere:
        return f"{what}: {told}. It must be a file that this user can read and write. {_KEPT}"
    return f"{what}: {told}. SIGMA_HOME must name a folder that this user can read and write. {_KEPT}"

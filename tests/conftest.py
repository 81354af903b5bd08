"""What all tests share: an environment without settings of ours, and homes with portfolios already onboarded."""

import gc
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Two processes of tests share two cores, and the threads of OpenBLAS would only wait in turns. It reads this when it is
# loaded; what the tests start decides for itself.
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("OPENBLAS_NUM_THREADS", os.environ.get("OPENBLAS_NUM_THREADS", "1"))
    import scipy.linalg  # noqa: F401

import sqlalchemy as sa
from filelock import FileLock
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from resources.database.engine import Database
from tests.support.home import CORE, GROWTH, Home

# Nothing is written outside of .venv, SIGMA_HOME and pytest's own folder.
set_hypothesis_home_dir(Path(__file__).parents[1] / ".venv" / ".hypothesis")
# A busy machine is no fault.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
# Bytecode goes there (deploy/install.sh), and is kept whatever the environment says: each process that a test starts
# would compile the project anew, and each run of the tests their own modules.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
sys.dont_write_bytecode = False

pytest_plugins = ["tests.conftest_postgres", "tests.conftest_sources"]

#: Few sessions make an onboarding quick; the look-back of the numbers is as long as ever.
SMALL = {"SIGMA_HISTORY_SESSIONS": "5", "SIGMA_START_DATE": "2022-12-01"}


def pytest_collection_finish() -> None:
    """What was imported stays: let no garbage collection look at it again. `Home.sigma_here` collects each time."""
    gc.collect()
    gc.freeze()


@sa.event.listens_for(sa.Engine, "connect")
def _without_waiting_for_the_disk(connection: object, _record: object) -> None:
    """No test cuts the power: SQLite need not flush. Half of an onboarding in Dagster is waiting for that."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings change no test."""
    for name in os.environ:
        if name.startswith(("SIGMA_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, prepared_empty: Path) -> Home:
    """A home without portfolios that targets 5 sessions."""
    return _copy(prepared_empty, tmp_path / "sigma", SMALL)


@pytest.fixture
def other_home(tmp_path: Path, prepared_empty: Path) -> Home:
    """A second one, to compare with what never happened there."""
    return _copy(prepared_empty, tmp_path / "other", SMALL)


@pytest.fixture
def core_home(tmp_path: Path, prepared_core: Path) -> Home:
    """A home of its own with `core` onboarded at 5 sessions."""
    return _copy(prepared_core, tmp_path / "sigma", SMALL)


@pytest.fixture
def other_core_home(tmp_path: Path, prepared_core: Path) -> Home:
    """A second one, to compare with what never happened there."""
    return _copy(prepared_core, tmp_path / "other", SMALL)


@pytest.fixture
def full_home(tmp_path: Path, prepared_full: Path) -> Home:
    """A home of its own with `core` and then `growth` onboarded at all 365 sessions."""
    return _copy(prepared_full, tmp_path / "sigma", {})


@pytest.fixture(scope="session")
def read_home(tmp_path_factory: pytest.TempPathFactory, prepared_full: Path) -> Home:
    """The same for all tests that only read."""
    return _copy(prepared_full, tmp_path_factory.mktemp("read") / "sigma", {})


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, prepared_empty: Path
) -> Iterator[Callable[[], Database]]:
    """Make a domain database without rows with each call: what is asked of it is asked of SQLite and of Postgres."""
    made: list[Database] = []

    def make() -> Database:
        if request.param == "postgres":
            url = request.getfixturevalue("postgres_with_tables")()
        else:
            file = shutil.copy(prepared_empty / "sigma.db", tmp_path / f"{len(made)}.db")
            url = f"sqlite:///{file}"
        made.append(Database(url))
        return made[-1]

    yield make
    for database in made:
        database.engine.dispose()


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """One of them."""
    return new_database()


@pytest.fixture(scope="session")
def prepared_empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _once(tmp_path_factory, "empty", lambda path: Home(path, SMALL).create())


@pytest.fixture(scope="session")
def prepared_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _once(tmp_path_factory, "core", lambda path: _onboard(Home(path, SMALL), CORE))


@pytest.fixture(scope="session")
def prepared_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _once(tmp_path_factory, "full", lambda path: _onboard(Home(path, {}), CORE, GROWTH))


def _onboard(home: Home, *files: Path) -> None:
    for file in files:
        home.onboard(file)


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder in whichever process of the test run asks first; all processes get the same."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    shared = factory.getbasetemp().parent if parallel else factory.getbasetemp()
    target = shared / f"home-{name}"
    with FileLock(shared / f"{name}.lock"):
        if not target.exists():
            scratch = shared / f"making-{name}"
            shutil.rmtree(scratch, ignore_errors=True)
            make(scratch)
            scratch.rename(target)
    return target


def _copy(source: Path, target: Path, variables: dict[str, str]) -> Home:
    shutil.copytree(source, target)
    return Home(target, variables)

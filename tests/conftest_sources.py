"""What the tests of price sources share: a meter on a real database, options, and the proof that no key gets out."""

import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from resources import calendar
from resources.database.engine import Database
from resources.database.quota import DatabaseMeter
from resources.sources import guard
from resources.sources.base import PriceSource, SourceError, UnknownSymbolError
from resources.sources.options import SourceOptions
from tests.support.vendors.server import KEY

Options = Callable[..., SourceOptions]


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the domain's tables and nothing in them."""
    file = tmp_path_factory.mktemp("tables") / "sigma.db"
    Database(f"sqlite:///{file}").engine.dispose()
    return file


@pytest.fixture
def meter_file(tables: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(tables, tmp_path / "sigma.db"))


@pytest.fixture
def meter(meter_file: Path) -> Iterator[DatabaseMeter]:
    """A meter on a SQLite database."""
    database = Database(f"sqlite:///{meter_file}")
    yield DatabaseMeter(database)
    database.engine.dispose()


@pytest.fixture
def options(meter: DatabaseMeter, tmp_path: Path) -> Options:
    """Make options as of the evening of a session, with pauses a hundredth as long."""

    def make(evening: date, **more: Any) -> SourceOptions:
        now = datetime.combine(evening, datetime.min.time(), calendar.NEW_YORK).replace(hour=20).astimezone(UTC)
        given = {"meter": meter, "cache": tmp_path / "cache", "pace": 0.01, "timeout": 1.0, "now": lambda: now} | more
        return SourceOptions(**given)

    return make


@pytest.fixture
def no_key_gets_out(caplog: pytest.LogCaptureFixture, meter_file: Path) -> Iterator[None]:
    """Whatever the test does: at its end the key stands in no log record of any level, and not in the database."""
    caplog.set_level(logging.DEBUG)
    yield
    for form in (KEY, quote(KEY, safe="")):
        for record in caplog.get_records("call"):
            assert form not in f"{record.getMessage()} {vars(record)}"
        for file in meter_file.parent.glob(f"{meter_file.name}*"):
            assert form.encode() not in file.read_bytes()


def refusal(source: PriceSource) -> Exception:
    """What a fetch of IBM's last session in the fixtures raises, checked as every answer is before it is stored."""
    day = date(2013, 3, 1)
    with pytest.raises((SourceError, UnknownSymbolError)) as caught:
        guard.check(source.name, "IBM", source.fetch("IBM", day, day), completed=day, today=day)
    return caught.value


def everything_said(error: BaseException | None) -> str:
    """All texts of an error and of whatever led to it."""
    if error is None:
        return ""
    own = f"{error} {error!r} {error.args} {vars(error)} {getattr(error, '__notes__', '')}"
    return own + everything_said(error.__cause__) + everything_said(error.__context__)

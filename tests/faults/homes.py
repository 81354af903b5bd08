"""Homes for faults, by the dozen: small, on SQLite or on Postgres, each a copy of one that was made once."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from tests.faults.commands import create
from tests.support import postgres
from tests.support.home import Home, holdings

DATABASES = ("sqlite", "postgres")
SMALL = {"SIGMA_HISTORY_SESSIONS": "20", "SIGMA_START_DATE": "2022-11-29"}
_URLS = ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL")

#: Books that share symbols; the last two are one portfolio before and after an edit.
BOOKS = {
    "one": ("KO", "PEP", "PG"),
    "two": ("KO", "AAPL", "MSFT"),
    "three": ("JPM", "PG", "XOM"),
    "four": ("AMD", "AAPL", "KO"),
    "five": ("WMT", "UNH", "XOM"),
    "six": ("CVX", "JPM", "PFE"),
    "seven": ("MRK", "LLY", "HD"),
    "eight": ("MSFT", "GE", "BAC"),
    "edited": ("PEP", "JNJ"),
    "edited again": ("JNJ,25,90,2022-12-05", "BBY"),
}


def memory() -> Path | None:
    """A folder whose files need no disk, where the machine has one: nothing here cuts the power."""
    folder = Path("/dev/shm")  # noqa: S108 - each uses a folder of its own in it
    return folder if folder.is_dir() else None


def write_books(folder: Path) -> dict[str, Path]:
    """Write the holdings files of BOOKS."""
    folder.mkdir()
    return {name: holdings(folder / f"{name}.csv", *lots) for name, lots in BOOKS.items()}


@dataclass
class Homes:
    """Makes homes on one database."""

    database: str
    folder: Path
    server: str = ""  # of Postgres: the URL of any database

    def __post_init__(self) -> None:
        self._numbers = count()
        self._prepared = Home(self.folder / "prepared", {**SMALL, **self._new_urls("template1", "template1")})
        create(self._prepared)

    @contextmanager
    def new(self, **variables: str) -> Iterator[Home]:
        """Give a home without portfolios, for the block."""
        path = self.folder / f"home-{next(self._numbers)}"
        prepared = [str(sa.make_url(self._prepared.variables[name]).database) for name in _URLS if self.server]
        urls = self._new_urls(*prepared)
        shutil.copytree(self._prepared.path, path)
        try:
            yield Home(path, {**SMALL, **urls, **variables})
        finally:
            shutil.rmtree(path, ignore_errors=True)
            for url in urls.values():
                postgres.drop(url)

    def _new_urls(self, *templates: str) -> dict[str, str]:
        if not self.server:
            return {}
        names = zip(_URLS, templates, ("sigma", "dagster"), strict=True)
        return {variable: _plain(postgres.create(self.server, template, name)) for variable, template, name in names}


@contextmanager
def homes_on(database: str) -> Iterator[Homes]:
    """Give what makes homes on `sqlite` or `postgres`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-", dir=memory())))
        server = stack.enter_context(postgres.running()).get_uri(driver="psycopg2") if database == "postgres" else ""
        yield Homes(database, folder, server)


def _plain(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

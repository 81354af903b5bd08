"""Backups: both databases in one file, restored whole on an empty machine or not at all."""

import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database.engine import Database
from resources.postgres import psycopg2_url
from sigma_dagster import api
from sigma_dagster.errors import BrokenHomeError
from sigma_dagster.operations.restore import restore
from sigma_dagster.settings import Settings
from tests.support.contents import contents
from tests.support.home import CORE, GROWTH, Home
from tests.support.ui import asked_here, bars

SMALL = {"SIGMA_HISTORY_SESSIONS": "5", "SIGMA_START_DATE": "2022-12-01"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def plain(url: str) -> str:
    """The URL as a user writes it."""
    return url.replace("postgresql+psycopg2", "postgresql")


def nothing_missing(home: Home, **settings: str) -> bool:
    """Whether sigma plan has nothing to do."""
    done = home.sigma_here("plan", "--json", **settings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return not (found["runs"] or found["fetch"] or found["portfolios"])


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A backup whose members were changed on the way."""
    with tarfile.open(source) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(target, "w") as tar:
        for name, content in members.items():
            told = tarfile.TarInfo(name)
            told.size = len(content)
            tar.addfile(told, io.BytesIO(content))
    return target


def in_manifest(**values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        for name, value in values.items():
            part, _, field = name.partition("__")
            (manifest[part].__setitem__(field, value) if field else manifest.__setitem__(part, value))
        members["manifest.json"] = json.dumps(manifest).encode()

    return change


def test_an_empty_machine_has_everything_back(core_home: Home, tmp_path: Path) -> None:
    """Restored into a home that is not there: every row, nothing missing for sigma plan, and the UI's own GraphQL shows
    the partitions as before; the backup and all files are the owner's alone."""
    file = tmp_path / "night.tar"
    done = core_home.sigma_here("db", "backup", file)
    assert done.returncode == 0, done.stderr
    assert mode(file) == 0o600
    with asked_here(core_home) as ask:
        before = bars(ask)
    assert before["factor_exposures"][0] > 0
    empty = Home(tmp_path / "elsewhere" / "sigma", SMALL)
    done = empty.sigma_here("db", "restore", file)
    assert done.returncode == 0, done.stderr
    assert mode(empty.path) == 0o700
    files = [path for path in empty.path.rglob("*.db*") if path.is_file()]
    assert len(files) >= 4
    assert {mode(path) & 0o077 for path in files} == {0}
    assert empty.rows() == core_home.rows()
    assert nothing_missing(empty)
    with asked_here(empty) as ask:
        assert bars(ask) == before
    assert empty.sigma_here("db", "check").returncode == 0
    assert not [path for path in empty.path.iterdir() if path.name.startswith((".restore", "restoring"))]


def test_a_backup_while_others_write_is_of_one_moment(home: Home, tmp_path: Path) -> None:
    """Made in the middle of an onboarding: no record without its row, and the next command makes the rest."""
    running = threading.Thread(target=home.sigma, args=("onboard", CORE))
    running.start()
    files = []
    while running.is_alive():
        files.append(tmp_path / f"{len(files)}.tar")
        assert home.sigma_here("db", "backup", files[-1]).returncode == 0
        running.join(0.3)
    assert files
    for i in {0, len(files) // 2, len(files) - 1}:
        other = Home(tmp_path / f"home-{i}", SMALL)
        assert other.sigma_here("db", "restore", files[i]).returncode == 0
        looks = json.loads(other.sigma_here("db", "check", "--json").stdout)["looks"]
        assert not [look for look in looks if "records" in look["what"] and ", 0 without a row" not in look["found"]]
        assert other.statuses().keys() <= {"SUCCESS", "FAILURE"}
        assert other.sigma_here("onboard", CORE).returncode == 0
        other.assert_records_are_rows()
        assert other.numbers("factor_exposure") == home.numbers("factor_exposure")


def test_a_file_is_never_overwritten(core_home: Home, tmp_path: Path) -> None:
    """A backup under a name that is taken is refused, and the file there stays."""
    file = tmp_path / "core.tar"
    file.write_text("mine")
    done = core_home.sigma_here("db", "backup", file)
    assert (done.returncode, "is there already" in done.stderr) == (2, True)
    assert file.read_text() == "mine"


def test_a_restore_replaces_when_asked(core_home: Home, tmp_path: Path) -> None:
    """Refused without --replace, and nothing is changed; with it, rows and records are the backup's."""
    file = tmp_path / "core.tar"
    assert core_home.sigma_here("db", "backup", file).returncode == 0
    before = core_home.rows()
    core_home.onboard(GROWTH)
    grown = core_home.rows()
    refused = core_home.sigma_here("db", "restore", file)
    assert (refused.returncode, "--replace" in refused.stderr) == (2, True)
    assert core_home.rows() == grown != before
    assert core_home.sigma_here("db", "restore", file, "--replace").returncode == 0
    assert core_home.rows() == before
    core_home.assert_records_are_rows()


def flip(members: dict[str, bytes]) -> None:
    content = bytearray(members["domain/sigma.db"])
    content[len(content) // 2] ^= 1
    members["domain/sigma.db"] = bytes(content)


BAD: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a byte": (flip, "is damaged"),
    "cut": (lambda members: members.pop("dagster/runs.db") and None, "not a whole backup"),
    "format": (in_manifest(format=2), "format 2"),
    "newer": (in_manifest(domain__version="9999"), "newer release"),
    "kind": (in_manifest(domain__kind="postgresql"), "SIGMA_DATABASE_URL asks for sqlite"),
    "time": (in_manifest(made_at=None), "not a backup"),
    "version": (in_manifest(dagster__version=7), "not a backup"),
    "nothing": (in_manifest(domain__members={}), "not a backup"),
    "other": (lambda members: members.__setitem__("manifest.json", b"[]"), "not a"),
    "outside": (in_manifest(domain__members={"../../evil": {"bytes": 1, "sha256": ""}}), "not a"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_backup_changes_nothing(core_home: Home, tmp_path: Path, name: str) -> None:
    """Damaged, cut off, of a newer release or of somebody's making: one line, and the home is as it was."""
    change, told = BAD[name]
    good = tmp_path / "good.tar"
    assert core_home.sigma_here("db", "backup", good).returncode == 0
    before = core_home.rows()
    bad = rewritten(good, tmp_path / "bad.tar", change)
    done = core_home.sigma_here("db", "restore", bad, "--replace")
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert core_home.rows() == before
    assert not [path for path in core_home.path.iterdir() if path.name.startswith((".restore", "restoring"))]
    assert not (tmp_path / "evil").exists()


def test_a_home_of_the_first_release_is_kept_before_its_upgrade(core_home: Home, tmp_path: Path) -> None:
    """Its event log has no version: the copy that the refusal asks for is made, and restored it is upgraded."""
    with closing(sqlite3.connect(core_home.path / "dagster/event_log/event_log.db")) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
    before = core_home.rows()
    file = tmp_path / "old.tar"
    assert core_home.sigma_here("db", "backup", file).returncode == 0
    back = Home(tmp_path / "back", SMALL)
    assert back.sigma_here("db", "restore", file).returncode == 0
    assert back.sigma_here("db", "upgrade").returncode == 0
    assert back.rows() == before
    back.assert_records_are_rows()


@pytest.mark.parametrize("content", [b"", b"no tar", None])
def test_no_backup_at_all_is_named(core_home: Home, tmp_path: Path, content: bytes | None) -> None:
    """An empty file, another one, one that is not there: its name in one line, and not a word of SIGMA_HOME."""
    file = tmp_path / "night.tar"
    if content is not None:
        file.write_bytes(content)
    done = core_home.sigma_here("db", "restore", file, "--replace")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{file}: ")
    assert (done.stderr.count("\n"), "SIGMA_HOME" in done.stderr) == (1, False)


def test_a_backup_that_cannot_be_made_is_one_line(core_home: Home, tmp_path: Path) -> None:
    """Into a folder that is not there, or of a file that is no database: what is wrong is named; nothing is left."""
    missing = core_home.sigma_here("db", "backup", tmp_path / "none" / "night.tar")
    assert missing.returncode == 2
    assert (
        missing.stderr == f"{tmp_path}/none/night.tar: {tmp_path}/none is not a folder: make it, or give another name\n"
    )
    core_home.database.write_text("no database")
    done = core_home.sigma_here("db", "backup", tmp_path / "night.tar")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{core_home.database}: file is not a database. ")
    assert not [path for path in tmp_path.iterdir() if "night" in path.name]


def test_a_restore_under_a_running_command_is_refused(core_home: Home, tmp_path: Path) -> None:
    """A process that has a database open would go on writing to a file that is gone: nothing is replaced."""
    file = tmp_path / "core.tar"
    assert core_home.sigma_here("db", "backup", file).returncode == 0
    with core_home.sql() as connection:
        connection.execute("SELECT count(*) FROM lot").fetchone()
        done = core_home.sigma_here("db", "restore", file, "--replace")
    assert (done.returncode, "is open in another process" in done.stderr) == (2, True)
    assert core_home.sigma_here("db", "check").returncode == 0


def test_an_interrupted_restore_is_seen_and_finished(
    core_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while databases are put in their place: every command, and the API, says what to run, and that makes it
    whole."""
    file = tmp_path / "core.tar"
    assert core_home.sigma_here("db", "backup", file).returncode == 0
    before = core_home.rows()
    (core_home.path / "restoring").touch()
    core_home.database.unlink()
    for arguments in (["portfolios"], ["refresh"], ["status"]):
        done = core_home.sigma_here(*arguments)
        assert (done.returncode, "sigma db restore" in done.stderr) == (1, True)
    monkeypatch.setenv("SIGMA_HOME", str(core_home.path))
    with pytest.raises(BrokenHomeError, match="a restore was interrupted"):
        api.portfolios()
    assert core_home.sigma_here("db", "restore", file).returncode == 0
    assert core_home.rows() == before


@pytest.mark.parametrize("dagster", [True, False], ids=["both", "domain"])
def test_postgres_on_an_empty_server(
    home: Home, tmp_path: Path, new_postgres_url: Callable[[], str], dagster: bool
) -> None:
    """The same with both databases on Postgres, and with the domain's alone: rows, sequences, records, the plan, and
    the partitions that the UI's own GraphQL shows."""

    def variables() -> dict[str, str]:
        found = {"database_url": plain(new_postgres_url())}
        return {**found, "dagster_database_url": plain(new_postgres_url())} if dagster else found

    old, new, file = variables(), variables(), tmp_path / "night.tar"
    done = home.sigma_here("onboard", CORE, **old)
    assert done.returncode == 0, done.stderr
    done = home.sigma_here("db", "backup", file, **old)
    assert done.returncode == 0, done.stderr
    with asked_here(home, **old) as ask:
        before = bars(ask)
    assert before["factor_exposures"][0] == before["symbol_volatility"][0] > 0
    empty = Home(tmp_path / "empty", SMALL)
    done = empty.sigma_here("db", "restore", file, **new)
    assert done.returncode == 0, done.stderr
    one, other = (Database(psycopg2_url(each["database_url"])) for each in (old, new))
    assert contents(one) == contents(other)
    assert nothing_missing(empty, **new)
    with asked_here(empty, **new) as ask:
        assert bars(ask) == before
    done = empty.sigma_here("db", "check", **new)
    assert done.returncode == 0, done.stdout
    with one.read() as a, other.read() as b:
        query = sa.text("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")
        assert a.execute(query).all() == b.execute(query).all()
    done = empty.sigma_here("onboard", GROWTH, **new)
    assert done.returncode == 0, done.stderr
    again = empty.sigma_here("db", "restore", file, **new)
    assert (again.returncode, "--replace" in again.stderr) == (2, True)
    grown = contents(other)  # and `other` stays connected, as a web server would
    done = empty.sigma_here("db", "restore", file, "--replace", **new)
    assert (done.returncode, "1 other session" in done.stderr) == (2, True)
    assert contents(other) == grown
    other.engine.dispose()
    done = empty.sigma_here("db", "restore", file, "--replace", **new)
    assert done.returncode == 0, done.stderr
    assert contents(one) == contents(other)
    for database in (one, other):
        database.engine.dispose()


def test_a_failure_while_postgres_is_loaded_changes_nothing(
    home: Home, tmp_path: Path, new_postgres_url: Callable[[], str]
) -> None:
    """Rows that the database refuses: both databases, and the files beside them, are as they were."""
    url, file = plain(new_postgres_url()), tmp_path / "night.tar"
    assert home.sigma_here("onboard", CORE, database_url=url).returncode == 0
    assert home.sigma_here("db", "backup", file, database_url=url).returncode == 0

    def spoil(members: dict[str, bytes]) -> None:
        import hashlib

        members["domain/lot.copy"] = rows = members["domain/lot.copy"] + b"not a row\n"
        manifest = json.loads(members["manifest.json"])
        told = {"bytes": len(rows), "sha256": hashlib.sha256(rows).hexdigest()}
        manifest["domain"]["members"]["lot.copy"] = told
        members["manifest.json"] = json.dumps(manifest).encode()

    bad = rewritten(file, tmp_path / "bad.tar", spoil)
    database = Database(psycopg2_url(url))
    before = contents(database)
    done = home.sigma_here("db", "restore", bad, "--replace", database_url=url)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert contents(database) == before
    database.engine.dispose()
    assert home.sigma_here("db", "check", database_url=url).returncode == 0


def test_a_file_that_was_cut_off_changes_nothing(core_home: Home, tmp_path: Path) -> None:
    """A file that cannot be read to its end leaves the home as it was."""
    file = tmp_path / "core.tar"
    assert core_home.sigma_here("db", "backup", file).returncode == 0
    os.truncate(file, file.stat().st_size // 2)
    before = core_home.rows()
    settings = Settings.from_environment({**core_home.variables, "SIGMA_HOME": str(core_home.path)})
    with pytest.raises(ValueError, match="not a whole backup"):
        restore(settings, file, replace=True)
    assert core_home.rows() == before

"""Putting a backup's databases in their place: all of them or none, and nothing before everything was looked at."""

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from resources.dagster_storage import tables as dagster_tables
from resources.database import migrate
from resources.postgres import lock_tables
from resources.releases import OtherReleaseError
from resources.sqlite import sqlite_url
from sigma_dagster.errors import BackupError
from sigma_dagster.operations import copies_postgres, copies_sqlite
from sigma_dagster.operations.backup import FORMAT, MANIFEST, digest
from sigma_dagster.operations.stores import Store, stores
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.runs import claims
from sigma_dagster.settings import Settings

_MOST_MANIFEST = 2**20
_CHUNK = 2**20


class _Member(BaseModel, strict=True):
    bytes: int
    sha256: str


class _Part(BaseModel, strict=True):
    kind: Literal["sqlite", "postgresql"]
    version: str
    members: dict[str, _Member]
    tables: dict[str, list[str]] = {}
    sequences: dict[str, int | None] = {}


class _Manifest(BaseModel, strict=True):
    """What `backup` writes, as far as it is read here."""

    made_at: str = Field(pattern=r"^[0-9T:+.-]+$")
    domain: _Part
    dagster: _Part


def restore(settings: Settings, source: Path, *, replace: bool) -> dict[str, Any]:
    """Put what a file holds in the place of both databases; gives its manifest.

    Everything that can be wrong is looked for first, and raises BackupError, OtherReleaseError. Then the home carries a
    mark (`Settings.restoring`) until the last database is in its place: an interrupted restore is seen by every
    command, and the same restore finishes it.
    """
    if not source.is_file():
        raise BackupError(f"{source}: there is no such file: give the name of one that sigma db backup wrote")
    targets = stores(settings)
    if not (replace or settings.restoring.exists()):
        _refuse_full(targets[0])
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=".restore.") as scratch:
        folder = Path(scratch)
        try:
            manifest = _unpack(source, folder)
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or str(settings.home)) from None
        for store in targets:
            _check(store, manifest[store.name], folder / store.name, source)
        _replace(settings, targets, manifest, folder)
    if manifest["dagster"]["version"] == dagster_tables.HEAD:
        _end_runs(settings)
    return manifest


def _end_runs(settings: Settings) -> None:
    """Mark the runs that were in progress: none of their processes works on what was restored."""
    with open_instance(settings) as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
            claims.mark_dead(instance, run.run_id)


def _refuse_full(domain: Store) -> None:
    if domain.url is None and not domain.present:
        return
    url = domain.url or sqlite_url(domain.files["sigma.db"])
    engine = copies_postgres.engine(url) if domain.url else sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for name in ("portfolio", "daily_price"):
            row = sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)
            if sa.inspect(connection).has_table(name) and connection.execute(row).first():
                raise BackupError(f"{domain} has portfolios or prices: --replace puts the backup in their place")


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    """Write the members to a folder, each held against its digest; raises BackupError, OSError."""
    try:
        with tarfile.open(source, "r:") as tar:
            manifest = _manifest(tar, source)
            for name in ("domain", "dagster"):
                (folder / name).mkdir()
                for member, told in manifest[name]["members"].items():
                    _extract(tar, f"{name}/{member}", folder / name / member, told, source)
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise BackupError(f"{source}: not a whole backup of sigma ({error})") from None
    return manifest


def _manifest(tar: tarfile.TarFile, source: Path) -> dict[str, Any]:
    member = tar.next()
    file = tar.extractfile(member) if member and member.name == MANIFEST and member.size < _MOST_MANIFEST else None
    if file is None:
        raise BackupError(f"{source}: not a backup of sigma")
    try:
        manifest = json.load(file)
        if isinstance(manifest, dict) and manifest.get("format", FORMAT) != FORMAT:
            raise BackupError(f"{source}: a backup in format {manifest['format']!r}; this release reads {FORMAT}")
        _Manifest.model_validate(manifest)
    except BackupError:
        raise
    except ValueError:
        raise BackupError(f"{source}: not a backup of sigma") from None
    return dict(manifest)


def _extract(tar: tarfile.TarFile, name: str, target: Path, told: Mapping[str, Any], source: Path) -> None:
    # The name is the manifest's, and so is somebody else's until it was looked at.
    if target.name in ("", ".", "..") or target.name != name.partition("/")[2]:
        raise BackupError(f"{source}: not a backup of sigma")
    file = tar.extractfile(name)
    if file is None:
        raise BackupError(f"{source}: {name} is not a file")
    with file, target.open("xb") as out:
        target.chmod(0o600)
        shutil.copyfileobj(file, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())
    if target.stat().st_size != told["bytes"] or digest(target) != told["sha256"]:
        raise BackupError(f"{source}: {name} is damaged; nothing was replaced")


def _check(store: Store, told: Mapping[str, Any], folder: Path, source: Path) -> None:
    """Refuse what cannot become the database."""
    if told["kind"] != store.kind:
        variable = "SIGMA_DATABASE_URL" if store.name == "domain" else "SIGMA_DAGSTER_DATABASE_URL"
        raise BackupError(
            f"{source}: its {store.name} database is {told['kind']}, and {variable} asks for {store.kind}: "
            "restore it where both are the same"
        )
    if told["version"]:
        refusal = _refusal(store, told["version"], source)
        if refusal and not refusal.older:
            raise refusal
    known = store.files.keys() if store.files else {f"{name}.copy" for name in told.get("tables", {})}
    needs = set() if store.files and store.name == "dagster" else known  # a home may have no Dagster instance yet
    if not needs <= told["members"].keys() <= known:
        raise BackupError(f"{source}: not a backup of sigma")
    for path in folder.iterdir() if store.files else ():
        if damage := copies_sqlite.damage(path):
            raise BackupError(f"{source}: {store.name}/{path.name}: {damage}; nothing was replaced")


def _refusal(store: Store, found: str, source: Path) -> OtherReleaseError | None:
    known = migrate.newest() if store.name == "domain" else dagster_tables.HEAD
    if found == known:
        return None
    older = found < known if store.name == "domain" else dagster_tables.is_older(found)
    return OtherReleaseError(f"{source}, its {store.name} database", found, known, older=older)


def _replace(settings: Settings, targets: tuple[Store, Store], manifest: Mapping[str, Any], folder: Path) -> None:
    connections: list[Connection] = []
    with ExitStack() as open_ones:
        for store in targets:
            if store.url is not None:
                connections.append(open_ones.enter_context(copies_postgres.engine(store.url).connect()))
                told = manifest[store.name]
                copies_postgres.refuse_others(connections[-1])
                _make_tables(store, connections[-1], told["version"])
                copies_postgres.load(connections[-1], folder / store.name, told["tables"], told["sequences"])
        copies_sqlite.take_over([file for store in targets for file in store.present.values()])
        settings.restoring.touch(mode=0o600)
        for store in targets:
            for name, file in store.files.items():
                copies_sqlite.put(folder / store.name / name, file)
        for connection in connections:
            connection.commit()
    settings.restoring.unlink()


def _make_tables(store: Store, connection: Connection, wanted: str) -> None:
    """Make the tables that the rows go into, at the version that they had."""
    lock_tables(connection)
    found = copies_postgres.version(connection)
    if not found and store.name == "domain":
        migrate.make_version(connection, wanted)
    elif not found and wanted == dagster_tables.HEAD:
        dagster_tables.make(connection)
    elif found != wanted:
        raise BackupError(
            f"{store}: its tables are at {found or 'no version'}, those of the backup at {wanted or 'no version'}: "
            "restore into an empty database, by the release that made the backup"
        )

"""One file with both databases of a home, made while others write (`restore` reads it).

The file is a tar: `manifest.json`, then the SQLite files as they are, or a file of rows for each Postgres table, each
with its digest. What is of a run or a moment (lock files, the cache of prices, pages) is not in it.
"""

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sigma_dagster.errors import BackupError
from sigma_dagster.operations import copies_postgres, copies_sqlite
from sigma_dagster.operations.stores import Store, stores
from sigma_dagster.settings import Settings

FORMAT = 1
MANIFEST = "manifest.json"


def backup(settings: Settings, target: Path) -> dict[str, Any]:
    """Write the file, which must not be there yet, readable by its owner alone; gives its manifest.

    All of it is of one moment: for as long as it takes to begin reading, nobody writes to the domain's database.
    Dagster's record of that moment speaks of no row that is not in the file, since rows are committed first.
    """
    if target.exists():
        raise BackupError(f"{target} is there already: give another name, or remove it")
    if not target.absolute().parent.is_dir():
        raise BackupError(f"{target}: {target.parent} is not a folder: make it, or give another name")
    domain, dagster = stores(settings)
    if domain.kind == "sqlite" and not domain.present:
        raise BackupError(f"{domain}: there is no database yet, so nothing to keep")
    try:
        return _write(domain, dagster, target)
    except OSError as error:  # it names a file that was on its way
        raise OSError(error.errno, error.strerror, str(target)) from None


def _write(domain: Store, dagster: Store, target: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f".{target.name}.") as scratch:
        folder = Path(scratch)
        manifest = {
            "format": FORMAT,
            "made_by": version("sigma-dagster"),
            "dagster_release": version("dagster"),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **_copy(domain, dagster, folder),
        }
        made = folder / "made.tar"
        _pack(manifest, folder, made)
        made.chmod(0o600)
        _to_disk(made)
        made.replace(target)
    return manifest


def _copy(domain: Store, dagster: Store, folder: Path) -> dict[str, Any]:
    with ExitStack() as snapshots:
        seen: dict[str, Any] = {}
        with ExitStack() as still:
            if domain.url is not None:
                still.enter_context(copies_postgres.standing_still(domain.url))
            for file in domain.present.values():
                still.enter_context(copies_sqlite.standing_still(file))
            for store in (domain, dagster):
                if store.url is not None:
                    seen[store.name] = snapshots.enter_context(copies_postgres.snapshot(store.url))
                for name, file in store.present.items():
                    seen[name] = snapshots.enter_context(copies_sqlite.snapshot(file))
        return {store.name: _copy_of(store, seen, folder) for store in (domain, dagster)}


def _copy_of(store: Store, seen: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    own = folder / store.name
    own.mkdir()
    if store.url is not None:
        connection = seen[store.name]
        return {
            "kind": store.kind,
            "version": copies_postgres.version(connection),
            **copies_postgres.copy(connection, own),
            "members": _digests(own),
        }
    # The first release left its event log without a version.
    versions = {version for name in store.present if (version := copies_sqlite.version(seen[name]))}
    if len(versions) > 1:
        raise BackupError(f"{store}: beside it are files of another release. Run: sigma db upgrade")
    for name in store.present:
        copies_sqlite.copy(seen[name], own / name)
    return {"kind": store.kind, "version": next(iter(versions), ""), "members": _digests(own)}


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in sorted(folder.iterdir())}


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(manifest: Mapping[str, Any], folder: Path, target: Path) -> None:
    text = folder / MANIFEST
    text.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as tar:
        tar.add(text, MANIFEST, filter=_plain)
        for name in ("domain", "dagster"):
            for member in manifest[name]["members"]:
                tar.add(folder / name / member, f"{name}/{member}", filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Keep who made it, and on which machine, out of the file."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

"""SQLite files: their URL, making one whole, and keeping it from the other users of the machine."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from filelock import FileLock


def sqlite_url(path: Path) -> sa.URL:
    """Give the URL of a file, whatever characters its path has: `?` and `%` would mean something in a text."""
    return sa.URL.create("sqlite", database=str(path))


def lock_file(path: Path) -> "FileLock":
    """Give the lock under which a file is made: wait for it, and hold it, with `with`."""
    from filelock import FileLock  # seldom needed

    return FileLock(path.with_name(f"{path.name}.lock"))


def make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Have a file made that is not there: by one process, and under another name until it is whole.

    So all processes see all of it or nothing, also after a kill; the next one clears away what a kill left. Raises
    OSError if the disk is full.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock_file(path):
            if not path.exists():
                _make(path, make)


def _make(path: Path, make: Callable[[Path], None]) -> None:
    scratch = path.with_name(f"{path.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    made = scratch / path.name
    make(made)
    if [*scratch.iterdir()] != [made]:
        # SQLite could not bring its write-ahead log into the file, and says nothing of it.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    keep_private(made)
    made.replace(path)
    scratch.rmdir()


def keep_private(path: Path) -> None:
    """Let nobody but the owner read a database, also one that an earlier release made for all to read.

    SQLite gives the files beside it the mode of the database when it makes them.
    """
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):  # not there, or another user's: they decide
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)

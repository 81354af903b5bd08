"""SQLite files: one is there whole, or not at all."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

#: Makes a database while the disk fills up, as far as SQLite can tell: after the last commit no file may grow.
CODE = """
import resource, sqlite3, sys
from pathlib import Path
from resources.sqlite import make_whole
path, most = sys.argv[1:]
def make(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE rows (text)")
    connection.executemany("INSERT INTO rows VALUES (?)", [["x" * 1000]] * 500)
    connection.commit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    connection.close()
make_whole(Path(path), make)
"""


def test_a_disk_that_is_full_when_a_database_is_closed_leaves_none(tmp_path: Path) -> None:
    """Its rows stand in the log that SQLite could not fold in: no file gets the name, and the next attempt succeeds."""
    path = tmp_path / "some.db"
    command = [sys.executable, "-c", CODE, str(path)]
    told = subprocess.run([*command, "100000"], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert "No space left on device" in told.stderr
    assert not path.exists()
    assert subprocess.run([*command, "-1"], check=False).returncode == 0  # noqa: S603 - our own code
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (500,)

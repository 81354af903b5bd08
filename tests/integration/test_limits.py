"""Commands where memory or disk run out: one line that says what to do, nothing half stored, and the next one works."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.home import CORE, Ended, Home

MEGABYTE = 1024  # in the unit of ulimit -v


def limited(home: Home, megabytes: int, *arguments: object) -> Ended:
    """Run a command in a process that may have so much memory; one that hangs is killed."""
    command, environment = home.command(*map(str, arguments))
    shell = ["/bin/sh", "-c", f'ulimit -v {megabytes * MEGABYTE} && exec "$@"', "sh", *command]
    process = subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 - our own command
    return Ended(process.returncode, process.stdout, process.stderr)


needs_limits = pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit a process's memory")


@needs_limits
@pytest.mark.parametrize("megabytes", [100, 250, 350, 511])
def test_too_little_memory_is_told_in_one_line(home: Home, megabytes: int) -> None:
    """Below what any command needs it ends at once: libraries would crash, or ask for ever."""
    ended = limited(home, megabytes, "onboard", CORE)
    assert ended == (
        1,
        "",
        f"The limit of memory for this process is {megabytes} MB (ulimit -v), and sigma needs 512 MB: "
        "raise the limit, then the same command again.\n",
    )


@needs_limits
def test_the_least_memory_is_enough_for_an_onboarding(home: Home) -> None:
    """What the message asks for is enough for the example."""
    ended = limited(home, 512, "onboard", CORE, "--json")
    assert ended.returncode == 0, ended.stderr
    home.assert_records_are_rows()


# --- disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603 - as it stands here
        pytest.skip("only root can mount a file system that is full soon")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)  # noqa: S603, S607 - as it stands here


def leave(disk: Path, kilobytes: int) -> Path:
    """Fill the disk but for some room; the file that does."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - kilobytes * 1024))
    return filler


def test_a_disk_that_is_full_at_the_first_start_leaves_nothing_half_made(disk: Path, home: Home) -> None:
    """Wherever in making the databases it happens: there is room again, and the next start makes them whole."""
    failed = 0
    for room in range(100, 700, 100):
        new = Home(disk / "home", home.variables)
        filler = leave(disk, room)
        try:
            new.create()
        except (sa.exc.OperationalError, OSError):
            failed += 1
        filler.unlink()
        new.create()
        for file in new.path.rglob("*.db"):
            connection = sqlite3.connect(file)
            assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)], (room, file)
            connection.close()
        shutil.rmtree(new.path)
    assert failed == 6


@pytest.mark.parametrize("kilobytes", [100, 1000, 2600])
def test_a_full_disk_is_told_in_one_line_and_the_next_command_goes_on(disk: Path, home: Home, kilobytes: int) -> None:
    """At the first start, and in a run: exit 1, the folder and the remedy; with room again the rest is done."""
    small = Home(disk / "home", home.variables)
    filler = leave(disk, kilobytes)
    ended = small.sigma_here("onboard", CORE)
    *progress, last = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert last.startswith(str(small.path)), ended.stderr
    assert "full. Make room there, or give another SIGMA_HOME." in last or "No space left on device. Make room" in last
    assert all(line.startswith(("Stored: ", "Computing ")) for line in progress), ended.stderr
    filler.unlink()
    assert small.sigma_here("onboard", CORE).returncode == 0
    small.assert_records_are_rows()

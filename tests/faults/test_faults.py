"""What else goes wrong in a night: signals, ten commands at once, a database that is gone, a full disk, other clocks.

After each: the rows are those of a computation from scratch, and Dagster's records are the rows (`state.judge`).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from benchmarks.web import free_port, wait_for
from tests.faults import state
from tests.faults.commands import Command, start
from tests.faults.homes import Homes, memory
from tests.faults.kills import Scratch, in_peace
from tests.faults.points import STAGES, Point
from tests.support import postgres
from tests.support.home import Home, holdings
from tests.support.ui import running

pytestmark = pytest.mark.faults

ALL = ("one", "two", "three", "four")


def finish(home: Home, scratch: Scratch) -> None:
    """Compute whatever is missing: then nothing is lost, doubled or wrong."""
    assert not start(home, "refresh").fault()
    assert_right(home, scratch)


def assert_right(home: Home, scratch: Scratch) -> None:
    """Hold the home against one in peace."""
    assert json.loads(_said(start(home, "plan", "--json")))["runs"] == 0
    found = state.judge(state.read(home), scratch.states["edited"])
    assert not found, found


def _said(command: Command) -> str:
    assert not command.fault()
    return command.said()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_each_stage_ends_in_one_line(
    homes: Homes, scratch: Scratch, signum: signal.Signals, status: int
) -> None:
    """Ctrl-C and SIGTERM while it fetches, computes, writes and records: the exit status, a line, nothing lost."""
    with homes.new() as home:
        for name, stage in zip(ALL, STAGES, strict=True):
            at = {"fetch": 2, "compute": 2, "write": 9, "record": 150}[stage]
            command = start(home, "onboard", scratch.books[name], point=Point(stage, at), signum=signum)
            assert not command.fault(status), stage
            assert command.said().splitlines()[-1].startswith(f"Interrupted by {signum.name}. "), command.said()
        finish(home, scratch)


def test_ten_onboardings_at_once_share_their_symbols(homes: Homes, tmp_path: Path) -> None:
    """Four of five symbols are everybody's: each symbol is fetched once and fitted once for each session."""
    shared, own = ("AAPL", "MSFT", "KO", "JPM"), ("AMD", "BAC", "CVX", "GE", "HD", "JNJ", "LLY", "MRK", "PEP", "PFE")
    books = {f"book-{name}": holdings(tmp_path / f"book-{name}.csv", *shared, name) for name in own}
    expected = in_peace(homes, books)
    with homes.new() as home:
        commands = [start(home, "onboard", file, "--json") for file in books.values()]
        told = [json.loads(command.said()[command.said().index("{") :]) for command in commands if not command.fault()]
        assert len(told) == len(books)
        symbols = len(shared) + len(own)
        assert sum(one["regressions_run"] for one in told) == symbols * 20
        assert sum(one["api_calls"] for one in told) == symbols + len(expected.keys["proxy"])
        found = state.judge(state.read(home), expected)
        assert not found, found


def test_two_daemons_on_one_home(homes: Homes, scratch: Scratch) -> None:
    """Started twice by mistake: everything is computed all the same, and once."""
    with homes.new() as home, _dev(home), _dev(home):
        for name in ALL:
            assert not start(home, "add", scratch.books[name]).fault()
        wait_for(lambda: json.loads(_said(start(home, "plan", "--json")))["runs"] == 0, 300, "everything is computed")
        wait_for(lambda: not state.read(home).unfinished, 120, "the runs have ended")
        assert_right(home, scratch)


@contextmanager
def _dev(home: Home) -> Iterator[None]:
    with running(home, free_port(), home.path.with_name(f"{home.path.name}-{time.monotonic_ns()}")):
        yield


def test_a_database_that_is_gone_and_comes_back() -> None:
    """Postgres is stopped in the middle of a command, which ends in one line; then the same one finishes."""
    chance = random.Random(3)  # noqa: S311 - repeatable is what it is to be
    with postgres.running() as server, tempfile.TemporaryDirectory(dir=memory()) as folder:
        homes = Homes("postgres", Path(folder), server.get_uri(driver="psycopg2"))
        scratch = Scratch.of(homes)
        with homes.new() as home:
            for name in ALL:
                command = start(home, "onboard", scratch.books[name])
                command.process.join(chance.uniform(0.1, 1.5))
                server.stop()
                assert not command.fault(0, 1), name
                if command.wait():
                    assert "\ndatabase: " in f"\n{command.said()}" or "What was stored is kept" in command.said()
                server.ensure_postgres_running()
                assert not start(home, "onboard", scratch.books[name]).fault(), name
            finish(home, scratch)


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[tuple[Homes, Scratch]]:
    """Homes on SQLite alone."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        made = Homes("sqlite", Path(folder))
        yield made, Scratch.of(made)


def few_pages(pages: int) -> None:
    """Let no database of this process grow beyond so many pages."""
    import sqlite3

    import sqlalchemy as sa

    @sa.event.listens_for(sa.Engine, "connect")
    def bounded(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_database_that_may_not_grow(on_sqlite: tuple[Homes, Scratch]) -> None:
    """It is full sooner or later, in either database: one line, nothing half stored, and with room the rest is done."""
    homes, scratch = on_sqlite
    with homes.new() as home:
        ends = set()
        for pages in (20, 40, 45, 50, 60, 80, 120, 10_000):
            command = start(home, "onboard", scratch.books["one"], before=partial(few_pages, pages))
            assert not command.fault(0, 1), pages
            assert command.wait() == 0 or "full" in command.said(), command.said()
            ends.add(command.wait())
        assert ends == {0, 1}
        finish(home, scratch)


def test_a_disk_that_is_full(on_sqlite: tuple[Homes, Scratch]) -> None:
    """A small file system fills up in the middle: one line, and with more room the same command does the rest."""
    homes, scratch = on_sqlite
    with homes.new() as made, _disk(made.path.with_name("disk"), "900k") as disk:
        home = Home(disk / "home", made.variables)
        said = []
        for size in ("900k", "1300k", "1600k", "2m", "2500k", "3m", "4m", "200m"):
            _mount("remount", size, disk)
            command = start(home, "onboard", scratch.books["one"])
            assert not command.fault(0, 1), size
            said += [command.said()] if command.wait() else []
        assert said
        assert all("full" in text or "No space left" in text or "I/O" in text for text in said), said
        finish(home, scratch)


def test_a_backup_on_a_full_disk(on_sqlite: tuple[Homes, Scratch]) -> None:
    """It names its own file, and leaves none; the home that it is of is not what is full."""
    homes, scratch = on_sqlite
    with homes.new() as home, _disk(home.path.with_name("disk"), "600k") as disk:
        assert home.sigma("onboard", scratch.books["one"]).returncode == 0
        done = home.sigma("db", "backup", disk / "night.tar")
        assert done.returncode == 1
        assert done.stderr.startswith(f"{disk}/night.tar: No space left on device. Make room there. ")
        assert not list(disk.iterdir())


@contextmanager
def _disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    try:
        _mount("rw", size, folder)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("this user may not mount a small file system; `max_page_count` is tested instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S603, S607


def _mount(how: str, size: str, folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"{how},size={size}", "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def test_clocks_that_are_set_back_and_other_time_zones(homes: Homes, scratch: Scratch, tmp_path: Path) -> None:
    """The machine moves, and its clock goes back hours and days, between commands of which some are killed."""
    library = _clock(tmp_path)
    with homes.new() as home:
        hours = {"one": 0, "two": -3, "three": -24 * 3, "four": 5}
        zones = ("UTC", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati")
        for (name, off), zone in zip(hours.items(), zones, strict=True):
            book = scratch.books[name]
            there = Home(
                home.path, {**home.variables, "TZ": zone, "LD_PRELOAD": str(library), "CLOCK_OFF": f"{off * 3600}"}
            )
            command, environment = there.command("onboard", book)
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
            try:
                process.wait(random.Random(name).uniform(1, 4))  # noqa: S311
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            told = there.sigma("onboard", book)
            assert told.returncode == 0, told.stderr
        finish(home, scratch)


def _clock(folder: Path) -> Path:
    """Compile the clock that is off."""
    compiler, library = shutil.which("cc"), folder / "clock.so"
    if compiler is None:
        pytest.skip("no C compiler: the clock cannot be set back for one process alone")
    source = Path(__file__).with_name("clock_set.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S603
    told = subprocess.run(  # noqa: S602 - our own words
        "date +%s",  # noqa: S607
        shell=True,
        env={**os.environ, "LD_PRELOAD": str(library), "CLOCK_OFF": "-86400"},
        capture_output=True,
        check=True,
    )
    assert abs(int(told.stdout) - (time.time() - 86400)) < 60
    return library


def damaged_sample(folder: Path) -> None:
    """Have this process read its sample in another folder."""
    from resources.sources import sample

    sample.DATA = folder


def test_a_damaged_sample_file(homes: Homes, scratch: Scratch, tmp_path: Path) -> None:
    """Cut off, or with bytes changed: one line that names the file; what was computed stays."""
    from resources.sources.sample import DATA

    with homes.new() as home:
        assert not start(home, "onboard", scratch.books["one"]).fault()
        for i, damage in enumerate(
            (lambda data: data[: len(data) // 2], lambda data: data[:5000] + bytes(50) + data[5050:])
        ):
            folder = Path(shutil.copytree(DATA, tmp_path / f"data-{i}"))
            file = folder / "sample_prices.csv.gz"
            file.write_bytes(damage(file.read_bytes()))
            command = start(home, "onboard", scratch.books["two"], before=partial(damaged_sample, folder))
            assert not command.fault(1)
            assert command.said().count("\n") == 1, command.said()
            assert str(file) in command.said()
        assert not start(home, "onboard", scratch.books["two"]).fault()
        finish(home, scratch)

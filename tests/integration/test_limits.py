"""Commands where memory or disk run out: one line that says what to do, nothing half stored, and the next one works."""

import subprocess
import sys

import pytest

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

"""Standing between a terminal and the processes of Dagster: they are a process group of their own, and end together.

A terminal sends Ctrl-C to each process of its foreground group at once. Dagster's processes are several, each imports
for seconds, and one that is interrupted meanwhile prints a traceback, on either signal. Here Ctrl-C reaches this
process alone: it sends the others SIGTERM, which Dagster answers as it does Ctrl-C, and does not pass on what they say
of it. How a run ended is Dagster's record. Only the standard library is imported: this process stays while they run.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Dagster waits up to a minute for its own processes.
_SECONDS_TO_END = 75.0
#: For what outlived its parent: a run that records how it ended.
_SECONDS_FOR_OTHERS = 10.0
_TICK = 0.1
_CHUNK = 65536
_PR_SET_PDEATHSIG = 1


def become(arguments: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by one that runs Python with the arguments, and ends all of it when it is asked to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until `main` listens
    os.execve(sys.executable, [sys.executable, "-m", __name__, *arguments], variables)  # noqa: S606 - no shell is wanted


def main() -> int:
    """Run Python with the arguments of this process; gives its exit status, 0 after it was asked to end."""
    notes, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for signum in (*_ENDING, signal.SIGCHLD):
        signal.signal(signum, lambda *_: None)  # each is noted in the pipe
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    (words, out), (errors, err) = os.pipe(), os.pipe()
    command, said = [sys.executable, *sys.argv[1:]], {words: 1, errors: 2}
    process = subprocess.Popen(command, stdout=out, stderr=err, process_group=0, preexec_fn=_end_with_parent)  # noqa: S603 - ours
    while process.poll() is None:
        asked = _asked(notes, said)
        _pass_on(said)
        if asked:
            _end(process, notes, said)
            return 0
    _pass_on(said)
    _kill(process.pid, signal.SIGTERM)  # what it started has nobody left to work for
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent is killed, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _asked(notes: int, said: Mapping[int, int], seconds: float | None = None) -> bool:
    """Wait for a signal, or for something that is said; say whether it was a signal that ends."""
    readable, _, _ = select.select([notes, *said], [], [], seconds)
    return notes in readable and os.read(notes, 1)[0] in _ENDING


def _pass_on(said: Mapping[int, int]) -> None:
    """Write what waits in each pipe to where it belongs; nobody may read there any more."""
    for pipe, target in said.items():
        if words := _take(pipe):
            with suppress(OSError):
                os.write(target, words)


def _take(pipe: int) -> bytes:
    return os.read(pipe, _CHUNK) if select.select([pipe], [], [], 0)[0] else b""


def _end(process: "subprocess.Popen[bytes]", notes: int, said: Mapping[int, int]) -> None:
    """End the group; asked once more, at once."""
    group = process.pid
    _kill(group, signal.SIGTERM)
    end, again = time.monotonic() + _SECONDS_TO_END, False
    while not again and time.monotonic() < end and (process.poll() is None or _kill(group, 0)):
        if process.returncode is not None:
            end = min(end, time.monotonic() + _SECONDS_FOR_OTHERS)
        again = _asked(notes, said, _TICK)
        for pipe in said:
            _take(pipe)
    _kill(group, signal.SIGKILL)
    process.wait()


def _kill(group: int, signum: int) -> bool:
    """Send a signal to a group; say whether anybody is in it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: the latter, where only ended ones are in it
        os.killpg(group, signum)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())

"""Ctrl-C and SIGTERM: answered in one place, once, and never lost.

Python raises from a signal handler wherever the main thread happens to be. Within a finalizer (garbage collection)
the exception is swallowed, and while Dagster executes a run its handlers stand in for ours. So what counts is the note
that Python's own C code writes of every signal (`signal.set_wakeup_fd`), whoever handles it: `received` and `check`
read it. Not here: what is printed, and the exit status (`sigma_dagster.cli.entry`). No Dagster: loaded first of all.
"""

import os
import signal
import sys
import threading
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.05


class Interrupted(BaseException):
    """The process was asked to end. No KeyboardInterrupt: libraries answer that one in ways of their own."""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum.name)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that shells expect."""
        return 128 + self.signum


@dataclass
class _Notes:
    """What was noticed in this process."""

    reader: int = -1  # of the pipe of notes
    first: signal.Signals | None = None
    answered: bool = True


_notes = _Notes()


def listen() -> None:
    """Answer both signals from now on: the first raises Interrupted in the main thread, the others do nothing."""
    _notes.reader, writer = os.pipe()
    os.set_blocking(_notes.reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _notes.answered = False
    for signum in _SIGNALS:
        signal.signal(signum, _raise)
    sys.unraisablehook = _on_unraisable


def stop_listening() -> None:
    """Let the process end in peace: a signal that comes now finds everything done."""
    _notes.answered = True


def received() -> signal.Signals | None:
    """Give the first signal that asked this process to end."""
    if _notes.first is None and _notes.reader >= 0:
        try:
            arrived = os.read(_notes.reader, 4096)
        except BlockingIOError:
            return None
        _notes.first = next((signum for signum in map(signal.Signals, arrived) if signum in _SIGNALS), None)
    return _notes.first


def check() -> None:
    """Raise Interrupted if the process was asked to end."""
    if signum := received():
        _notes.answered = True
        raise Interrupted(signum)


def _raise(signum: int, _frame: FrameType | None) -> None:
    if not _notes.answered:
        _notes.answered = True
        raise Interrupted(signal.Signals(signum))


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Have a signal raised again whose exception was swallowed, ours or Dagster's."""
    swallowed = unraisable.exc_type
    signum = received() if not issubclass(swallowed, Exception) else None
    if signum is None:
        sys.__unraisablehook__(unraisable)
        return
    _notes.answered = False
    # In a while, for this code is still within the finalizer; to the main thread, which may be waiting for something.
    again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, [threading.main_thread().ident, signum])
    again.daemon = True
    again.start()

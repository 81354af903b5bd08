"""The command `sigma`: what happens from its first moment to its last. Commands and errors stand in `main`.

It listens to signals before anything else is imported, which takes most of a short command's time.
"""

import gc
import os
import resource
import sys
from importlib import import_module

from sigma_dagster.runs import interrupts

#: So many new objects before the garbage collector looks at them.
_OBJECTS = 50_000
#: What a command needs of address space, in bytes; an onboarding of a few symbols takes 420 MB.
_NEEDED = 512 << 20
_OUT_OF_MEMORY = "Out of memory. What was stored is kept; give the process more, then the same command again.\n"


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit status 130 and SIGTERM with 143, with one line each."""
    interrupts.listen()
    # Of what a start makes nearly nothing is garbage: looking for it every 700 objects takes a tenth of the time.
    gc.set_threshold(_OBJECTS)
    try:
        _mind_limit()
        try:
            from sigma_dagster.cli.main import main as command

            command()
        finally:
            interrupts.check()  # swallowed on the way, or turned into another error
    except MemoryError:
        # Not even the messages of failures may have found room to be imported.
        sys.stderr.write(_OUT_OF_MEMORY)
        raise SystemExit(1) from None
    except interrupts.Interrupted as interrupted:
        sys.stderr.write(
            f"Interrupted by {interrupted}. What was stored is kept; the same command finishes the rest.\n"
        )
        raise SystemExit(interrupted.status) from None
    finally:
        interrupts.stop_listening()


def _mind_limit() -> None:
    """Under a limit of memory (`ulimit -v`), end at once where it is too low, and ask for little.

    OpenBLAS wants 32 MB for each of its threads, and the one that comes with scipy tries for ever to get them: it gets
    them first, for one thread.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    if limit < _NEEDED:
        sys.stderr.write(
            f"The limit of memory for this process is {limit >> 20} MB (ulimit -v), "
            f"and sigma needs {_NEEDED >> 20} MB: raise the limit, then the same command again.\n"
        )
        raise SystemExit(1)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import_module("scipy.special")

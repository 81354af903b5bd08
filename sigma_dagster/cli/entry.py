"""The command `sigma`: what happens from its first moment to its last. Commands and errors stand in `main`.

It listens to signals before anything else is imported, which takes most of a short command's time.
"""

import gc
import sys

from sigma_dagster.runs import interrupts

#: So many new objects before the garbage collector looks at them.
_OBJECTS = 50_000
_OUT_OF_MEMORY = "Out of memory. What was stored is kept; give the process more, then the same command again.\n"


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit status 130 and SIGTERM with 143, with one line each."""
    interrupts.listen()
    # Of what a start makes nearly nothing is garbage: looking for it every 700 objects takes a tenth of the time.
    gc.set_threshold(_OBJECTS)
    try:
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

"""Python reads this at its start: arms the runs that the daemon starts (`tests.faults.points`)."""

import os
import sys

# The processes of runs are spawned; daemon, code server and web server are not.
if "FAULT_POINT" in os.environ and "--multiprocessing-fork" in sys.orig_argv:
    from tests.faults.points import arm_run

    arm_run()

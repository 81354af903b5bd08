"""The error of a run, apart from the modules that import Dagster, so that the command line can name it at no cost."""


class BlockFailedError(RuntimeError):
    """A run failed; the message says where and why, and what was kept."""

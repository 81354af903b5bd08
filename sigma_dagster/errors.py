"""Errors of the parts that import Dagster, apart from them, so that the command line can name them at no cost."""


class BlockFailedError(RuntimeError):
    """A run failed; the message says where and why, and what was kept."""


class PortTakenError(RuntimeError):
    """Another program listens on the port of the Dagster UI."""


class WorkersError(RuntimeError):
    """Runs cannot go to workers as things are; the message says what is missing."""


class BrokenHomeError(RuntimeError):
    """Dagster's files in SIGMA_HOME cannot be used as they are; the message says which, and what repairs them."""


class BackupError(ValueError):
    """A backup that cannot be made or restored; nothing was replaced."""


class PruneError(ValueError):
    """Sessions that cannot be dropped now; nothing was."""

"""Which runs are executed, on which host, and what each has claimed: that nobody else computes it meanwhile.

The database enforces claims: a key of an asset is claimed by one run at most. Not here: whether the process that
executes a run still lives (`sigma_dagster.runs.liveness`), and whose claim may be taken over (`...runs.claims`).
"""

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database import tables
from resources.database.bulk import among

#: What one run claims at a time: an asset and a key, with all sessions.
Part = tuple[str, str]


class ClaimedError(RuntimeError):
    """Another run has claimed a part of what is asked for."""


def note(connection: Connection, run_id: str, host: str) -> None:
    """Note that a process of the host executes the run."""
    connection.execute(sa.insert(tables.execution).values(run_id=run_id, host=host))


def forget(connection: Connection, run_ids: Collection[str]) -> None:
    """Remove the notes of runs, and with them what the runs have claimed."""
    connection.execute(sa.delete(tables.execution).where(tables.execution.c.run_id.in_(run_ids)))


def hosts(connection: Connection) -> dict[str, str]:
    """Give the host of each run that was begun and not forgotten."""
    rows = connection.execute(sa.select(tables.execution.c.run_id, tables.execution.c.host))
    return {row.run_id: row.host for row in rows}


def claim(connection: Connection, run_id: str, parts: Iterable[Part]) -> None:
    """Claim the parts, all or none, for a run that is noted; raises ClaimedError. In a transaction of its own."""
    # In one order for all: of two that claim the same, one waits for the other, and never each for the other.
    rows = [{"asset": asset, "key": key, "run_id": run_id} for asset, key in sorted(set(parts))]
    try:
        connection.execute(sa.insert(tables.claim), rows)
    except sa.exc.IntegrityError as error:
        raise ClaimedError(str(error.orig)) from None


def release(connection: Connection, run_ids: Collection[str]) -> None:
    """End the claims of runs that have ended."""
    connection.execute(sa.delete(tables.claim).where(tables.claim.c.run_id.in_(run_ids)))


def claimants(connection: Connection, asset: str, keys: Sequence[str]) -> set[str]:
    """Give the runs that have claimed keys of the asset."""
    row = tables.claim.c
    found = sa.select(row.run_id).where(row.asset == asset, among(row.key, keys)).distinct()
    return set(connection.execute(found).scalars())

"""The whole of what Dagster shows, against the file of it."""

from tests.golden import make_definitions
from tests.support.home import Home


def test_the_definitions_are_those_of_the_file(home: Home) -> None:
    """Nothing changes unseen: assets, partitions, checks, jobs, schedules, sensors, and what each says of itself.

    A change that is meant: python -m tests.golden.make_definitions, and read the difference.
    """
    assert make_definitions.text(home) == make_definitions.FILE.read_text(encoding="utf-8")

"""What the fault tests share: homes on both databases, and what they hold when nothing goes wrong."""

from collections.abc import Iterator

import pytest

from tests.faults.homes import DATABASES, Homes, homes_on
from tests.faults.kills import Scratch


@pytest.fixture(scope="session", params=DATABASES)
def homes(request: pytest.FixtureRequest) -> Iterator[Homes]:
    """What makes homes."""
    with homes_on(request.param) as made:
        yield made


@pytest.fixture(scope="session")
def scratch(homes: Homes) -> Scratch:
    """All books, computed in peace."""
    return Scratch.of(homes)

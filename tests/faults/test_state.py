"""Whether the fault tests can fail: each kind of damage, done by hand, is found by its name."""

import pytest
import sqlalchemy as sa

from resources.postgres import psycopg2_url
from tests.faults import state
from tests.faults.commands import start
from tests.faults.homes import Homes
from tests.faults.kills import Scratch

pytestmark = pytest.mark.faults

DAMAGE = {
    "DELETE FROM factor_exposure WHERE symbol = 'KO' AND session = '2022-12-28'": ("lost", "wrong"),
    "DELETE FROM portfolio_volatility WHERE session = '2022-12-28'": ("lost", "wrong"),
    "DELETE FROM daily_price WHERE symbol = 'PG' AND session = '2022-03-01'": ("lost",),
    "UPDATE symbol_volatility SET ewma_vol = ewma_vol * 1.000001 WHERE symbol = 'KO' AND session = '2022-12-28'": (
        "wrong",
    ),
    "INSERT INTO lot (portfolio_id, symbol, quantity, entry_price, entry_date, asset_class, shares_as_of) "
    "SELECT portfolio_id, symbol, quantity, entry_price, entry_date, asset_class, shares_as_of FROM lot": ("doubled",),
    "UPDATE lot SET quantity = 11 WHERE symbol = 'KO'": ("lost", "wrong"),
    "DELETE FROM lot WHERE symbol = 'PG'": ("lost",),
}
OF_DAGSTER = {
    "DELETE FROM event_logs WHERE partition = '2022-12-28|KO'": ("lost",),
    "UPDATE event_logs SET partition = '2022-12-27|PG' WHERE partition = '2022-12-28|PG'": ("lost", "doubled"),
    "DELETE FROM dynamic_partitions WHERE partition = 'PEP'": ("lost", "wrong"),
}
ENDED = "UPDATE runs SET status = 'STARTED'"


def test_damage_is_found(homes: Homes, scratch: Scratch) -> None:
    """Nothing is wrong with a home in peace; a row, a lot or a record that is lost, doubled or changed is."""
    expected = scratch.states["edited"]
    with homes.new() as home:
        assert not start(home, "onboard", scratch.books["one"]).fault()
        before = vars(state.judge(state.read(home), expected))
        assert not any(before.values())
        runs, events = state.dagster_urls(home)
        domain = home.environment().database.url
        for url, damages in ((domain, DAMAGE), (events, OF_DAGSTER), (runs, {ENDED: ("wrong",)})):
            engine = sa.create_engine(psycopg2_url(url) if homes.server else url, poolclass=sa.NullPool)
            for statement, kinds in damages.items():
                with engine.begin() as connection:
                    connection.execute(sa.text(statement))
                found = vars(state.judge(state.read(home), expected))
                assert {kind for kind in found if len(found[kind]) > len(before[kind])} == set(kinds), statement
                before = found

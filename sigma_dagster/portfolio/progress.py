"""Which run computes a portfolio at this moment, for people who ask. Not here: who may start one (`runs.claims`)."""

from datetime import UTC, datetime

from assets.catalogue import of_dimension
from assets.shared.block import Block
from resources.database.portfolios import Portfolio
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.planning.planner import held_symbols
from sigma_dagster.runs import claims
from sigma_dagster.services import Services


def computing(services: Services, one: Portfolio) -> str | None:
    """Give the id of a run in progress that computes the portfolio, or symbols that it holds; None if there is none."""
    sessions = services.sessions(services.as_of(None, datetime.now(UTC)))
    held = held_symbols([one], sessions)
    keys = {"proxy": services.model.proxies if held else (), "symbol": held, "portfolio": [one.name]}
    with open_instance(services.settings) as instance:
        for dimension, named in keys.items():
            if not named:
                continue
            assets = [asset.name for asset in of_dimension(dimension)]
            block = Block.of_keys(assets, named, sessions[0], sessions[-1])
            if runs := claims.rivals(instance, services, block):
                return runs[0].run_id
    return None

"""Every partitioned asset, once: its table, what its keys are, what it is made from, which checks it has.

All that must know the assets reads it here: definitions, jobs, planner, run requests, healing, checks. A new asset is
an entry here and a module of its name beside this one. Not here: how a row is computed, and anything of Dagster (the
planner is imported by commands that have no time for it).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Table

from resources.database import tables

#: What the keys of a block are beside sessions, in the order in which blocks are run.
DIMENSIONS = ("proxy", "symbol", "portfolio")


@dataclass(frozen=True)
class Asset:
    """A partitioned asset: one partition and one row is a session and a key."""

    name: str
    """Of the asset, of its step in a run, and of its module."""
    table: Table
    dimension: str
    """What a key is."""
    upstream: tuple[str, ...]
    group: str
    owner: str
    checks: tuple[str, ...]
    """Names in `assets.checks`."""
    look_back: bool = False
    """The sessions that results look back on are wanted as well."""

    @property
    def of_model(self) -> bool:
        """Say whether its rows belong to a factor model."""
        return "model" in self.table.c

    def fixed(self, model: str) -> dict[str, str]:
        """Give the key columns that all rows of a factor model have in common."""
        return {"model": model} if self.of_model else {}


ASSETS = (
    Asset(
        "proxy_prices",
        tables.daily_price,
        "proxy",
        upstream=(),
        group="market_data",
        owner="team:market-data",
        checks=("proxies_fresh", "recorded_partitions_have_rows"),
        look_back=True,
    ),
    Asset(
        "daily_prices",
        tables.daily_price,
        "symbol",
        upstream=(),
        group="market_data",
        owner="team:market-data",
        checks=(
            "prices_positive",
            "prices_complete",
            "prices_continuous",
            "prices_move",
            "recorded_partitions_have_rows",
        ),
        look_back=True,
    ),
    Asset(
        "factor_exposures",
        tables.factor_exposure,
        "symbol",
        upstream=("proxy_prices", "daily_prices"),
        group="symbol_risk",
        owner="team:risk",
        checks=("held_symbols_have_exposures", "recorded_partitions_have_rows"),
    ),
    Asset(
        "symbol_volatility",
        tables.symbol_volatility,
        "symbol",
        upstream=("daily_prices",),
        group="symbol_risk",
        owner="team:risk",
        checks=("held_symbols_have_volatility", "recorded_partitions_have_rows"),
    ),
    Asset(
        "portfolio_factor_exposures",
        tables.portfolio_factor_exposure,
        "portfolio",
        upstream=("factor_exposures", "positions"),
        group="portfolio_risk",
        owner="team:portfolio-risk",
        checks=("exposures_cover_value", "recorded_partitions_have_rows"),
    ),
    Asset(
        "portfolio_volatility",
        tables.portfolio_volatility,
        "portfolio",
        upstream=("symbol_volatility", "daily_prices", "positions"),
        group="portfolio_risk",
        owner="team:portfolio-risk",
        checks=("recorded_partitions_have_rows",),
    ),
)

BY_NAME = {asset.name: asset for asset in ASSETS}


def of_dimension(dimension: str) -> Sequence[Asset]:
    """Give the assets whose keys are of the dimension, each after those it is made from."""
    return [asset for asset in ASSETS if asset.dimension == dimension]

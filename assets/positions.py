"""The external asset `positions`: the lots of all portfolios, stored by `sigma onboard` and `sigma add`."""

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG, DEFAULT_DATA_VERSION
from sqlalchemy import Connection

from assets.shared.definition import column_schema
from assets.shared.recorder import facts
from resources.database import portfolios, tables
from resources.database.portfolios import Portfolio

asset = dg.AssetSpec(
    "positions",
    group_name="portfolio_risk",
    kinds={"sql"},
    owners=["team:portfolio-risk"],
    description="One row is one lot of a portfolio: symbol, signed quantity, entry price and date. "
    "Changes when a portfolio is onboarded.",
    metadata=column_schema(tables.lot),
)

_ID = "portfolio_id"


def report(instance: dg.DagsterInstance, connection: Connection) -> None:
    """Tell Dagster of each portfolio that was stored since it was told last, oldest first.

    A portfolio that is replaced gets a new id, greater than all before.
    """
    latest = instance.get_latest_materialization_event(asset.key)
    materialization = latest and latest.asset_materialization
    told = materialization.metadata.get(_ID) if materialization else None
    # One that a person reported in the UI has no id: all are told again, once.
    known = told.value if told and isinstance(told.value, int) else 0
    new = portfolios.load(connection, portfolios.names(connection, after=known))
    for one in sorted(new, key=lambda one: one.id):
        instance.report_runless_asset_event(_event(one))


def _event(one: Portfolio) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset.key,
        description=f"Portfolio {one.name}",
        metadata=facts(
            {
                "portfolio": one.name,
                "lots": len(one.lots),
                "symbols": len(one.symbols),
                "gross_value_at_entry": sum(
                    (abs(lot.quantity) * lot.entry_price for lot in one.lots if lot.asset_class != "cash"), 0.0
                ),
                "equity": one.equity,
                "shares_as_of": one.shares_as_of.isoformat(),
                _ID: one.id,
            }
        ),
        # What rests on another portfolio's lots is not out of date: rows that are went with the portfolio replaced.
        tags={DATA_VERSION_TAG: DEFAULT_DATA_VERSION.value},
    )

"""The external asset `positions`: the lots of all portfolios, stored by `sigma onboard`."""

import dagster as dg

asset = dg.AssetSpec(
    "positions",
    group_name="portfolio_risk",
    kinds={"sql"},
    owners=["team:portfolio-risk"],
    description="One row is one lot of a portfolio: symbol, signed quantity, entry price and date. "
    "Changes when a portfolio is onboarded.",
)

"""The asset `portfolio_report`: each portfolio's page, as of its newest session.

The page is made of stored rows whenever it is asked for, so nothing is kept that could be out of date; a
materialization tells its numbers and charts, and where the page is. Not here: how it is made (`Reporter`).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from assets.shared.recorder import facts

NAME = "portfolio_report"
_UPSTREAM = ("portfolio_factor_exposures", "portfolio_volatility")


@dataclass(frozen=True)
class Summary:
    """What Dagster shows of a page."""

    as_of: date
    numbers: Mapping[str, Any]
    charts: Mapping[str, bytes]  # PNG, by title


class Reporter(Protocol):
    """Makes pages."""

    def summary(self, portfolio: str) -> Summary:
        """Give the newest page's numbers; raises LookupError with what to do if nothing is stored of the portfolio."""


class ReportConfig(dg.Config):
    """Which portfolios, in a run of the sensor: one whose asset events are deferred, so that it records them itself."""

    portfolios: list[str] = Field(default=[], description="Names; empty: the run's own partition.")


def asset() -> dg.AssetsDefinition:
    """Make the asset."""
    newest = dg.MultiToSingleDimensionPartitionMapping("portfolio")

    @dg.asset(
        name=NAME,
        partitions_def=dg.DynamicPartitionsDefinition(name="portfolio"),
        deps=[dg.AssetDep(name, partition_mapping=newest) for name in _UPSTREAM],
        group_name="portfolio_risk",
        kinds={"html"},
        owners=["team:portfolio-risk"],
        description="One partition is one portfolio: its page as of the newest session, with what a risk meeting asks: "
        "how much, from what, what changed, what could happen, what we do not know. "
        "Materialized by the sensor when new rows are there.",
    )
    def portfolio_report(
        context: dg.AssetExecutionContext, config: ReportConfig, reporter: dg.ResourceParam[Reporter]
    ) -> dg.MaterializeResult[None]:
        for name in config.portfolios:
            context.log_event(dg.AssetMaterialization(NAME, partition=name, metadata=_metadata(reporter, name)))
        return dg.MaterializeResult(metadata={} if config.portfolios else _metadata(reporter, context.partition_key))

    return portfolio_report


def _metadata(reporter: Reporter, name: str) -> dict[str, Any]:
    try:
        found = reporter.summary(name)
    except LookupError as error:
        raise dg.Failure(str(error)) from None
    charts = {title: dg.MetadataValue.md(_image(title, png)) for title, png in found.charts.items()}
    page = dg.MetadataValue.url(address(name))
    return {"page": page, "as_of": found.as_of.isoformat(), **facts(found.numbers), **charts}


def _image(title: str, png: bytes) -> str:
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def address(name: str) -> str:
    """Give the path of a portfolio's page on the server of the Dagster UI."""
    return f"/report/{quote(name)}"

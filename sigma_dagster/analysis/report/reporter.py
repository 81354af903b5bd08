"""What the asset `portfolio_report` and the server of the Dagster UI ask for pages."""

from dataclasses import dataclass

from assets.factor_models import FactorModel
from assets.portfolio_report import Summary
from resources.database import portfolios
from resources.database.engine import Database
from sigma_dagster.analysis.report import facts, page
from sigma_dagster.analysis.report.facts import Facts

_CHARTS = ("exposures", "volatility")
_NUMBERS = ("market_total", "forecast_vol_21d", "var_95_1d", "var_99_1d", "es_975_1d", "weight_coverage")


@dataclass(frozen=True)
class StoredReporter:
    """Makes pages of stored rows."""

    database: Database
    model: FactorModel

    def summary(self, portfolio: str) -> Summary:
        """Give the newest page's numbers; raises LookupError if nothing is stored of the portfolio."""
        found = self._read(portfolio)
        charts = {name: chart.png() for name, chart in page.drawn(found) if name in _CHARTS}
        return Summary(found.risk.as_of, {name: getattr(found.risk, name) for name in _NUMBERS}, charts)

    def page(self, portfolio: str) -> str:
        """Give the newest page; raises LookupError if nothing is stored of the portfolio."""
        return page.render(self._read(portfolio))

    def _read(self, name: str) -> Facts:
        with self.database.read() as connection:
            for one in portfolios.load(connection, [name]):
                found = facts.read(connection, one, self.model)
                if found is None:
                    raise LookupError(
                        f"Nothing is computed of portfolio {name} yet: the sensor does so, or sigma refresh"
                    )
                return found
        raise LookupError(f"Portfolio {name!r} is not stored: sigma onboard FILE stores one")

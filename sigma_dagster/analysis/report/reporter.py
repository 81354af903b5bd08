"""What the asset `portfolio_report` and the server of the Dagster UI ask for pages."""

from dataclasses import dataclass

from assets.portfolio_report import Summary
from assets.shared.look_back import MissingInputsError
from resources.database import portfolios
from sigma_dagster.analysis.report import facts, page
from sigma_dagster.analysis.report.facts import Facts
from sigma_dagster.analysis.scenarios import ScenarioError, scenarios
from sigma_dagster.services import Services

_CHARTS = ("exposures", "volatility")
_NUMBERS = ("market_total", "forecast_vol_21d", "var_95_1d", "var_99_1d", "es_975_1d", "weight_coverage")


@dataclass(frozen=True)
class StoredReporter:
    """Makes the newest pages of stored rows; LookupError says why there is none, and what to do."""

    services: Services

    def summary(self, portfolio: str) -> Summary:
        """Give a page's numbers and charts; raises LookupError."""
        found = self._read(portfolio)
        charts = {name: chart.png() for name, chart in page.drawn(found) if name in _CHARTS}
        return Summary(found.risk.as_of, {name: getattr(found.risk, name) for name in _NUMBERS}, charts)

    def page(self, portfolio: str) -> str:
        """Give a page; raises LookupError."""
        return page.render(self._read(portfolio))

    def _read(self, name: str) -> Facts:
        try:
            chosen = scenarios(self.services.settings.stress)
            with self.services.database.read() as connection:
                one = next(iter(portfolios.load(connection, [name])), None)
                found = facts.read(connection, one, self.services.model, chosen=chosen) if one else None
        except (MissingInputsError, ScenarioError) as error:
            raise LookupError(str(error)) from None
        if one is None:
            raise LookupError(f"Portfolio {name!r} is not stored: sigma onboard FILE stores one")
        if found is None:
            raise LookupError(f"Nothing is computed of portfolio {name} yet: the sensor does so, or sigma refresh")
        return found

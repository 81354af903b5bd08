"""Buying the prices of a scenario's window that nobody has asked for; they are stored like look-back prices."""

from collections.abc import Callable, Sequence
from datetime import date

from assets.daily_prices import Buyer
from assets.shared.look_back import listed
from resources.database.portfolios import Portfolio
from sigma_dagster.analysis import stress
from sigma_dagster.analysis.scenarios import Scenario
from sigma_dagster.services import Services


def fetch(
    services: Services, one: Portfolio, session: date, chosen: Sequence[Scenario], say: Callable[[str], None]
) -> None:
    """Ask for the prices that the windows lack, of the positions and of the factor proxies, window by window."""
    for scenario in (each for each in chosen if each.is_window):
        with services.database.read() as connection:
            names, days, lacking = stress.missing(connection, one, services.model, session, scenario)
        if not lacking.any():
            continue
        buyer = Buyer(services.database, services.source, services.clock, services.model.proxies)
        bought = buyer.buy(names, days, lacking, completed=None, force=False)
        say(f"{scenario.name}: prices of {days[0]}..{days[-1]}, {bought.calls} provider calls")
        if bought.failed:
            say(f"{scenario.name}: not fetched: {listed([f'{name} ({why})' for name, why in bought.failed.items()])}")
        if bought.ended:
            raise bought.ended

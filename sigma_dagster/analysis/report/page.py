"""A portfolio's page as HTML: one file that loads nothing from elsewhere, in the order of a risk meeting.

Not here: the numbers (`facts`) and the charts (`charts`). What stands in the template is escaped by Jinja.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache

import jinja2
import numpy as np
from markupsafe import Markup

from assets.numerics.arrays import FloatArray
from assets.numerics.constants import SPLIT_RATIO_BAND
from sigma_dagster.analysis import caveats, wording
from sigma_dagster.analysis.report import charts
from sigma_dagster.analysis.report.charts import Chart
from sigma_dagster.analysis.report.facts import Facts, History

_BARS = 15
"""Positions that a chart shows, the largest."""
_LABELS = {
    "forecast_vol_21d": "forecast, next 21 sessions",
    "ewma_vol": "exponentially weighted",
    "realized_vol_21d": "realized, last 21 sessions",
    "realized_vol_63d": "realized, last 63 sessions",
}


def render(found: Facts) -> str:
    """Write the page."""
    template = _environment().get_template("page.html.j2")
    return template.render(
        facts=found,
        risk=found.risk,
        charts={name: Markup(chart.svg()) for name, chart in drawn(found)},  # noqa: S704 - drawn here, of numbers and symbols
        caveats=caveats,
        labels=_LABELS,
        month_ends=_month_ends(found.history),
        history=found.history,
        largest=_BARS,
        band=SPLIT_RATIO_BAND,
    )


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("sigma_dagster.analysis.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {write.__name__: _of_cells(write) for write in (wording.number, wording.percent, wording.dollars)}
    )
    made.filters.update(words=wording.words, shade=_shade)
    made.globals["counted"] = wording.counted
    return made


def drawn(found: Facts) -> Iterator[tuple[str, Chart]]:
    """Draw what there are numbers for."""
    history, risk = found.history, found.risk
    days = np.array(history.sessions, dtype="datetime64[D]")
    if _any(history.market_total):
        series = {"market, in total": history.market_total}
        series |= {wording.words(name): values for name, values in history.exposures.items()}
        errors = {wording.words(name): values for name, values in history.standard_errors.items()}
        yield "exposures", charts.panels("factor exposures", days, series, errors, "exposure")
    shown = {_LABELS[name]: values for name, values in history.volatility.items() if _any(values)}
    if shown:
        yield "volatility", charts.lines("volatility", days, shown, "volatility, annualised")
    if _any(history.var_99_1d) and _any(history.returns):
        limits = {"95% value at risk": history.var_95_1d, "99% value at risk": history.var_99_1d}
        yield "losses", charts.losses("returns and value at risk", days, history.returns, limits)
    if _any(history.returns):
        yield "drawdown", charts.lines("drawdown", days, {"drawdown": history.drawdown}, "below the highest value",
                                       below_zero=True)  # fmt: skip
    factors = {wording.words(name): share for name, share in risk.risk_split.factors.items() if share is not None}
    if factors and risk.risk_split.specific is not None:
        factors["specific to positions"] = risk.risk_split.specific
        yield "factors", charts.bars("shares of risk by factor", factors, "share of the variance")
    if shares := dict(_largest(risk.risk_split.positions)):
        yield "positions", charts.bars("shares of risk by position", shares, "share of the variance")
    if found.change and found.change.variance[0] is not None:
        parts = {name: part for name, part in found.change.parts.items() if part is not None}
        yield "change", charts.bars("what changed the variance", parts, "change of the variance, a year", _variance)
    if pnl := {one.scenario.title: one.pnl for one in found.stress.outcomes if one.pnl is not None}:
        yield "stress", charts.bars("gain or loss in scenarios", pnl, "gain or loss", wording.dollars)


def _variance(value: float) -> str:
    return wording.number(value, 4)


def _any(values: FloatArray) -> bool:
    return bool(np.isfinite(values).sum() > 1)


def _largest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    """The positions with the largest shares, hedges by their size, and the rest together."""
    ordered = sorted(shares.items(), key=lambda one: -abs(one[1]))
    rest = ordered[_BARS:]
    others = [(f"{len(rest)} others", sum(share for _, share in rest))] if rest else []
    return [*sorted(ordered[:_BARS], key=lambda one: -one[1]), *others]


def _month_ends(history: History) -> list[tuple[int, date]]:
    """The last session of each month on the page, newest first, by its place in the history."""
    ends = {(day.year, day.month): (i, day) for i, day in enumerate(history.sessions)}
    return sorted(ends.values(), reverse=True)


def _of_cells(write: Callable[..., str]) -> Callable[..., str]:
    """Let a writer take a cell of an array, where NaN is not known."""

    def written(value: float | None, *options: int) -> str:
        return write(None if value is None or not np.isfinite(value) else float(value), *options)

    return written


def _shade(correlation: float) -> str:
    """The background of a correlation: blue for those above zero, orange for those below, by their size."""
    if not np.isfinite(correlation):
        return "transparent"
    colour = charts.BLUE if correlation > 0 else charts.ORANGE
    return f"color-mix(in srgb, {colour} {abs(correlation):.0%}, transparent)"

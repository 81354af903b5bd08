"""How a portfolio's risk is shown to people; the same numbers as data are `Risk.to_json`."""

from rich.console import Console

from sigma_dagster.analysis import caveats
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.analysis.wording import UNKNOWN, dollars, number, percent, words
from sigma_dagster.cli.tables import print_rows

_POSITIONS_SHOWN = 25
_BASES = {"market": "market value", "entry": "entry value", "mixed": "market value, else entry value"}


def risk(out: Console, found: Risk) -> None:
    """Print everything that is known of a portfolio's risk."""
    summary(out, found)
    _positions(out, found)


def summary(out: Console, found: Risk) -> None:
    """Print a portfolio's risk without its positions."""
    basis = f", weights by {_BASES[found.weight_basis]}" if found.weight_basis else ""
    out.print(f"{found.portfolio} as of {found.as_of}{basis}")
    if caveats.is_partial(found):
        out.print(caveats.coverage(found))
    out.print()
    _factors(out, found)
    print_rows(out, ("volatility, annualised", ""), _volatility(found))
    print_rows(out, ("loss in 1 session", "95%", "", "99%", ""), _losses(found))
    print_rows(out, ("lost more than said, last 252 sessions", "times", "expected", "95% band"), _exceeded(found))
    for line in (_value(found), _fit(found), *caveats.of(found)):
        out.print(line)
    out.print()


def headline(found: Risk) -> list[tuple[str, str]]:
    """Give the few numbers that portfolios are compared by."""
    return [
        ("market exposure, in total", number(found.market_total)),
        *((f"exposure: {words(factor)}", number(value)) for factor, value in found.exposures.items()),
        ("forecast volatility, 21 sessions", percent(found.forecast_vol_21d)),
        ("realized volatility, 21 sessions", percent(found.realized_vol_21d)),
        ("realized volatility, 63 sessions", percent(found.realized_vol_63d)),
        ("value covered by exposures", percent(found.weight_coverage)),
    ]


def _factors(out: Console, found: Risk) -> None:
    """The market in total first: beside style spreads, the market's own exposure is partial.

    Volatility and value at risk are rates of the covered part: where it is not the whole, so is a column here.
    """
    split, model = found.risk_split, found.factor_model.partition("@")[0]
    rows = [("market, in total", found.market_total, "", "")]
    for factor, value in found.exposures.items():
        rows.append((words(factor), value, number(found.standard_errors[factor]), percent(split.factors[factor])))
    header = ("exposure", "std. error", "share of risk")
    specific = ("specific to positions", "", "", percent(split.specific))
    if not found.weight_coverage or found.weight_coverage >= caveats.WHOLE:
        lines = [(label, number(value), *others) for label, value, *others in rows]
        print_rows(out, (f"factor ({model})", *header), [*lines, specific])
        return
    lines = [(label, number(value), *others, number(_of_covered(value, found))) for label, value, *others in rows]
    print_rows(out, (f"factor ({model})", *header, "exposure of the covered"), [*lines, (*specific, "")])


def _of_covered(exposure: float | None, found: Risk) -> float | None:
    return exposure / found.weight_coverage if exposure is not None and found.weight_coverage else None


def _volatility(found: Risk) -> list[tuple[str, str]]:
    trend = UNKNOWN if found.vol_trend is None else f"{found.vol_trend} (p {number(found.vol_trend_p, 2)})"
    return [
        ("forecast, next 21 sessions", percent(found.forecast_vol_21d)),
        ("exponentially weighted", percent(found.ewma_vol)),
        ("realized, last 21 sessions", percent(found.realized_vol_21d)),
        ("... its percentile in the last year", percent(found.vol_percentile, 0)),
        ("realized, last 63 sessions", percent(found.realized_vol_63d)),
        ("trend, 21 sessions against 42 before", trend),
    ]


def _losses(found: Risk) -> list[tuple[str, ...]]:
    def row(label: str, *names: str) -> tuple[str, ...]:
        cells = ((percent(getattr(found, name), 2), dollars(found.in_dollars(name))) for name in names)
        return (label, *(text for cell in cells for text in cell))

    return [
        row("value at risk, by the volatility of now", "var_95_1d", "var_99_1d"),
        row("... as in the last 252 sessions", "var_95_1d_historical", "var_99_1d_historical"),
        row("... normal, with the forecast", "var_95_1d_normal", "var_99_1d_normal"),
        ("expected shortfall, worst 2.5%", *row("", "es_975_1d")[1:], "", ""),
    ]


def _exceeded(found: Risk) -> list[tuple[str, ...]]:
    return [
        (
            f"{caveats.SAID[name]}, {one.sessions:,} sessions compared",
            f"{one.count:,}",
            number(one.expected, 1),
            f"{one.low:,} to {one.high:,}",
        )
        for name, one in found.exceedances.items()
        if one.sessions
    ]


def _value(found: Risk) -> str:
    parts = [f"Value: gross {dollars(found.gross)}", f"net {dollars(found.net)}"]
    if found.denominator != found.gross:
        parts.append(f"weights are shares of the equity, {dollars(found.denominator)}")
    if found.entry_share:
        parts.append(f"{percent(found.entry_share)} at entry prices")
    if found.stale_share:
        parts.append(f"{percent(found.stale_share)} at stale prices")
    return ", ".join(parts)


def _fit(found: Risk) -> str:
    return (
        f"Fit: R2 {percent(found.r_squared)}, {words(found.quality)}, split / realized variance "
        f"{number(found.split_ratio, 2)}, volatility of the split {percent(found.split_vol)}"
    )


def _positions(out: Console, found: Risk) -> None:
    shares = found.risk_split.positions
    rows = [
        (
            one.symbol,
            percent(one.weight),
            one.price_basis,
            percent(shares.get(one.symbol)) if one.quality else UNKNOWN,
            words(one.quality) if one.asset_class == "public" else one.asset_class,
            UNKNOWN if one.n_obs is None else str(one.n_obs),
            percent(one.r_squared),
        )
        for one in found.positions
    ]
    header = ("position", "weight", "price", "share of risk", "quality", "sessions", "R2")
    print_rows(out, header, rows[:_POSITIONS_SHOWN])
    if len(rows) > _POSITIONS_SHOWN:
        out.print(f"... and {len(rows) - _POSITIONS_SHOWN:,} smaller positions; --json has all")

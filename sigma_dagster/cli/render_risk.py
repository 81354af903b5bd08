"""How a portfolio's risk is shown to people; the same numbers as data are `Risk.to_json`."""

from rich.console import Console

from assets.numerics.constants import SPLIT_RATIO_BAND
from assets.shared.look_back import listed
from sigma_dagster.cli.tables import UNKNOWN, dollars, number, percent, print_rows, words
from sigma_dagster.portfolio.risk import Risk

_POSITIONS_SHOWN = 25
_BASES = {"market": "market value", "entry": "entry value", "mixed": "market value, else entry value"}


def risk(out: Console, found: Risk) -> None:
    """Print everything that is known of a portfolio's risk."""
    summary(out, found)
    _positions(out, found)


def summary(out: Console, found: Risk) -> None:
    """Print a portfolio's risk without its positions."""
    basis = f", weights by {_BASES[found.weight_basis]}" if found.weight_basis else ""
    out.print(f"{found.portfolio} as of {found.as_of}{basis}{_coverage(found)}")
    out.print()
    _factors(out, found)
    covered = f", of the covered {percent(found.return_coverage)}" if _partial(found.return_coverage) else ""
    print_rows(out, (f"volatility, annualised{covered}", ""), _volatility(found))
    print_rows(out, (f"value at risk, 1 session{covered}", "95%", "", "99%", ""), _losses(found))
    for line in (_value(found), _fit(found), *_notes(found)):
        out.print(line)
    out.print()


def _partial(coverage: float | None) -> bool:
    """Say whether something is covered, and less than 100% as it is printed."""
    return bool(coverage) and percent(coverage) != percent(1.0)


def _coverage(found: Risk) -> str:
    """What stands beside the headline when numbers do not speak of the whole."""
    exposures, returns = percent(found.weight_coverage), percent(found.return_coverage)
    if not found.weight_basis or exposures == returns == percent(1.0):
        return ""
    if exposures == returns:
        return f"; {exposures} of value is covered"
    return f"; exposures cover {exposures} of value, returns {returns}"


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
    if not _partial(found.weight_coverage):
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
        row("historical, last 252 sessions", "var_95_1d", "var_99_1d"),
        row("normal, with the forecast", "var_95_1d_normal", "var_99_1d_normal"),
    ]


def _value(found: Risk) -> str:
    parts = [f"Value: gross {dollars(found.gross)}", f"net {dollars(found.net)}"]
    if _partial(found.return_coverage):
        parts.append(f"covered by returns {dollars(found.covered_value)}")
    if found.denominator != found.gross:
        parts.append(f"weights are shares of the equity, {dollars(found.denominator)}")
    if found.entry_share:
        parts.append(f"{percent(found.entry_share)} at entry prices")
    if found.stale_share:
        parts.append(f"{percent(found.stale_share)} at stale prices")
    return ", ".join(parts)


def _fit(found: Risk) -> str:
    return (
        f"Fit: R2 {percent(found.r_squared)}, {words(found.quality)}, {percent(found.weight_coverage)} of value "
        f"covered, split / realized variance {number(found.split_ratio, 2)}"
    )


def _notes(found: Risk) -> list[str]:
    """What a reader must know to read the numbers right."""
    notes = []
    if found.reason:
        notes.append(f"Not known: {found.reason}")
    if found.low_coverage:
        notes.append(
            f"Low coverage: exposures cover {percent(found.weight_coverage)} of value, returns "
            f"{percent(found.return_coverage)}: the rates describe that part"
        )
    if unvalued := [one.symbol for one in found.positions if one.unvalued]:
        notes.append(
            f"Not valued: {listed(unvalued)}: a lot without entry price and market price; it counts as nothing"
        )
    low, high = SPLIT_RATIO_BAND
    if found.split_ratio is not None and not low <= found.split_ratio <= high:
        notes.append(
            f"Split / realized variance is outside {low}-{high}: "
            "the positions move together in a way the factors do not see"
        )
    if found.var_99_1d is not None:
        notes.append(
            "The 99% value at risk rests on a year's 2-3 worst days; the normal one is exceeded on 1.5-2% of days"
        )
    return notes


def _positions(out: Console, found: Risk) -> None:
    shares = found.risk_split.positions
    rows = [
        (
            one.symbol,
            percent(one.weight),
            one.price_basis,
            percent(shares.get(one.symbol)) if one.quality else UNKNOWN,
            words(one.quality),
            UNKNOWN if one.n_obs is None else str(one.n_obs),
            percent(one.r_squared),
        )
        for one in found.positions
    ]
    header = ("position", "weight", "price", "share of risk", "quality", "sessions", "R2")
    print_rows(out, header, rows[:_POSITIONS_SHOWN])
    if len(rows) > _POSITIONS_SHOWN:
        out.print(f"... and {len(rows) - _POSITIONS_SHOWN:,} smaller positions; --json has all")

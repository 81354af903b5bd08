"""What a reader must know to read a portfolio's numbers right: how much they cover, and what speaks against them."""

from assets.numerics.constants import SPLIT_RATIO_BAND
from assets.shared.look_back import listed
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.analysis.wording import dollars, percent

#: Values at risk whose exceedances are counted.
SAID = {"var_95_1d": "95% value at risk", "var_99_1d": "99% value at risk"}
#: A smaller coverage is less than 100% as printed.
WHOLE = 0.9995
#: A smaller diversifiable share is worth a line.
_TOGETHER = 0.7


def is_partial(found: Risk) -> bool:
    """Whether the numbers describe less than the whole portfolio."""
    shares = (found.weight_coverage, found.return_coverage)
    return bool(found.gross) and any(share is not None and share < WHOLE for share in shares)


def coverage(found: Risk) -> str:
    """Say what the numbers are shares of, where that is not the whole."""
    return (
        f"Exposures cover {percent(found.weight_coverage)} of value; volatility and losses are of the "
        f"{percent(found.return_coverage)} with returns, {dollars(found.covered_value)}"
    )


def of(found: Risk) -> list[str]:
    """What a reader must know to read the numbers right."""
    said = []
    if found.reason:
        said.append(f"Not known: {found.reason}")
    if found.low_coverage:
        said.append("Low coverage: the numbers describe a part of the portfolio that cannot speak for the whole")
    if unvalued := [one.symbol for one in found.positions if one.unvalued]:
        said.append(f"Not valued: {listed(unvalued)}: a lot without entry price and market price; it counts as nothing")
    low, high = SPLIT_RATIO_BAND
    if found.split_ratio is not None and not low <= found.split_ratio <= high:
        said.append(
            f"Split / realized variance is outside {low}-{high}: "
            "gaps in prices, or positions without exposures, make the split another book than the returns"
        )
    if found.diversifiable_share is not None and found.diversifiable_share < _TOGETHER:
        said.append(
            f"Only {percent(found.diversifiable_share)} of the specific risk is the positions' own: "
            "they move together in a way the factors do not see"
        )
    for name, one in found.exceedances.items():
        if one.sessions and not one.low <= one.count <= one.high:
            times = f"{one.count:,} times, outside the 95% band {one.low:,} to {one.high:,}"
            said.append(f"{SAID[name]} was exceeded {times}")
    return said

"""What the command line prints of what if, what changed, stress and history; as data they are the objects' own."""

import csv
import io
from collections.abc import Iterator

from rich.console import Console

from assets.shared.look_back import listed
from sigma_dagster.analysis.attribution import Change, Moved
from sigma_dagster.analysis.history import History
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.analysis.stress import Outcome, Stress
from sigma_dagster.analysis.whatif import WhatIf
from sigma_dagster.analysis.wording import UNKNOWN, dollars, number, percent, words
from sigma_dagster.cli.tables import print_rows, print_table

_POSITIONS_SHOWN = 5
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 72
_LAST = 10


def what_if(out: Console, found: WhatIf) -> None:
    """Print a book before and after."""
    after, before = found.after, found.before
    new = "" if before else ", which is not stored"
    out.print(f"{after.portfolio} as of {after.as_of}{new}: what if; nothing is stored\n")
    rows, old = _numbers(after), None if before is None else _numbers(before)
    beside = ((label, UNKNOWN if old is None else old.get(label, UNKNOWN), text) for label, text in rows.items())
    print_rows(out, ("", "before", "after"), list(beside))
    print_rows(out, ("share of risk", "before", "after"), list(_contributions(before, after)))
    if found.hedge is not None:
        for trade in found.hedge.trades:
            out.print(
                f"Hedge of {words(found.hedge.factor)}: {trade.symbol} {trade.quantity:+,.4f} at {trade.price:,.2f}"
            )
        error = UNKNOWN if found.hedge.value_se is None else dollars(found.hedge.value_se)
        out.print(f"... worth {dollars(found.hedge.value)} (standard error {error})")
    for which, one in (("Before", before), ("After", after)):
        if one is not None and one.reason:
            out.print(f"{which}, not known: {one.reason}")


def _numbers(found: Risk) -> dict[str, str]:
    exposures = {
        f"exposure: {words(factor)}": f"{number(value)} ({number(found.standard_errors[factor])})"
        for factor, value in found.exposures.items()
    }
    losses = {
        "value at risk, 95%, 1 session": "var_95_1d",
        "value at risk, 99%, 1 session": "var_99_1d",
        "expected shortfall, worst 2.5%": "es_975_1d",
    }
    return {
        "gross value": dollars(found.gross),
        "net value": dollars(found.net),
        "market exposure, in total": number(found.market_total),
        **{f"{label} (std. error)": text for label, text in exposures.items()},
        "forecast volatility, 21 sessions": percent(found.forecast_vol_21d),
        "realized volatility, 21 sessions": percent(found.realized_vol_21d),
        **{
            label: f"{percent(getattr(found, name), 2)} {dollars(found.in_dollars(name))}"
            for label, name in losses.items()
        },
        "value covered by exposures": percent(found.weight_coverage),
    }


def _contributions(before: Risk | None, after: Risk) -> Iterator[tuple[str, str, str]]:
    """Factors, the rest, and the positions that contribute most to either."""
    old, new = before and before.risk_split, after.risk_split
    for factor, share in new.factors.items():
        yield words(factor), percent(old.factors.get(factor)) if old else UNKNOWN, percent(share)
    yield "specific to positions", percent(old.specific) if old else UNKNOWN, percent(new.specific)
    was = old.positions if old else {}
    size = {name: max(abs(was.get(name, 0.0)), abs(new.positions.get(name, 0.0))) for name in {**was, **new.positions}}
    for name in sorted(size, key=lambda name: -size[name])[:_POSITIONS_SHOWN]:
        yield f"position {name}", percent(was.get(name)), percent(new.positions.get(name))


def change(out: Console, found: Change) -> None:
    """Print what changed."""
    before, after = found.variance
    out.print(f"{found.portfolio} from {found.from_} to {found.to}: forecast variance of the factor model")
    if before is None or after is None:
        out.print(f"Not known: {found.reason}")
        return
    out.print(f"Volatility {percent(before**0.5)} then, {percent(after**0.5)} now\n")
    rows = [("from", _variance(before))]
    rows += [(f"  {part}", f"{_variance(amount or 0.0, sign='+')}") for part, amount in found.parts.items()]
    print_rows(out, ("", "variance"), [*rows, ("to", _variance(after))])
    for label, moved in (("position", found.positions), ("factor", found.factors)):
        print_rows(out, (label, "from", "to", "change"), [_moved(one) for one in moved])


def _moved(one: Moved) -> tuple[str, str, str, str]:
    return words(one.name), _variance(one.from_), _variance(one.to), _variance(one.change, sign="+")


def _variance(value: float, sign: str = "") -> str:
    return f"{value:{sign}.5f}"


def stress(out: Console, found: Stress) -> None:
    """Print what each scenario does, and what it does not cover."""
    out.print(f"{found.portfolio} as of {found.as_of}, as it is held now\n")
    rows = [(_title(one), dollars(one.pnl), percent(one.share), percent(one.coverage)) for one in found.outcomes]
    print_rows(out, ("scenario", "gain or loss", "of value", "covered"), rows)
    for one in found.outcomes:
        if one.pnl is not None:
            _outcome(out, one)
    for one in found.outcomes:
        if one.reason:
            out.print(f"{one.scenario.name}: {one.reason}")


def _title(one: Outcome) -> str:
    window = f", {one.scenario.from_}..{one.scenario.to}" if one.scenario.is_window else ""
    return f"{one.scenario.title}{window}"


def _outcome(out: Console, one: Outcome) -> None:
    rows = [
        (words(factor), percent(one.moves[factor]), dollars(amount))
        for factor, amount in one.factors.items()
        if amount is not None
    ]
    rows.append(("specific to positions", "", dollars(one.specific)))
    rows += [
        (f"position {loss.symbol}", f"by {loss.by}", dollars(loss.pnl))
        for loss in one.positions[:_POSITIONS_SHOWN]
        if loss.pnl
    ]
    print_table(out, (one.scenario.name, "move", "gain or loss"), rows)
    if one.not_covered:
        out.print(f"Not covered: {listed(one.not_covered)}")
    out.print()


def history(out: Console, found: History, *, every: bool) -> None:
    """Print a sparkline, and the newest sessions or all."""
    known = [value for _, value in found.values if value is not None]
    first, last = found.values[0][0], found.values[-1][0]
    out.print(f"{found.portfolio}, {found.metric}, {first}..{last}")
    if known:
        out.print(_sparkline([value for _, value in found.values]))
        out.print(f"lowest {min(known):.6g}, highest {max(known):.6g}, newest known {known[-1]:.6g}\n")
    shown = found.values if every else found.values[-_LAST:]
    rows = [(str(day), UNKNOWN if value is None else f"{value:.6g}") for day, value in shown]
    print_table(out, ("session", found.metric), rows)


def _sparkline(values: list[float | None]) -> str:
    """One block a session, or the last of several where there are more than fit; a blank is not known."""
    step = -(-len(values) // _WIDTH)
    shown = values[::-1][::step][::-1]
    known = [value for value in shown if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    width = (high - low) or 1.0
    most = len(_BARS) - 1
    return "".join(" " if value is None else _BARS[round((value - low) / width * most)] for value in shown)


def history_csv(out: Console, found: History) -> None:
    """Print CSV; a number that is not known is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("session", found.metric))
    rows.writerows((day, "" if value is None else repr(value)) for day, value in found.values)
    out.print(text.getvalue(), end="")

"""What is assumed of lots where a broker's file does not say it: the same as at the last import, else the close.

A date that the file does not say is the as-of session only once: a lot that is imported again keeps its own. A file
without any date says what is held now: what was held before and is not in it any more has been sold since, and stays in
the portfolio's past. Not here: which rows of a file are lots (`holdings_file`), and storing them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

import sqlalchemy as sa
from sqlalchemy import Connection

from resources import calendar
from resources.database import portfolios, prices
from resources.database.bulk import within
from resources.database.portfolios import Lot
from resources.database.tables import daily_price
from sigma_dagster.portfolio.holdings import Holdings
from sigma_dagster.portfolio.holdings_file.errors import some

_SAME = 1e-9
_PRICE, _DATE, _EXIT = "entry_price", "entry_date", "exit_date"


def settled(connection: Connection, name: str, holdings: Holdings, as_of: date) -> Holdings:
    """Give the holdings with what is assumed of them as it is stored already, and say so in notes.

    A cost that is not known stays 0 as long as the close of the day is not stored: `closes` knows it later.
    """
    if not any(holdings.assumed):
        return holdings
    one = next(iter(portfolios.load(connection, [name])), None)
    stored: dict[tuple[str, str], list[Lot]] = {}
    for lot in portfolios.in_shares_of(connection, one, as_of) if one else ():
        stored.setdefault((lot.asset_class, lot.symbol), []).append(lot)
    lots, new, kept = [], [], []
    for lot, assumed in zip(holdings.lots, holdings.assumed, strict=True):
        others = stored.get((lot.asset_class, lot.symbol), []) if assumed else []
        before = next((other for other in others if _is_same(lot, other, assumed)), None)
        if before:
            others.remove(before)
            kept.append(lot.symbol)
            lots.append(lot._replace(**{column: getattr(before, column) for column in assumed}))
        else:
            new.append((lot, assumed))
            lots.append(lot)
    found = closes(connection, unpriced(replace(holdings, lots=tuple(lots))), as_of)
    lots = [lot._replace(entry_price=found.get(lot, lot.entry_price)) for lot in lots]
    past = _past(holdings, [lot for others in stored.values() for lot in others])
    return replace(
        holdings,
        lots=(*lots, *past),
        rows=(*holdings.rows, *(0 for _ in past)),
        assumed=(*holdings.assumed, *(frozenset({_EXIT}) for _ in past)),
        notes=(*holdings.notes, *_notes(new, kept), *_notes_of_exits(past, holdings.lots[0].entry_date)),
    )


def _past(holdings: Holdings, others: Sequence[Lot]) -> list[Lot]:
    """Give the stored lots that are not in the file any more, as sold on the date that is assumed of its new ones.

    There are none if a date stands in the file: then it says all that was ever held. Nor does a lot stay that would
    have been held on no day: a file that is imported twice on a day corrects the first.
    """
    if not all(_DATE in assumed for assumed in holdings.assumed):
        return []
    day = holdings.lots[0].entry_date
    return [lot._replace(exit_date=lot.exit_date or day) for lot in others if lot.exit_date or lot.entry_date < day]


def unpriced(holdings: Holdings) -> list[Lot]:
    """Give the lots whose cost the file does not say and nobody knows yet."""
    both = zip(holdings.lots, holdings.assumed, strict=True)
    return [lot for lot, assumed in both if _PRICE in assumed and not lot.entry_price and lot.asset_class == "public"]


def closes(connection: Connection, lots: Sequence[Lot], as_of: date) -> dict[Lot, float]:
    """Give the stored closes of the lots' entry sessions, as far as there are any, in shares of the as-of session."""
    found: dict[Lot, float] = {}
    for day in sorted({lot.entry_date for lot in lots}):
        entered = sorted({lot.symbol for lot in lots if lot.entry_date == day})
        session = min(calendar.session_on_or_after(day), as_of)
        query = sa.select(daily_price.c.symbol, daily_price.c.close).where(
            within(daily_price.c.symbol, entered), daily_price.c.session == session, daily_price.c.close.is_not(None)
        )
        close = dict(connection.execute(query).all())
        ratio = prices.split_ratios(connection, entered, session, as_of)
        for lot in lots:
            if lot.entry_date == day and lot.symbol in close:
                found[lot] = close[lot.symbol] / ratio.get(lot.symbol, 1.0)
    return found


def _is_same(lot: Lot, other: Lot, assumed: frozenset[str]) -> bool:
    """Whether a stored lot is the lot of the file in all that the file says."""
    same = lot.exit_date == other.exit_date and math.isclose(lot.quantity, other.quantity, rel_tol=_SAME)
    same &= _PRICE in assumed or math.isclose(lot.entry_price, other.entry_price, rel_tol=_SAME)
    return same and (_DATE in assumed or lot.entry_date == other.entry_date)


def _notes(new: Sequence[tuple[Lot, frozenset[str]]], kept: Sequence[str]) -> Iterator[str]:
    undated = [lot for lot, assumed in new if _DATE in assumed]
    if undated:
        names = some([lot.symbol for lot in undated])
        yield f"No entry date in the file: {undated[0].entry_date} is assumed (or --entry-date) for {names}"
    if costless := [lot.symbol for lot, assumed in new if _PRICE in assumed]:
        yield f"No cost in the file: the close of the entry date is assumed for {some(costless)}"
    if kept:
        yield f"Imported before, and kept as it was assumed then: {some(kept)}"


def _notes_of_exits(past: Sequence[Lot], day: date) -> Iterator[str]:
    if gone := [lot.symbol for lot in past if lot.exit_date == day]:
        yield f"Not in the file as it was before: held until {day}, and kept in the portfolio's past: {some(gone)}"

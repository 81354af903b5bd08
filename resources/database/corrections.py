"""What a new answer of a source changes in the stored prices of one symbol: compared, not written.

Pure functions on numbers. Results rest on close, dividend and split; open, high, low and volume are for reading only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import median
from typing import NamedTuple

from resources.sources.base import PriceRow

#: Prices that differ by less are the same number rounded twice: vendors print 4 decimals or single precision.
SAME_PRICE = 1e-5
SAME_SPLIT = 1e-6
#: Fewer sessions cannot tell a series that was adjusted anew from one whose prices were corrected by the same factor.
_MIN_REBASED = 5
#: From so many compared sessions on, a series of which so large a share differs by so much is another one.
_MIN_COMPARED = 10
_OTHER_SHARE = 0.2
_OTHER_DIFFERENCE = 0.01


class StoredPrice(NamedTuple):
    """The numbers of a stored row; the close is None where an absence is stored."""

    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    dividend: float | None
    split: float | None


@dataclass
class Comparison:
    """What an answer changes; the rows are to be written."""

    fresh: list[PriceRow] = field(default_factory=list)  # sessions without a row
    rewritten: list[PriceRow] = field(default_factory=list)  # another close, dividend or split, or the first close
    refreshed: list[PriceRow] = field(default_factory=list)  # only open, high, low or volume are others
    closes: list[date] = field(default_factory=list)  # of the rewritten: another close, so two returns change
    splits: list[date] = field(default_factory=list)  # sessions whose split became another one, or known
    factor: float = 1.0  # the series was adjusted anew: what is stored outside the answer is multiplied by this


def compare(old: Mapping[date, StoredPrice], rows: Sequence[PriceRow]) -> Comparison:
    """Compare the rows of an answer with those stored."""
    found = Comparison(factor=_rebased(old, rows))
    for row in rows:
        before = old.get(row.session)
        if before is None:
            found.fresh.append(row)
            if row.split != 1:
                found.splits.append(row.session)
            continue
        before = _scaled(before, found.factor)
        if before.close is None or not _same(before, row):
            _rewrite(found, before, row)
        elif found.factor != 1:
            found.refreshed.append(_merged(before, row))
        else:
            # The same numbers rounded otherwise: those that results rest on stay, to the last digit.
            kept = _merged(before, row)._replace(
                close=before.close, dividend=before.dividend or 0.0, split=before.split or 1.0
            )
            if kept[1:] != before:
                found.refreshed.append(kept)
    return found


def _rewrite(found: Comparison, before: StoredPrice, row: PriceRow) -> None:
    found.rewritten.append(_merged(before, row))
    if before.close is None or not math.isclose(before.close, row.close, rel_tol=SAME_PRICE):
        found.closes.append(row.session)
    if not math.isclose(before.split or 1.0, row.split, rel_tol=SAME_SPLIT):
        found.splits.append(row.session)


def _same(before: StoredPrice, row: PriceRow) -> bool:
    return (
        math.isclose(before.close or 0.0, row.close, rel_tol=SAME_PRICE)
        and math.isclose(before.dividend or 0.0, row.dividend, rel_tol=SAME_PRICE)
        and math.isclose(before.split or 1.0, row.split, rel_tol=SAME_SPLIT)
    )


def _scaled(before: StoredPrice, factor: float) -> StoredPrice:
    if factor == 1:
        return before
    prices = ("open", "high", "low", "close", "dividend")
    return before._replace(**{name: price * factor for name in prices if (price := getattr(before, name)) is not None})


def _merged(before: StoredPrice, row: PriceRow) -> PriceRow:
    """Keep what the source no longer gives: what was paid for is not taken away."""
    kept = {
        name: getattr(before, name)
        for name in ("open", "high", "low", "volume")
        if getattr(row, name) is None and getattr(before, name) is not None
    }
    return row._replace(**kept) if kept else row


def _overlap(old: Mapping[date, StoredPrice], rows: Sequence[PriceRow]) -> list[tuple[StoredPrice, PriceRow]]:
    return [(before, row) for row in rows if (before := old.get(row.session)) and before.close is not None]


def _rebased(old: Mapping[date, StoredPrice], rows: Sequence[PriceRow]) -> float:
    """Give the factor between two adjustments of one series, 1.0 if it is the same one or other prices.

    Two adjustments have the same returns: (close + dividend) * split / close before agree over the overlap.
    """
    both = _overlap(old, rows)
    if len(both) < _MIN_REBASED:
        return 1.0
    factor = median(row.close / (before.close or math.nan) for before, row in both)
    if abs(factor - 1) <= SAME_PRICE or not _same(_scaled(both[0][0], factor), both[0][1]):
        return 1.0
    returns = zip(_returns([before for before, _ in both]), _returns([row for _, row in both]), strict=True)
    return factor if all(abs(one - other) <= SAME_PRICE for one, other in returns) else 1.0


def _returns(rows: Sequence[StoredPrice | PriceRow]) -> list[float]:
    closes = [row.close or math.nan for row in rows]
    return [
        (closes[i] + (rows[i].dividend or 0.0)) * (rows[i].split or 1.0) / closes[i - 1] for i in range(1, len(rows))
    ]


def is_other_security(old: Mapping[date, StoredPrice], rows: Sequence[PriceRow]) -> float | None:
    """Give the share of compared sessions that differ, if it is so large that the answer is of another security.

    Closes are compared up to a constant factor, as they are, with splits undone, and with dividends undone as well: a
    split or dividend that became known, and a source of adjusted closes, are no other security.
    """
    both = _overlap(old, rows)
    if len(both) < _MIN_COMPARED:
        return None
    shares = []
    for undone in (_plain, _without_splits, _without_actions):
        before, after = undone([one for one, _ in both]), undone([row for _, row in both])
        ratios = [b / a for a, b in zip(before, after, strict=True)]
        middle = median(ratios)
        shares.append(sum(abs(ratio / middle - 1) > _OTHER_DIFFERENCE for ratio in ratios) / len(ratios))
    return min(shares) if min(shares) > _OTHER_SHARE else None


def _plain(rows: Sequence[StoredPrice | PriceRow]) -> list[float]:
    return [row.close or math.nan for row in rows]


def _without_splits(rows: Sequence[StoredPrice | PriceRow]) -> list[float]:
    closes, shares = [], 1.0
    for row in rows:
        shares *= row.split or 1.0
        closes.append((row.close or math.nan) * shares)
    return closes


def _without_actions(rows: Sequence[StoredPrice | PriceRow]) -> list[float]:
    worth = [1.0]
    for gross in _returns(rows):
        worth.append(worth[-1] * gross)
    return worth

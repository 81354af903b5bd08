"""How what was read of a holdings file is shown: its lots; as data, the other rows too, with the reason."""

from datetime import date
from typing import Any

from rich.console import Console

from resources.database.portfolios import Lot
from sigma_dagster.analysis.wording import counted
from sigma_dagster.cli.tables import print_rows
from sigma_dagster.portfolio.holdings import Holdings


def holdings(out: Console, name: str, as_of: date, found: Holdings) -> None:
    """Print the lots that were read; what was left out is a message (`app`)."""
    rows = [
        (
            lot.symbol,
            str(row),
            f"{lot.quantity:,.10g}",
            _price(lot, assumed),
            str(lot.entry_date),
            str(lot.exit_date or ""),
            lot.asset_class,
            ", ".join(sorted(column.removeprefix("entry_") for column in assumed)),
        )
        for row, lot, assumed in zip(found.rows, found.lots, found.assumed, strict=True)
    ]
    header = ("symbol", "row", "quantity", "entry price", "entry date", "exit date", "class", "assumed")
    print_rows(out, header, rows)
    out.print(f"Portfolio {name} as of {as_of}: {counted(len(rows), 'lot')}. Nothing was stored.")


def holdings_json(name: str, as_of: date, found: Holdings) -> dict[str, Any]:
    """Give the same as data."""
    return {
        "portfolio": name,
        "as_of": as_of.isoformat(),
        "lots": [
            {
                "row": row,
                "symbol": lot.symbol,
                "quantity": lot.quantity,
                "entry_price": None if _is_unknown(lot, assumed) else lot.entry_price,
                "entry_date": lot.entry_date.isoformat(),
                "exit_date": lot.exit_date.isoformat() if lot.exit_date else None,
                "asset_class": lot.asset_class,
                "assumed": sorted(assumed),
            }
            for row, lot, assumed in zip(found.rows, found.lots, found.assumed, strict=True)
        ],
        "left_out": [one._asdict() for one in found.left_out],
        "ignored_columns": list(found.ignored_columns),
        "notes": list(found.notes),
    }


def _is_unknown(lot: Lot, assumed: frozenset[str]) -> bool:
    return "entry_price" in assumed and not lot.entry_price


def _price(lot: Lot, assumed: frozenset[str]) -> str:
    return "close" if _is_unknown(lot, assumed) else f"{lot.entry_price:,.10g}"

"""One way of writing a symbol, and the ways of the sources.

The canonical form has a dot before a share class: `BRK.B`. Not here: what a symbol may look like in a holdings file
(`sigma_dagster` checks that) and renamed tickers.
"""

import re

#: A root, a separator and a share class or preferred series of one or two letters; `BTC-USD` is none of these.
_CLASS = re.compile(r"([A-Z0-9]{1,6})[ ./-]([A-Z]{1,2})")


def canonical(text: str) -> str:
    """Give the one form of a symbol: capitals, a dot before the share class (`brk-b`, `BRK/B`, `BRK B`: `BRK.B`)."""
    symbol = text.strip().upper()
    found = _CLASS.fullmatch(symbol)
    return f"{found[1]}.{found[2]}" if found else symbol


def dashed(symbol: str) -> str:
    """Give the form of Yahoo and Tiingo: `BRK.B` is `BRK-B` there."""
    return symbol.replace(".", "-")

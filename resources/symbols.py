"""How a symbol is written: its one form, and how price sources write it.

Not here: whether a price source knows it (`resources.sources`).
"""

import re

#: A letter or digit, then up to 14 letters, digits, `.` or `-`.
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,14}")

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

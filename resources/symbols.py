"""How a symbol is written. Not here: whether a price source knows it (`resources.sources`)."""

import re

#: A letter or digit, then up to 14 letters, digits, `.` or `-`.
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,14}")

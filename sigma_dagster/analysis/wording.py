"""How numbers and names are written for people, on a terminal and on a page."""

#: What stands for a number that is not known; 0 is a number.
UNKNOWN = "-"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number."""
    return UNKNOWN if value is None else f"{value:z.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share."""
    return UNKNOWN if value is None else f"{value:z.{digits}%}"


def dollars(value: float | None) -> str:
    """Write an amount in US dollars."""
    return UNKNOWN if value is None else f"{'-' if value < 0 else ''}${abs(value):,.0f}"


def counted(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def words(name: str | None) -> str:
    """Write a name of ours for people."""
    return UNKNOWN if name is None else name.replace("_", " ")

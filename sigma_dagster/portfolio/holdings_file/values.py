"""What the text of a cell says: numbers, dates, symbols, classes. Each rule is worded to follow the value it refuses.

How dates and decimals are written is decided for a file as a whole, from all of its values.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date

from resources.symbols import SYMBOL, canonical

#: What stands for a value that is not known.
_MISSING = frozenset({"--", "-", "n/a", "na", "n.a."})
_NUMBER = re.compile(r"[+-]?([0-9]{1,12}(\.[0-9]{0,20})?|\.[0-9]{1,20})")
#: A number as brokers write it, with points for decimals: `$1,234.56`, `(12.5)`, `-$3`.
_MONEY = re.compile(r"(?P<open>\()?(?P<sign>[+-]?)\$?(?P<inner>[+-]?)(?P<digits>[0-9.,]+)(?P<close>\))?")
_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_DECIMALS = {".": re.compile(r"\.[0-9]{1,2}$|\.[0-9]{4,}$"), ",": re.compile(r",[0-9]{1,2}$|,[0-9]{4,}$")}
_SWAPPED = str.maketrans(".,", ",.")

#: A date may be followed by a time of the day.
_ISO = re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})")
_COMPACT = re.compile(r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})")
_MONTH_FIRST = re.compile(r"(?P<m>[0-9]{1,2})[/.-](?P<d>[0-9]{1,2})[/.-](?P<y>[0-9]{4}|[0-9]{2})")
_DAY_FIRST = re.compile(r"(?P<d>[0-9]{1,2})[/.-](?P<m>[0-9]{1,2})[/.-](?P<y>[0-9]{4}|[0-9]{2})")
_TIME = re.compile(r"[,;T ]+[0-9]{1,2}:?[0-9]{2}.*$")
_CENTURY = 2000

#: How dates are written, and how a message says so.
DATE_FORMS = {"iso": "YYYY-MM-DD", "mdy": "month/day/year", "dmy": "day/month/year"}

#: What brokers call the classes, in normal form (no case, blanks and punctuation).
_CALLED = {
    "public": "public stock stocks stk commonstock equity equities adr reit etf etfs etfsclosedendfunds etp mutualfund "
    "mutualfunds",
    "private": "private privateequity privateplacement",
    "cash": "cash cashandmoneymarket cashmoneymarket moneymarket moneymarketfund cashequivalent cashequivalents "
    "cashcashequivalents sweep bankdeposit",
    "an option": "option options opt equityandindexoptions fop futuresoptions",
    "a future": "future futures fut",
    "a bond": "bond bonds fixedincome cd cds treasury treasuries",
    "a cryptocurrency": "crypto cryptocurrency",
    "a derivative": "forex cfd cfds warrant warrants war",
}
CLASSES = {"": "public", **{word: kind for kind, words in _CALLED.items() for word in words.split()}}
#: Of a column `Type` with nothing but these: the kind of account, which says nothing of the class.
ACCOUNT_TYPES = frozenset({"", "cash", "margin", "short", "long"})

#: An option: the root, the expiry, call or put, the strike; as OCC, and as brokers write it.
_OPTION = re.compile(
    r"-?[A-Z.]{1,6}[0-9]? *[0-9]{6}[CP][0-9]+(\.[0-9]+)?"
    r"|[A-Z.]{1,6} +[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4} +\$?[0-9.]+ *[CP](ALL|UT)?"
    r"|[A-Z.]{1,6} +[0-9]{1,2}[A-Z]{3}[0-9]{2} +[0-9.]+ +[CP]"
    r"|[A-Z.]{1,6} +[A-Z]{3} +[0-9]{1,2},? +'?[0-9]{2,4} +\$?[0-9.]+ +(CALL|PUT)"
)
#: Of mutual funds a fifth letter X, of money-market funds XX; brokers mark the fund that keeps the cash by `**`.
_MONEY_MARKET = re.compile(r"[A-Z]{3}XX|[A-Z0-9]+\*\*")
_CASH_NAMES = frozenset({"cash", "usd", "usdollar", "cashcashinvestments", "cashandcashinvestments", "cashbalance"})
#: What names a security without a ticker, a bond mostly.
_CUSIP = re.compile(r"[0-9]{3}[0-9A-Z]{5}[0-9]")


class RuleError(ValueError):
    """A value that breaks the rule in the message."""


@dataclass(frozen=True)
class Form:
    """How the numbers and dates of a file are written."""

    decimals: str = "."
    dates: str = "iso"  # a key of DATE_FORMS


def is_missing(text: str) -> bool:
    """Say whether a cell says that its value is not known."""
    return text.lower() in _MISSING


# --- numbers


def decimal_sign(texts: Iterable[str], separator: str) -> str:
    """Say what stands before decimals: a comma where `;` separates columns, unless the numbers contradict."""
    if separator != ";":
        return "."
    points, commas = 0, 0
    for text in texts:
        points += bool(_DECIMALS["."].search(text)) and "," not in text
        commas += bool(_DECIMALS[","].search(text))
    return "." if points and not commas else ","


def number(text: str, decimals: str = ".") -> float:
    """Read a number as brokers write it; raises RuleError."""
    if _NUMBER.fullmatch(text) and decimals == ".":  # the common case first
        return float(text)
    found = _MONEY.fullmatch(text.replace(" ", ""))
    digits = found["digits"] if found else ""
    digits = digits.translate(_SWAPPED) if decimals == "," else digits
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    signs = found["sign"] + found["inner"] + (found["open"] or "") if found else ""
    if not found or not _NUMBER.fullmatch(digits) or len(signs) > 1 or bool(found["open"]) != bool(found["close"]):
        plain = "1234.5 or 1,234.50" if decimals == "." else "1234,5 or 1.234,50"
        rule = (
            f"is not a plain decimal such as {plain}: no exponent, no currency but $, "
            "at most 12 digits before the decimals and 20 of them"
        )
        raise RuleError(or_empty(text, rule))
    return -float(digits) if signs in ("-", "(") else float(digits)


def quantity(value: float) -> float:
    """Check a number of shares; raises RuleError."""
    if not value:
        raise RuleError("is no position; the quantity is in shares, negative for a short position")
    return value


def price(value: float) -> float:
    """Check a price; raises RuleError."""
    if value < 0:
        raise RuleError("is below 0; the price is in US dollars a share, and the sign belongs to the quantity")
    return value


# --- dates


def date_form(texts: Collection[str]) -> str | None:
    """Say how dates are written: in the form that fits most of them; None if month and day may be either."""
    fits = {form: sum(_day(text, form) is not None for text in texts) for form in DATE_FORMS}
    best = max(fits.values(), default=0)
    if best and fits["mdy"] == fits["dmy"] == best and fits["iso"] < best:
        return None
    return max(DATE_FORMS, key=lambda form: fits[form])


def day(text: str, form: str) -> date:
    """Read a date in one of DATE_FORMS; one in ISO form is never misread. Raises RuleError."""
    found = _day(text, form) or _day(text, "iso")
    if found is None:
        example = {"iso": "2021-06-30", "mdy": "6/30/2021", "dmy": "30/6/2021"}[form]
        raise RuleError(or_empty(text, f"is not a date {DATE_FORMS[form]}, such as {example}"))
    return found


def _day(text: str, form: str) -> date | None:
    plain = _TIME.sub("", text)
    if form == "iso":
        found = _ISO.fullmatch(plain) or _COMPACT.fullmatch(plain)
    else:
        found = (_MONTH_FIRST if form == "mdy" else _DAY_FIRST).fullmatch(plain)
    if not found:
        return None
    year = int(found["y"]) + (_CENTURY if len(found["y"]) == 2 else 0)
    try:
        return date(year, int(found["m"]), int(found["d"]))
    except ValueError:
        return None  # the form of a date, and no such day


# --- names


def symbol(text: str) -> str:
    """Give the one form of a symbol; raises RuleError."""
    # Not upper-cased outside of ASCII: a few letters become ASCII ones then.
    found = canonical(text) if text.isascii() else text
    if not SYMBOL.fullmatch(found):
        raise RuleError(or_empty(text, "is not a symbol: a letter or digit, then up to 14 letters, digits, '.' or '-'"))
    return found


def asset_class(text: str, normal: Callable[[str], str]) -> str:
    """Give the class: public, private or cash, or what it is instead (`an option`); raises RuleError."""
    found = CLASSES.get(normal(text))
    if found is None:
        raise RuleError("is not an asset class; write public or private, cash, or nothing for public")
    return found


def is_option(name: str) -> bool:
    """Say whether a name is an option's; no stock has one like it."""
    return bool(_OPTION.fullmatch(name.strip().upper()))


def is_money_market(name: str) -> bool:
    """Say whether a name is a money-market fund's."""
    return bool(_MONEY_MARKET.fullmatch(name.upper()))


def is_cash_name(plain: str) -> bool:
    """Say whether a name in normal form is a broker's for cash; two of them are tickers as well."""
    return plain in _CASH_NAMES


def is_cusip(name: str) -> bool:
    """Say whether a name is a CUSIP number."""
    return bool(_CUSIP.fullmatch(name.upper()))


def or_empty(text: str, rule: str) -> str:
    """Give the rule, or that nothing stands there."""
    return rule if text else "is empty; every lot needs one"

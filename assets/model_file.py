"""Which factor model SIGMA_FACTOR_MODEL names: a built-in one, or a TOML file that a user wrote.

Here belong the format of that file, its rules and their wording. The models and their factors: `assets.factor_models`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from assets.factor_models import BUILT_IN, CATALOGUE, METHODS, SAMPLE_5, US_6, Factor, FactorModel
from assets.numerics.constants import BETA_WINDOW, LOOKBACK_RETURNS, MIN_OBS, MIN_OBS_BEYOND_FACTORS
from resources.symbols import SYMBOL, canonical

MAX_BYTES = 64 * 1024
VALUE_SHOWN = 60

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class ModelFileError(ValueError):
    """SIGMA_FACTOR_MODEL names no model, or a file that breaks a rule: the message names file, key, value and rule."""


def choose(setting: str, sources: Sequence[str]) -> FactorModel:
    """Give the factor model of the setting; if it is empty, the built-in one that suits the price sources.

    Raises ModelFileError.
    """
    if not setting:
        return SAMPLE_5 if tuple(sources) == ("sample",) else US_6
    return BUILT_IN.get(setting) or read(setting)


def read(path: str) -> FactorModel:
    """Read a factor model from a TOML file; raises ModelFileError."""
    file = _File(path)
    try:
        with Path(path).expanduser().open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the path; RuntimeError: ~nobody
        built_in = ", ".join(BUILT_IN)
        file.refuse(f"is no built-in model ({built_in}) nor a file that can be read: {_why(error)}")
    if len(content) > MAX_BYTES:
        file.refuse("is larger than 64 KB: a factor model is a TOML file of a few lines")
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        file.refuse(f"is not TOML, where each key and each factor stands once: {error}")
    return _model(file, table)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True)
class _File:
    """What messages say first."""

    path: str

    def refuse(self, rule: str) -> NoReturn:
        """Refuse the file as a whole."""
        raise ModelFileError(f"SIGMA_FACTOR_MODEL={self.path} {rule}")

    def refuse_value(self, key: str, value: object, rule: str) -> NoReturn:
        """Refuse a value; None is a key that is missing."""
        shown = repr(value)
        shown = shown if len(shown) <= VALUE_SHOWN else f"{shown[:VALUE_SHOWN]}..."
        found = f"{key} is missing" if value is None else f"{key} = {shown}"
        raise ModelFileError(f"SIGMA_FACTOR_MODEL={self.path}, {found}: {rule}")

    def check_keys(self, where: str, table: Mapping[str, object], known: Sequence[str]) -> None:
        """Refuse a key that no rule knows: a misspelt one would silently mean the default."""
        for key, value in table.items():
            if key not in known:
                self.refuse_value(where + key, value, f"no such key; the keys here are {', '.join(known)}")


def _model(file: _File, table: Mapping[str, Any]) -> FactorModel:
    file.check_keys("", table, ("name", "method", "window", "min_obs", "factors"))
    name, method = table.get("name"), table.get("method", METHODS[0])
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        file.refuse_value("name", name, "a letter or digit is needed, then up to 39 letters, digits, '.', '_' or '-'")
    if method not in METHODS:
        file.refuse_value("method", method, f"one of {', '.join(METHODS)} is needed")
    factors = _factors(file, table.get("factors"))
    if method != "ols" and factors[0].name != "market":
        file.refuse_value("method", method, "needs the factor market; add it, or use method ols")
    least = len(factors) + MIN_OBS_BEYOND_FACTORS
    window = _sessions(file, table, "window", BETA_WINDOW, (least, LOOKBACK_RETURNS))
    min_obs = _sessions(file, table, "min_obs", MIN_OBS, (least, window))
    return FactorModel(name, factors, method, window, min_obs)


def _sessions(file: _File, table: Mapping[str, Any], key: str, default: int, limits: tuple[int, int]) -> int:
    """Read a number of sessions; the limits are what the regression needs, and the prices or sessions there are."""
    value, (low, high) = table.get(key, default), limits
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        most = "the sessions of prices kept before each one" if key == "window" else "the window"
        rule = f"a whole number of sessions is needed, from {low} (10 more than factors) to {high} ({most})"
        file.refuse_value(key, value, rule)
    return value


def _factors(file: _File, table: object) -> tuple[Factor, ...]:
    """Read the factors, in the order of the catalogue: the market is first, whatever the order in the file."""
    if not isinstance(table, dict) or not table:
        file.refuse_value("factors", table, 'a table is needed, such as market = { proxy = "SPY" }')
    for name, value in table.items():
        if name not in CATALOGUE:
            file.refuse_value(f"factors.{name}", value, f"no such factor; the catalogue has {', '.join(CATALOGUE)}")
    factors = tuple(_factor(file, name, table[name]) for name in CATALOGUE if name in table)
    seen: dict[tuple[str, str | None], str] = {}
    for factor in factors:
        twin = seen.setdefault((factor.proxy, factor.minus), factor.name)
        if twin != factor.name:
            file.refuse_value(f"factors.{factor.name}", table[factor.name], f"is the same series as {twin}; drop one")
    return factors


def _factor(file: _File, name: str, table: object) -> Factor:
    """Read one factor; without a proxy it is the catalogue's."""
    if not isinstance(table, dict):
        file.refuse_value(f"factors.{name}", table, 'needed is { proxy = "SPY" } or { proxy = "VTV", minus = "VUG" }')
    file.check_keys(f"factors.{name}.", table, ("proxy", "minus"))
    if not table:
        return CATALOGUE[name]
    proxy = _symbol(file, f"factors.{name}.proxy", table.get("proxy"))
    minus = _symbol(file, f"factors.{name}.minus", table["minus"]) if "minus" in table else None
    if minus == proxy:
        file.refuse_value(f"factors.{name}.minus", minus, "is the proxy itself; the factor would not move")
    return Factor(name, proxy, minus)


def _symbol(file: _File, key: str, value: object) -> str:
    if not isinstance(value, str) or not SYMBOL.fullmatch(value):
        rule = "a symbol is needed: a letter or digit, then up to 14 letters, digits, '.' or '-'"
        file.refuse_value(key, value, rule)
    return canonical(value)

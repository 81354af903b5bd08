"""The charts of a portfolio's page, as inline SVG: drawn by matplotlib, in colours that suit a light and a dark page.

Series have the Okabe-Ito colours and line styles of their own, so that they can be told apart without colours. Axes
and words take the colour of the text around them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from assets.numerics.arrays import FloatArray

Days = NDArray[np.datetime64]
"""(D,) sessions, ascending."""
_INK = "#010203"
"""Stands for the colour of the page's text until the SVG is written."""
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
_LINES = ((_INK, "-"), (BLUE, "--"), (VERMILION, "-."), (GREEN, ":"))
_STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # words stay words: searched, read aloud, small
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "grid.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
}
_WIDTH = 8.0
_PANELS = 2
"""Side by side."""


@contextmanager
def _drawing(salt: str) -> Iterator[None]:
    """Draw in our style; the same chart is the same text every time, and no two charts of a page share an id."""
    style: Any = {**_STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        yield


def _svg(figure: Figure, label: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    opening = f'<svg role="img" aria-label="{label}" '
    return svg[svg.index("<svg") :].replace("<svg ", opening, 1).replace(_INK, "currentColor")


def _dates(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def lines(name: str, days: Days, series: Mapping[str, FloatArray], unit: str, *, below_zero: bool = False) -> str:
    """Draw rates (fractions) over sessions, a line each."""
    with _drawing(name):
        figure = Figure(figsize=(_WIDTH, 3.0))
        axes = figure.subplots()
        for (label, values), (colour, style) in zip(series.items(), _LINES, strict=False):
            axes.plot(days, values, color=colour, linestyle=style, label=label)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(*((None, 0.0) if below_zero else (0.0, None)))
        _dates(axes)
        if len(series) > 1:
            figure.legend(ncols=2, loc="outside upper left")
        return _svg(figure, name)


def panels(name: str, days: Days, series: Mapping[str, FloatArray], errors: Mapping[str, FloatArray], unit: str) -> str:
    """Draw numbers over sessions, a panel each on one scale, with a band of two standard errors where there are any."""
    with _drawing(name):
        rows = -(-len(series) // _PANELS)
        figure = Figure(figsize=(_WIDTH, 1.6 * rows + 0.3))
        grid = figure.subplots(rows, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (label, values) in zip(grid, series.items(), strict=False):
            if label in errors:
                band = 2.0 * errors[label]
                axes.fill_between(days, values - band, values + band, color=BLUE, alpha=0.25, linewidth=0)
            axes.plot(days, values, color=BLUE)
            axes.axhline(0.0, color=_INK, linewidth=0.6)
            axes.set_title(label, loc="left", fontsize=10)
            axes.tick_params(labelbottom=True)
            _dates(axes)
        for axes in grid[len(series) :]:
            axes.remove()
        for axes in grid[: len(series) : _PANELS]:
            axes.set_ylabel(unit)
        return _svg(figure, name)


def losses(name: str, days: Days, returns: FloatArray, at_risk: Mapping[str, FloatArray]) -> str:
    """Draw each session's return, what was said the session before could be lost, and where more was lost."""
    with _drawing(name):
        figure = Figure(figsize=(_WIDTH, 3.0))
        axes = figure.subplots()
        axes.vlines(days, 0.0, returns, color=_INK, alpha=0.45, linewidth=0.8)
        for (label, said), (colour, style, mark) in zip(
            at_risk.items(), ((ORANGE, "--", "o"), (VERMILION, "-", "s")), strict=True
        ):
            limit = -np.concatenate([[np.nan], said[:-1]])
            axes.plot(days, limit, color=colour, linestyle=style, label=label)
            beyond = returns < limit
            axes.plot(days[beyond], returns[beyond], mark, color=colour, markersize=5, fillstyle="none")
        axes.set_ylabel("return of a session")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.axhline(0.0, color=_INK, linewidth=0.6)
        _dates(axes)
        figure.legend(ncols=2, loc="outside upper left")
        return _svg(figure, name)


def bars(name: str, values: Mapping[str, float], unit: str, *, percent: bool = True) -> str:
    """Draw a bar for each value, the first on top; those below zero in another colour and hatched."""
    with _drawing(name):
        figure = Figure(figsize=(_WIDTH, 0.26 * len(values) + 0.7))
        axes = figure.subplots()
        numbers = list(values.values())
        drawn = axes.barh(list(values), numbers, color=[BLUE if one >= 0 else VERMILION for one in numbers])
        for bar, one in zip(drawn, numbers, strict=True):
            bar.set_hatch("" if one >= 0 else "///")
        axes.invert_yaxis()
        axes.axvline(0.0, color=_INK, linewidth=0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0) if percent else FuncFormatter(_dollars))
        return _svg(figure, name)


def _dollars(value: float, _place: int) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,.0f}"

"""The charts of a portfolio's page: drawn by matplotlib, in colours that suit a light and a dark page.

Series have the Okabe-Ito colours and line styles of their own, so that they can be told apart without colours. Axes
and words take the colour of the text around them.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from threading import Lock
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num, num2date
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from assets.numerics.arrays import FloatArray
from sigma_dagster.analysis.wording import percent

Days = NDArray[np.datetime64]
"""(D,) sessions, ascending."""
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
_TEXT = "#010203"
"""Stands for the colour of the page's text until the SVG is written."""
_GREY = "#808080"
"""Of words and axes where nothing is known of the page."""
_STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # words stay words: searched, read aloud, small
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
}
_INKED = ("grid.color", "axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
_UNUSED_ID = re.compile(r'<g id="[^"]*"')
"""Every drawing numbers its groups from 1; nothing refers to them."""
_STYLING = Lock()
"""Matplotlib has one style for all threads of a process, and the UI's server draws in several."""
_DPI = 70
_WIDTH = 8.0
_PANELS = 2
"""Side by side."""


@dataclass(frozen=True)
class Chart:
    """A drawing, made when it is written."""

    name: str
    height: float  # inches
    plot: Callable[[Figure, str], None]  # with the colour of words and axes

    def svg(self) -> str:
        """Write it for a page of ours: an `svg` element whose words and axes have the colour of the text around it."""
        text = StringIO()
        self._save(text, "svg", _TEXT, metadata={"Date": None, "Creator": None})
        svg = _UNUSED_ID.sub("<g", text.getvalue())
        opening = f'<svg role="img" aria-label="{self.name}" '
        return svg[svg.index("<svg") :].replace("<svg ", opening, 1).replace(_TEXT, "currentColor")

    def png(self) -> bytes:
        """Write it for a page of somebody else's."""
        image = BytesIO()
        self._save(image, "png", _GREY)
        return image.getvalue()

    def _save(self, target: StringIO | BytesIO, form: str, ink: str, **options: Any) -> None:
        # The same chart is the same text every time, and no two charts of a page share an id.
        style: Any = {**_STYLE, **dict.fromkeys(_INKED, ink), "svg.hashsalt": self.name}
        with _STYLING, mpl.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # words stay words: the reader's fonts write them
            figure = Figure(figsize=(_WIDTH, self.height), dpi=_DPI)
            self.plot(figure, ink)
            figure.savefig(target, format=form, transparent=True, **options)


def _dates(axes: Axes, days: Days) -> None:
    # Found once: a locator of its own looks for dates at every step of the layout.
    found = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    locator = FixedLocator(found.tick_values(*num2date(date2num(days[[0, -1]]))))  # type: ignore[no-untyped-call]
    axes.set_xlim(days[0], days[-1])
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def lines(name: str, days: Days, series: Mapping[str, FloatArray], unit: str, *, below_zero: bool = False) -> Chart:
    """Draw rates (fractions) over sessions, a line each, at most four."""

    def plot(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        looks = ((ink, "-"), (BLUE, "--"), (VERMILION, "-."), (GREEN, ":"))
        for (label, values), (colour, style) in zip(series.items(), looks, strict=False):
            axes.plot(days, values, color=colour, linestyle=style, label=label)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(*((None, 0.0) if below_zero else (0.0, None)))
        _dates(axes, days)
        if len(series) > 1:
            figure.legend(ncols=2, loc="outside upper left")

    return Chart(name, 3.0, plot)


def panels(
    name: str, days: Days, series: Mapping[str, FloatArray], errors: Mapping[str, FloatArray], unit: str
) -> Chart:
    """Draw numbers over sessions, a panel each on one scale, with a band of two standard errors where there are any."""
    rows = -(-len(series) // _PANELS)
    height = 1.6 * rows + 0.3
    places = {
        "left": 0.08,
        "right": 0.99,
        "top": 1 - 0.3 / height,
        "bottom": 0.3 / height,
        "wspace": 0.06,
        "hspace": 0.3,
    }

    def plot(figure: Figure, ink: str) -> None:
        # A layout that measures every word takes half of the page's time; here all panels are alike.
        figure.set_layout_engine("none")
        grid = figure.subplots(rows, _PANELS, sharex=True, sharey=True, squeeze=False, gridspec_kw=places).ravel()
        for axes, (label, values) in zip(grid, series.items(), strict=False):
            if label in errors:
                band = 2.0 * errors[label]
                axes.fill_between(days, values - band, values + band, color=BLUE, alpha=0.25, linewidth=0)
            axes.plot(days, values, color=BLUE)
            axes.axhline(0.0, color=ink, linewidth=0.6)
            axes.set_title(label, loc="left", fontsize=10)
            _dates(axes, days)
        for axes in grid[-_PANELS:] if len(series) == len(grid) else grid[len(series) - _PANELS : len(series)]:
            axes.tick_params(labelbottom=True)
        for axes in grid[len(series) :]:
            axes.remove()
        for axes in grid[: len(series) : _PANELS]:
            axes.set_ylabel(unit)

    return Chart(name, height, plot)


def losses(name: str, days: Days, returns: FloatArray, at_risk: Mapping[str, FloatArray]) -> Chart:
    """Draw each session's return, what was said the session before could be lost, and where more was lost."""

    def plot(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        axes.vlines(days, 0.0, returns, color=ink, alpha=0.45, linewidth=0.8)
        looks = ((ORANGE, "--", "o"), (VERMILION, "-", "s"))
        for (label, said), (colour, style, mark) in zip(at_risk.items(), looks, strict=True):
            limit = -np.concatenate([[np.nan], said[:-1]])
            axes.plot(days, limit, color=colour, linestyle=style, label=label)
            beyond = returns < limit
            axes.plot(days[beyond], returns[beyond], mark, color=colour, markersize=5, fillstyle="none")
        axes.set_ylabel("return of a session")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.axhline(0.0, color=ink, linewidth=0.6)
        _dates(axes, days)
        figure.legend(ncols=2, loc="outside upper left")

    return Chart(name, 3.2, plot)


def bars(name: str, values: Mapping[str, float], unit: str, write: Callable[[float], str] = percent) -> Chart:
    """Draw a bar for each value, the first on top; those below zero in another colour and hatched."""

    def plot(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        numbers = list(values.values())
        drawn = axes.barh(list(values), numbers, color=[BLUE if one >= 0 else VERMILION for one in numbers])
        for bar, one in zip(drawn, numbers, strict=True):
            bar.set_hatch("" if one >= 0 else "///")
        axes.invert_yaxis()
        axes.axvline(0.0, color=ink, linewidth=0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: write(value)))

    return Chart(name, 0.26 * len(values) + 0.7, plot)

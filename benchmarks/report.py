"""What a run of the benchmarks leaves: progress, the table, the goals, and ``results.json``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row

RESULTS = Path(__file__).with_name("results.json")
COLUMNS = ("case", "size", "method", "CPU", "wall", "CPU / ours", "KB", "")

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Goal:
    """A bound on a method of ours: on its own figure, or on its ratio to another method's of the same run."""

    case: str
    size: str
    bound: float
    against: str = ""
    """The other method; empty: the bound is on ours alone."""
    measure: str = "cpu_seconds"
    method: str = "ours"
    slower: bool = False
    """The other takes less: ours may take at most ``bound`` times as long. Else the other takes at least that."""

    def judge(self, rows: Sequence[Row]) -> str | None:
        """Say in a line whether the goal is met; None where it was not measured."""
        found = {
            row.method: getattr(row, self.measure) for row in rows if (row.case, row.size) == (self.case, self.size)
        }
        if self.method not in found or (self.against and self.against not in found):
            return None
        own, other = found[self.method], found.get(self.against, 1.0)
        value = own / other if self.slower or not self.against else other / own
        met = value <= self.bound if self.slower or not self.against else value >= self.bound
        unit = {"cpu_seconds": " s CPU", "wall_seconds": " s", "kb": " KB a partition"}[self.measure]
        if not self.against:
            what = f"at most {self.bound:g}{unit}"
        elif self.slower:
            what = f"at most {self.bound:g} times {self.against}"
        else:
            what = f"at least {self.bound:g}x {self.against}"
        return f"{'met   ' if met else 'MISSED'}  {self.case} {self.size}, {self.method}: {what}; measured {value:.3g}"


GOALS = (
    Goal("ols", "500x1250", 300, "rolling_ols"),
    Goal("ols", "500x1250", 8, "polars_ols"),
    Goal("ols", "5000x1", 0.020),
    Goal("ols", "500x1250", 2.5, "ours", method="ours_with_gaps", slower=True),
    Goal("ols", "5000x252", 6, "floor", slower=True),
    Goal("har", "500x1500", 0.050),
    Goal("har", "500x1500", 4, "regressions", method="ours_all", slower=True),
    Goal("write", "500x365", 1.1, "executemany", slower=True),
    Goal("portfolio", "500x30x365", 2.0),
    Goal("partitions_sqlite", "20x365x2", 80, "stock", "wall_seconds"),
    Goal("partitions_sqlite", "20x365x2", 30, "stock", "wall_seconds", "ui"),
    Goal("partitions_sqlite", "20x365x2", 14_600 / 2000, measure="wall_seconds"),
    Goal("partitions_sqlite", "20x365x2", 4, measure="kb"),
    Goal("partitions_postgres", "20x365x2", 60, "stock", "wall_seconds"),
    Goal("partitions_postgres", "20x365x2", 14_600 / 1000, measure="wall_seconds"),
    Goal("ui_statistics", "500x750", 1, measure="wall_seconds", method="warm"),
)


def progress(row: Row) -> None:
    """Say that a row was measured."""
    _err.print(f"{row.case} {row.size} {row.method}: {_seconds(row.cpu_seconds)} s CPU")


def table(rows: Sequence[Row]) -> None:
    """Print the rows; the CPU time of each method is also given in multiples of ours."""
    ours = {(row.case, row.size): row.cpu_seconds for row in rows if row.method == "ours"}
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("case", "size", "method", "") else "right")
    for row in rows:
        ratio = row.cpu_seconds / ours[row.case, row.size] if (row.case, row.size) in ours else None
        times = [_seconds(row.cpu_seconds), _seconds(row.wall_seconds), f"{ratio:,.3g}" if ratio else ""]
        kb = "" if row.kb is None else f"{row.kb:.1f}"
        shown.add_row(row.case, row.size, row.method, *times, kb, "sampled" if row.sampled else "")
    _out.print(shown)


def goals(rows: Sequence[Row]) -> None:
    """Print which goals were met, of those that the rows can judge."""
    for goal in GOALS:
        if line := goal.judge(rows):
            _out.print(line)


def write(rows: Sequence[Row], path: Path = RESULTS) -> None:
    """Put the rows of the measured cases in the place of those in the file."""
    kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    measured = {row.case for row in rows}
    new = [{name: value for name, value in asdict(row).items() if value is not None} for row in rows]
    lines = [json.dumps(row) for row in [*(row for row in kept if row["case"] not in measured), *new]]
    path.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")


def _seconds(value: float) -> str:
    return f"{value:,.4f}" if value < 10 else f"{value:,.1f}"

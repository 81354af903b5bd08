"""Run the benchmarks: ``python -m benchmarks`` for all cases, ``python -m benchmarks ols har`` for some of them.

Prints a table and the goals, and writes ``benchmarks/results.json``: the rows of the cases that ran are replaced, those
of the others are kept. What is compared with what stands in the modules of the cases.
"""

import argparse
import importlib
import os

#: Read by the libraries when they are imported: before the cases are.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")

#: The module of each case, in the order of the run: what imports Dagster comes last.
CASES = {
    "ols": "benchmarks.regressions",
    "ridge": "benchmarks.regressions",
    "har": "benchmarks.forecasts",
    "portfolio": "benchmarks.portfolios",
    "write": "benchmarks.tables",
    "missing": "benchmarks.tables",
    "onboarding": "benchmarks.onboarding",
    "partitions_sqlite": "benchmarks.partitions",
    "partitions_postgres": "benchmarks.partitions",
    "ui_statistics": "benchmarks.ui",
}


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ours against others.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"unknown case {unknown[0]}: choose from {', '.join(CASES)}")
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))

    from benchmarks import report

    rows = []
    for name in chosen:
        case = getattr(importlib.import_module(CASES[name]), name)
        for row in case():
            report.progress(row)
            rows.append(row)
    report.write(rows)
    report.table(rows)
    report.goals(rows)


if __name__ == "__main__":
    main()

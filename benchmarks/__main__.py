"""Run every side-by-side measurement and write the table: `make bench`.

    python -m benchmarks [--quick] [--out benchmarks/table.md]

About ten minutes on two idle cores. `--quick` takes a few, to see that all of it runs: its ratios are rough, and its table goes
to `_build/bench` unless told otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import growth, metrics, study, table, training


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs: little work, few turns")
    parser.add_argument("--out", type=Path, help="file of the table (default: benchmarks/table.md)")
    options = parser.parse_args()
    quick = options.quick
    out = options.out or (Path("_build/bench/table.md") if quick else table.FILE)
    machine = table.about(table.load(), "2 in training and evaluation, 1 elsewhere")
    if quick:
        machine.append("Made with `--quick`: little work and few turns, so the ratios are rough.")
    parts = (
        lambda: training.measure(repeats=2 if quick else 5),
        lambda: metrics.measure(repeats=2 if quick else 3, judging=not quick),
        lambda: study.measure(quick),
        lambda: growth.measure(quick),
    )
    rows: list[table.Row] = []
    for part in parts:
        for row in part():
            rows.append(row)
            # what is measured stays, also if what follows fails
            table.write(out, rows, machine)
    print(f"\ntable: {out}")


if __name__ == "__main__":
    main()

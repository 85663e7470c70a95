"""Run a small study from scratch and say where the time of its workers went, as shares of wall time × workers.

    python -m benchmarks.study [--quick]

The study is `smoke` with one seed, more images and longer trainings. Training and measuring are what its records say.
The rest is overhead: before the first training began and after the last record was written (Python starts, workers
start and stop), and in between (the scheduler, the store, tickets that are read, workers with nothing to do).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.table import Row
from lotterylib.machine.devices import processors
from lotterylib.study import load_profile


def profile(quick: bool) -> dict[str, object]:
    """Return the study's profile: every pruner and metric of `smoke`."""
    smoke = load_profile("smoke").model_dump(mode="json", exclude_defaults=True)
    model = {**smoke["models"][0], "width": 0.5}
    dataset, recipe = {"name": "fashion-mini", "limit": 500}, {**smoke["recipe"], "epochs": 6}
    full = smoke | {"name": "bench", "seeds": [0], "dataset": dataset, "models": [model], "recipe": recipe}
    return smoke | {"name": "bench", "seeds": [0], "pruners": ["random"], "rounds": [1]} if quick else full


def split(store: Path, began: float, ended: float, workers: int) -> dict[str, float]:
    """Return the seconds of all workers by what they went to.

    Args:
        store: Of a finished study.
        began: When its run began, as files' times say it; ``ended`` likewise.
    """
    done = {
        part: [
            (p.stat().st_mtime, json.loads(p.read_text())["seconds"]) for p in (store / part).glob("*.json")
        ]
        for part in ("cells", "records")
    }
    first = min(written - seconds for written, seconds in done["cells"])
    last = max(written for written, _ in done["records"])
    spent = {
        "training": sum(seconds for _, seconds in done["cells"]),
        "measuring": sum(seconds for _, seconds in done["records"]),
        "overhead: start and end": workers * (first - began + ended - last),
    }
    return spent | {"overhead: in between": workers * (ended - began) - sum(spent.values())}


def measure(quick: bool = False) -> list[Row]:
    """Run the study, print the shares and return them."""
    workers = processors()
    with tempfile.TemporaryDirectory() as folder:
        path, store = Path(folder) / "bench.yaml", Path(folder) / "store"
        path.write_text(yaml.safe_dump(profile(quick)))
        lottery = [sys.executable, "-m", "lotterylib.cli", "run", "--profile", path, "--store", store]
        began = time.time()
        subprocess.run(
            [*lottery, "--workers", str(workers), "--quiet"], check=True, stdout=subprocess.DEVNULL
        )
        ended = time.time()
        spent = split(store, began, ended, workers)
        tickets = len(list((store / "tickets").iterdir()))
    whole = workers * (ended - began)
    print(f"\na study of {tickets} tickets from scratch: {ended - began:.0f} s with {workers} worker(s)")
    for what, seconds in spent.items():
        print(f"{what:40}{seconds:>9.1f} s {seconds / whole:>6.0%}", flush=True)
    beside = f"{whole:.0f} s: {ended - began:.0f} s of {workers} worker(s)"
    return [
        Row(f"a study of {tickets} tickets: {what}", f"{seconds:.1f} s", beside, [seconds / whole], "of it")
        for what, seconds in spent.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two tickets alone")
    measure(parser.parse_args().quick)


if __name__ == "__main__":
    main()

"""What nobody could try before there was a GPU, in ten minutes: `make gpu`.

    python -m benchmarks.gpu [--seconds 600] [--only numbers,notebooks] [--out _build/gpu]

Each check is one row of a table (``gpu.md`` in the folder): what it found, or why it was skipped. A check that fails does not
keep the others from running; the exit code says whether one did.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path

import torch
from PIL import Image

from lotterylib import Recipe, datasets, metrics, models, results, study, train
from lotterylib.datasets import Dataset, LazyImages
from lotterylib.errors import SettingError, one_line
from lotterylib.machine.devices import describe_device, half_precision, processors
from lotterylib.machine.mps import PIPES, mps
from lotterylib.metrics import Subject
from lotterylib.metrics.generalization import accuracy
from lotterylib.study.estimate import images_per_second, noise
from lotterylib.study.profile import ModelSpec
from lotterylib.training import Launch, launching, predict
from lotterylib.training.batches import training_batches
from lotterylib.training.decoders import decoder
from lotterylib.training.state import state_of

ROOT = Path(__file__).resolve().parents[1]


class Skipped(Exception):
    """A check that cannot be made here, and why."""


@dataclass
class Visit:
    """A machine to check: its device, the folder for what is made, how long there is, and how much to do (tests do little)."""

    device: str = "cuda"
    out: Path = Path("_build/gpu")
    seconds: float = 600.0
    images: int = 2000
    epochs: int = 3
    began: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.perf_counter() - self.began)

    def data(self) -> Dataset:
        """Return the images that come with the package."""
        return datasets.load("fashion-mini", limit=self.images)

    def recipe(self, **changes: object) -> Recipe:
        """Return a short recipe, in float32 with all its bits unless told otherwise."""
        short = dict(
            epochs=self.epochs,
            batch_size=min(128, self.images),
            warmup=0,
            rewind=0,
            precision="float32",
            tf32=False,
        )
        return Recipe(**short | changes)

    def trained(
        self, data: Dataset, device: str | None = None, **changes: object
    ) -> tuple[torch.nn.Module, list[float], float]:
        """Return a network after a short training, its losses, and the images per second of its fastest epoch: the first
        chooses algorithms, compiles or captures."""
        model = models.build("resnet20s", data.classes, data.channels, width=0.5)
        done = train(model, data, self.recipe(**changes), device=device or self.device, progress=False)
        return model, done.losses, done.images / len(done.losses) / max(min(done.epoch_seconds), 1e-9)


def against_processor(visit: Visit) -> str:
    """The first epochs are those of the processor, up to rounding."""
    data = visit.data()
    here, there = (visit.trained(data, device, epochs=1)[1][0] for device in ("cpu", visit.device))
    assert abs(here - there) < 0.02, f"loss {there:.4f}, the processor's is {here:.4f}"
    return f"loss of an epoch {there:.4f}, the processor's {here:.4f}"


def equal_runs(visit: Visit) -> str:
    """Deterministic runs are equal to the bit; what others differ by."""
    data, said = visit.data(), []
    for exact in (True, False):
        first, second = (state_of(visit.trained(data, deterministic=exact)[0]) for _ in range(2))
        most = max((first[n].double() - second[n].double()).abs().max().item() for n in first)
        assert not exact or most == 0, f"deterministic runs differ by {most:.2g}"
        said.append(f"{'deterministic' if exact else 'others'}: largest difference {most:.2g}")
    return "; ".join(said)


def precisions(visit: Visit) -> str:
    """Half the bits learn as well, and faster."""
    data, found = visit.data(), {}
    ways = {"float32": {}, "TF32": {"tf32": True}, "float16": {"precision": "float16"}}
    if half_precision(torch.device(visit.device)) == "bfloat16":
        ways["bfloat16"] = {"precision": "bfloat16"}
    for name, changes in ways.items():
        model, _, speed = visit.trained(data, **changes)
        right = accuracy(predict(model, data.test[0], device=visit.device), data.test[1])
        found[name] = right, speed
    assert all(abs(right - found["float32"][0]) < 0.1 for right, _ in found.values()), found
    return "; ".join(f"{name} {right:.1%} at {speed:,.0f} images/s" for name, (right, speed) in found.items())


def waits(visit: Visit) -> str:
    """Training waits for the device once an epoch, not in every step."""
    data, said = visit.data(), []
    for batch_size in (64, 16):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                visit.trained(data, batch_size=min(batch_size, visit.images), epochs=1)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        said.append(sum("synchroniz" in str(w.message) for w in caught))
    assert said[1] <= said[0] + 2, f"{said} waits with 64 and 16 images in a batch"
    return f"{said[0]} and {said[1]} waits in an epoch of batches of 64 and 16"


def compiled(visit: Visit) -> str:
    """A compiled network learns; its speed after its first epoch."""
    data = visit.data()
    speeds = [visit.trained(data, compile=c, precision="bfloat16")[2] for c in (False, True)]
    return f"{speeds[0]:,.0f} images/s, compiled {speeds[1]:,.0f}"


def captured(visit: Visit) -> str:
    """A step in a CUDA graph is the step, launched at once."""
    data, size, half = (
        visit.data(),
        min(128, max(1, visit.images // 5)),
        half_precision(torch.device(visit.device)),
    )
    losses, speeds = [], []
    for launch in (Launch(), Launch(cuda_graphs=True)):
        with launching(launch):
            losses.append(visit.trained(data, batch_size=size, deterministic=True)[1])
            speeds.append(visit.trained(data, batch_size=size, precision=half)[2])
    most = max(abs(a - b) for a, b in zip(*losses, strict=True))
    assert most < 0.01, f"losses differ by up to {most:.2g}: {losses}"
    return (
        f"losses differ by up to {most:.2g}; {half} at {speeds[0]:,.0f} images/s, captured {speeds[1]:,.0f}"
    )


def views(visit: Visit, workers: int | None = None) -> str:
    """Photographs cut on the device are those cut by processors, up to rounding; how fast each goes."""
    photographs, device = (
        _photographs(visit.out / "photographs", min(512, visit.images)),
        torch.device(visit.device),
    )
    recipe, made, speeds = visit.recipe(crop="resized", batch_size=min(64, len(photographs))), [], []
    split = photographs, torch.zeros(len(photographs), dtype=torch.int64)
    steps = range(recipe.steps_per_epoch(len(photographs)))
    for there in (None, "torchvision"):
        began, first, count = time.perf_counter(), None, 0
        for images, _ in training_batches(
            split, recipe, 0, steps, device, workers=workers, views_on_device=there
        ):
            first, count = images.cpu() if first is None else first, count + len(images)
        torch.cuda.synchronize()
        speeds.append(count / (time.perf_counter() - began))
        made.append(first)
    apart = (made[0] - made[1]).abs().mean().item()
    assert apart < 0.02, f"pixels differ by {apart:.3f} on average"
    by = "nvJPEG" if decoder("torchvision").works_on(device) else "the processors"
    return (
        f"pixels differ by {apart:.2g} on average; {speeds[0]:,.0f} images/s cut by {processors()} processors, "
        f"{speeds[1]:,.0f} on the device, decoded by {by}"
    )


def attacks_and_curvature(visit: Visit, settings: dict[str, dict[str, int]] | None = None) -> str:
    """Metrics that differentiate give the processor's numbers, up to rounding; ``settings`` of some of them, by name."""
    data, said = visit.data(), []
    model = visit.trained(data, "cpu", epochs=1)[0]
    for name in ("pgd_accuracy", "hessian_top", "pac_bayes_sigma"):
        chosen = {"images": min(50, visit.images)} | (settings or {}).get(name, {})
        values = [
            metrics.evaluate(Subject(copy.deepcopy(model), data, device=device), name, chosen).value
            for device in ("cpu", visit.device)
        ]
        assert abs(values[1] - values[0]) <= 0.02 + 0.02 * abs(values[0]), f"{name}: {values}"
        said.append(f"{name} {values[1]:.4g} (processor {values[0]:.4g})")
    return "; ".join(said)


def hessian_memory(visit: Visit, name: str = "resnet50", size: int = 224, images: int = 96) -> str:
    """The Hessian's graph at ImageNet's scale fits."""
    data = _noise(size, images)
    network = models.build(name, 1000, 3, size=size)
    torch.cuda.reset_peak_memory_stats()
    began, subject = time.perf_counter(), Subject(network, data, device=visit.device)
    settings = {"images": images, "steps": 2, "max_probes": 4}
    metrics.evaluate(subject, "hessian_trace", settings)
    most = torch.cuda.max_memory_allocated() / 2**30
    return f"{name} at {size} px, {images} images: at most {most:.1f} GB, {time.perf_counter() - began:.0f} s for 6 products"


def speeds(visit: Visit, names: list[str] | None = None, seconds: float = 1.0) -> str:
    """Training speed of each profile's networks (`lottery bench`), on noise."""
    found, done = [], set()
    for name in names or _profiles():
        profile = study.load_profile(name)
        data, recipe = noise(profile.dataset, profile.recipe)
        for model in profile.models:
            key = str((model, recipe, data.size))
            if key in done:
                continue
            if visit.left < 60:
                return "; ".join([*found, f"no time left from {name} on"])
            done.add(key)
            with _on_failure(f"{name} {model.name}"):
                usual, captured = (
                    _speed(model, data, recipe, visit.device, seconds, graphs) for graphs in (False, True)
                )
            found.append(f"{name} {model.name} {usual:,.0f} images/s, captured {captured:,.0f}")
    return "; ".join(found)


def shared(visit: Visit, by_mps: bool, profile: str = "smoke", only: str = "magnitude,random") -> str:
    """Four cells share the GPU: records are the processor's up to rounding; how long it takes."""
    store = visit.out / ("mps" if by_mps else "shared")
    # a place where no daemon is, so that the study starts none either
    with _mps() if by_mps else contextlib.nullcontext({PIPES: str(visit.out.resolve())}) as environment:
        seconds = _run_study(
            visit, store, profile, only, ["--device", visit.device, "--per-gpu", "4"], environment
        )
    baseline = visit.out / "processor"
    if not baseline.exists():
        _run_study(visit, baseline, profile, only, ["--device", "cpu"], {})
    here, there = (_accuracies(profile, at) for at in (baseline, store))
    assert here.keys() == there.keys(), "not the same cells were computed"
    most = max(abs(here[cell] - there[cell]) for cell in here)
    assert most < 0.25, f"accuracies differ by up to {most:.3f}"
    return f"{len(there)} accuracies in {seconds:.0f} s, at most {most:.3f} from the processor's"


def notebooks(visit: Visit, chosen: list[Path] | None = None, reserve: float = 20.0) -> str:
    """Every notebook runs by papermill."""
    from lotterylib.publish.runner import run_notebooks

    waiting = chosen or sorted(ROOT.glob("notebooks/**/*.ipynb"))
    parameters, count = (
        {"profile": "laptop", "store": str((visit.out / "runs").resolve())},
        max(2, processors() // 2),
    )
    done, failed = 0, []
    while waiting and visit.left > reserve:
        some, waiting = waiting[:count], waiting[count:]
        for ran in run_notebooks(
            some, visit.out / "notebooks", parameters, root=ROOT, workers=count, progress=False
        ):
            done += ran.ok
            failed += [] if ran.ok else [ran.error]
    assert not failed, f"{done} ran, {len(failed)} failed: " + "; ".join(failed)
    assert done, "no time left"
    return f"{done} ran" + (f", no time left for {', '.join(p.stem for p in waiting)}" if waiting else "")


CHECKS: dict[str, Callable[[Visit], str]] = {
    "numbers": against_processor,
    "equal runs": equal_runs,
    "precision": precisions,
    "waits": waits,
    "CUDA graph": captured,
    "views": views,
    "metrics": attacks_and_curvature,
    "hessian memory": hessian_memory,
    "four to a GPU": partial(shared, by_mps=False),
    "four to a GPU, MPS": partial(shared, by_mps=True),
    "notebooks": notebooks,
    "speed": speeds,
    "compiled": compiled,
}


def run(visit: Visit, checks: dict[str, Callable[[Visit], str]]) -> list[tuple[str, str, str, float]]:
    """Make all checks: name, "ok", "failed" or "skipped", what was found, seconds."""
    rows = []
    for name, check in checks.items():
        began = time.perf_counter()
        try:
            if visit.left < 10:
                raise Skipped("no time left")
            row = "ok", check(visit)
        except Skipped as reason:
            row = "skipped", str(reason)
        except Exception as error:
            (visit.out / f"{name}.error.txt").write_text(traceback.format_exc())
            row = "failed", one_line(error)
        rows.append((name, *row, time.perf_counter() - began))
        print(f"{name}: {row[0]}: {row[1]} ({rows[-1][3]:.0f} s)", flush=True)
    return rows


def table(where: str, rows: list[tuple[str, str, str, float]]) -> str:
    """Return the rows as one table in Markdown."""
    lines = [
        f"{where}, PyTorch {torch.__version__}",
        "",
        "| check | | found | seconds |",
        "|---|---|---|---:|",
    ]
    cell = "| {} | {} | {} | {:.0f} |".format
    return (
        "\n".join([*lines, *(cell(name, what, said.replace("|", "/"), s) for name, what, said, s in rows)])
        + "\n"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", help=f"some of: {', '.join(CHECKS)}")
    parser.add_argument("--out", type=Path, default=Path("_build/gpu"))
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"no check {unknown[0]!r}; there are: {', '.join(CHECKS)}")
    if not torch.cuda.is_available():
        print(
            f"make gpu: PyTorch {torch.__version__} sees no GPU here, so nothing was checked", file=sys.stderr
        )
        return 2
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    visit = Visit(out=options.out, seconds=options.seconds)
    rows = run(visit, {name: CHECKS[name] for name in names})
    text = table(describe_device(torch.device("cuda")), rows)
    (options.out / "gpu.md").write_text(text)
    print(f"\n{text}\n{options.out / 'gpu.md'}")
    return int(any(what == "failed" for _, what, _, _ in rows))


def _speed(
    model: ModelSpec, data: Dataset, recipe: Recipe, device: str, seconds: float, graphs: bool
) -> float:
    with launching(Launch(cuda_graphs=graphs)):
        return images_per_second(model, data, recipe, device=device, seconds=seconds)


def _noise(size: int, count: int) -> Dataset:
    random = torch.Generator().manual_seed(0)
    split = torch.rand(count, 3, size, size, generator=random), torch.arange(count)
    return Dataset(name="noise", train=split, val=split, test=split, class_names=tuple(map(str, range(1000))))


def _photographs(folder: Path, count: int) -> LazyImages:
    """Write JPEG files as large as ImageNet's, of smooth noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random, names = torch.Generator().manual_seed(0), [f"{i}.jpeg" for i in range(count)]
    for name in names:
        few = torch.rand(1, 3, 24, 32, generator=random)
        image = torch.nn.functional.interpolate(few, (375, 500), mode="bilinear")[0]
        Image.fromarray((image * 255).byte().movedim(0, -1).numpy()).save(folder / name, quality=90)
    return LazyImages(folder, names, 224, 256)


def _profiles() -> list[str]:
    return sorted(
        p.name.removesuffix(".yaml")
        for p in files("lotterylib.profiles").iterdir()
        if p.name.endswith(".yaml")
    )


@contextlib.contextmanager
def _on_failure(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(f"{what}: {one_line(error)}") from error


@contextlib.contextmanager
def _mps() -> Iterator[dict[str, str]]:
    with contextlib.ExitStack() as stack:
        try:
            environment = stack.enter_context(mps())
        except SettingError as reason:
            raise Skipped(str(reason)) from None
        yield environment


def _run_study(
    visit: Visit, store: Path, profile: str, only: str, how: list[str], environment: dict[str, str]
) -> float:
    """Compute a study in a process of its own; its seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "lotterylib.cli", "run", "--profile", profile, "--store", str(store)]
    command += ["--only", only, "--seeds", "0", *how]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=max(1, visit.left),
        )
    except subprocess.TimeoutExpired:
        raise Skipped("no time left for the study") from None
    assert done.returncode == 0, (done.stderr or done.stdout).strip().splitlines()[-1:]
    return time.perf_counter() - began


def _accuracies(profile: str, store: Path) -> dict[tuple, float]:
    table = results.tidy(study.records(study.load_profile(profile), str(store)))
    rows = table[table["metric"] == "accuracy"]
    return {(r.pruner, round(r.sparsity, 6), r.seed): r.value for r in rows.itertuples()}


if __name__ == "__main__":
    sys.exit(main())

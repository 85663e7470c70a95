"""The options of the command line. Imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..text import opening

_EXAMPLES = """\
examples:
  lottery run --profile smoke            a tiny study from end to end, in a minute or two
  lottery plan --profile laptop          what would be computed, and how long it takes here
  lottery run --profile laptop           compute it; stop and start as you like
  lottery status --profile laptop        what is finished, what failed and why
  lottery book --profile laptop          draw every figure from the records and build the site
  lottery score pruned.pt --dense dense.pt --arch torchvision:resnet18 --data images/
                                         is your own pruned network as good as the dense one?

A profile says what a study consists of. It is a name that comes with the package (smoke, laptop, cifar10 …) or the
path of your own YAML file. `lottery COMMAND --help` says more of each command.
"""

_SCORE = """\
A file is a state dict (torch.save or safetensors; masks of torch.nn.utils.prune or zeros baked in; channels cut away),
a ticket of this library, or a torch.export archive (.pt2). Nothing in it is executed: whole modules saved with
torch.save are refused.

Networks of this library normalise their inputs themselves; torchvision's and timm's are given images as they were
trained on. Any other is given pixels in [0, 1] as they are: if it was trained on normalised images, say so with --mean
and --std. The card compares what the first BatchNorm sees with what it remembers, and --expect checks the accuracy.

exit status: 0 measured (and passed), 1 something failed, 2 bad input, 3 --fail-on (a metric is worse, or undecided; what was
named with --only is not there; the numbers cannot be trusted), 130 interrupted

examples:
  lottery score lottery.safetensors --dense dense.safetensors
  lottery score pruned.pt --dense dense.pt --arch resnet20s --data cifar10
  lottery score pruned.pt --dense dense.pt --arch torchvision:resnet18 --data images/ \\
      --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
  lottery score half.pt tenth.pt --dense dense.pt --dense again.pt --arch resnet20s --data cifar10 --out card
  lottery score pruned.pt --config score.yaml --fail-on worse
  lottery score pruned.pt2 --dense dense.pt2 --data images/ --only accuracy,ece,nll
  lottery score pruned.pt --dense dense.pt --arch resnet8 --data images/ --outliers junk/ --corrupted cameras/ --memory 2GB
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and takes no beginnings of options, which another may share one day."""

    def __init__(self, *args: Any, **how: Any):
        super().__init__(*args, **how, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` says more\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it reads names the ``module`` and the function (``name``) that run."""
    top = _Parser(
        prog="lottery",
        description="Find lottery tickets, judge them, and build the book from the records.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(module: str, name: str, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=opening(summary) + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=module, name=name)
        return sub

    plan = add("study", "plan", "show what a study computes, what is finished, and the time the rest takes")
    _study(plan, parts=True)
    _workers(plan).add_argument(
        "--images-per-second",
        type=above_zero,
        metavar="N",
        help="training images per second of one worker (default: measured here, if the data are there)",
    )
    run = add("study", "run", "compute what is missing; safe to stop and start again")
    _study(run, parts=True)
    _cluster(_workers(run))
    run.add_argument(
        "--shipped",
        action="store_true",
        help="take tickets and records that come with the package, compute only the others",
    )
    run.add_argument(
        "--refresh",
        action="store_true",
        help="make anew what another version of a pruner or metric made",
    )
    _study(add("study", "status", "show what is finished, missing and failed"), parts=True)
    book = add("book", "book", "compute what is missing, run every notebook, and build the site")
    _study(book)
    book.set_defaults(refresh=False)
    _cluster(_workers(book))
    book.add_argument("--out", type=Path, default=Path("_build"), help="where to build (default: _build)")
    book.add_argument(
        "--pdf", action="store_true", help="print the book to one PDF as well (needs Chromium or Chrome)"
    )
    _score(add("score", "score", "judge a pruned network of your own against its dense network", _SCORE))
    data = add("data", "data", "list the data that a profile needs, and what of it is missing or damaged")
    _profile(data).add_argument(
        "--download",
        action="store_true",
        help="first fetch what is not there, where the source has checksums",
    )
    bench = add("data", "bench", "measure training speed on this device, which `plan` reckons with")
    _profile(bench)
    _workers(bench)
    export = add("study", "export", "write a finished study as the profile's reference records")
    _study(export)
    export.add_argument("--to", type=Path, help="folder (default: the package's reference/PROFILE)")
    export.add_argument(
        "--partial",
        action="store_true",
        help="of an unfinished study what is measured, its records alone, without tickets",
    )
    return top


def _profile(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--profile", default="laptop", help="name or path of a profile (default: laptop)")
    return sub


def _study(sub: argparse.ArgumentParser, parts: bool = False) -> None:
    """Add the options that say which study, and with ``parts`` how much of it."""
    _profile(sub).add_argument(
        "--store",
        default="runs",
        metavar="FOLDER",
        help="folder of tickets and records, or its address, e.g. s3://bucket/folder (default: runs)",
    )
    if parts:
        some = sub.add_argument_group("a part of the study alone")
        some.add_argument("--only", type=listed(str), metavar="PRUNER,…", help="these pruners (or dense)")
        some.add_argument("--seeds", type=listed(int), metavar="SEED,…", help="these of the profile's seeds")
        some.add_argument(
            "--sparsities",
            type=listed(float),
            metavar="SPARSITY,…",
            help="these of its sparsities, e.g. 0.79,0.945",
        )


def _workers(sub: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    how = sub.add_argument_group("how to compute")
    how.add_argument(
        "--workers", type=positive, metavar="N", help="worker processes (default: one per GPU, or per core)"
    )
    how.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="PyTorch threads per worker (default: 1)"
    )
    how.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
    how.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="train each ticket by so many processes together, a GPU each (default: 1)",
    )
    how.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="on a GPU, record a training's step once and replay it: small networks wait for launches",
    )
    return how


def _cluster(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--scheduler",
        metavar="tls://HOST:PORT",
        help="a running Dask scheduler (default: start a local cluster); its workers must see the store",
    )
    how.add_argument(
        "--per-gpu",
        type=positive,
        metavar="N",
        help="so many cells share a GPU; workers of a --scheduler offer it with --resources GPU=…",
    )
    how.add_argument(
        "--views-on-device",
        nargs="?",
        const="torchvision",
        metavar="DECODER",
        help="images in files: cut, resize and mirror on the GPU, and decode there if it can, by torchvision (without a name) "
        "or by dali, where that is installed",
    )
    how.add_argument("--quiet", action="store_true", help="no progress bar")


def _score(sub: argparse.ArgumentParser) -> None:
    """Add the options of ``score``. None has a default here, so that those of ``scorecard`` hold."""
    sub.add_argument(
        "pruned", type=Path, nargs="+", help="file of the pruned network; several share one card"
    )
    sub.add_argument(
        "--dense",
        type=Path,
        action="append",
        metavar="FILE",
        help="file of the dense network that it came from; further trainings of it with further --dense tell what a "
        "retraining changes; without it the card shows values alone",
    )
    sub.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file of options: only: [accuracy, ece], fail-on: worse …",
    )
    network = sub.add_argument_group("networks")
    network.add_argument(
        "--arch",
        help="which network a state dict is of: resnet8, torchvision:resnet18, timm:NAME, or package.module:function "
        "(imported and called)",
    )
    network.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="a setting of the network, e.g. width=0.5"
    )
    network.add_argument("--key", help="where in the file the state dict lies, e.g. ema or state.model")
    network.add_argument(
        "--outputs", choices=("logits", "probabilities"), help="what the networks give (default: logits)"
    )
    network.add_argument(
        "--expect",
        type=above_zero,
        metavar="ACCURACY",
        help="test accuracy that the dense network is known to have, e.g. 0.9125",
    )
    images = sub.add_argument_group("images")
    images.add_argument(
        "--data",
        help="name of a data set, a folder with one subfolder per class, a CSV or parquet table of paths and labels, a .tar "
        "of WebDataset ('shards-*.tar'), or a folder saved by Hugging Face datasets (default: fashion-mini)",
    )
    images.add_argument(
        "--outliers",
        action="append",
        metavar="FOLDER",
        help="pictures of your own that are none of the classes; several with further --outliers (default: bundled ones)",
    )
    images.add_argument(
        "--corrupted",
        type=Path,
        metavar="FOLDER",
        help="corrupted test images of your own, FOLDER/fog/cat/*.png or FOLDER/fog/3/cat/*.png (default: 15 corruptions are "
        "generated)",
    )
    images.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="which output is which class: one line of names per output",
    )
    images.add_argument(
        "--mean",
        type=float,
        nargs="+",
        help="mean that the inputs are normalised by, per channel (default with torchvision and timm: theirs)",
    )
    images.add_argument("--std", type=float, nargs="+", help="standard deviation, goes with --mean")
    images.add_argument(
        "--size",
        type=positive,
        help="side of folder images in pixels (default: 32; torchvision and timm: theirs)",
    )
    images.add_argument("--resize", type=positive, help="their shorter side before the crop to --size")
    images.add_argument("--limit", type=positive, help="read at most so many (default: what fits in 1 GB)")
    images.add_argument(
        "--images",
        type=positive,
        help="corrupt, attack, explain and differentiate at most so many (default: 1000; 100 or fewer above 64 pixels a side)",
    )
    images.add_argument("--batch", type=positive, help="images that go through a network at a time")
    images.add_argument(
        "--memory",
        metavar="AMOUNT",
        help="what measuring may take, e.g. 2GB: fewer images at a time, and no metric that does not fit",
    )
    sub.add_argument(
        "--only",
        type=listed(str),
        metavar="METRIC,…",
        help="measure these alone (a wrong name lists all there are)",
    )
    sub.add_argument(
        "--setting",
        action="append",
        metavar="METRIC.KEY=VALUE",
        help="a setting of a metric, e.g. ece.bins=10",
    )
    sub.add_argument(
        "--variants", action="store_true", default=None, help="calibration on corrupted images, too"
    )
    sub.add_argument(
        "--tolerance",
        action="append",
        metavar="METRIC=AMOUNT",
        help="what counts as comparable, in the metric's unit, e.g. accuracy=0.005",
    )
    sub.add_argument(
        "--fail-on",
        choices=("worse", "undecided"),
        help="exit with 3 if a metric is worse, or if one is not as good as dense; also if one that was named could not be "
        "measured, or if the numbers cannot be trusted",
    )
    sub.add_argument("--out", type=Path, help="folder for scorecard.json, .html, .md and .xml (JUnit)")
    sub.add_argument(
        "--cache",
        type=Path,
        help="folder that keeps corrupted images, and what was measured: an interrupted card goes on from there",
    )
    sub.add_argument("--no-speed", action="store_true", help="do not time the networks")
    sub.add_argument("--seed", type=natural, help="of the split and of all that is drawn (default: 0)")
    sub.add_argument("--threads", type=positive, help="PyTorch threads (default: PyTorch's own choice)")
    sub.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
    sub.add_argument("--json", action="store_true", help="print JSON instead of the table")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")


def listed(kind: type) -> Callable[[str], list[Any]]:
    """Return a reader of values between commas."""

    def read(text: str) -> list[Any]:
        try:
            return [kind(part.strip()) for part in text.split(",")]
        except ValueError:
            whole = "whole " if kind is int else ""
            raise argparse.ArgumentTypeError(
                f"want {whole}numbers with commas between, got {text!r}"
            ) from None

    return read


def above_zero(text: str) -> float:
    """Read a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text!r}")
    return value


def natural(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"want a whole number of at least 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number of at least 1, got {text!r}")
    return value

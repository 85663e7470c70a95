"""The command line: ``lottery plan · run · status · book · score · data · bench · export``."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from .errors import LotteryError

EPILOG = """\
examples:
  lottery plan --profile laptop          what would be computed, and how long it takes here
  lottery run --profile smoke            a tiny study from end to end, in a minute or two
  lottery status --profile laptop        what is finished, what failed and why
  lottery book --profile laptop          draw every figure from the records and build the site
  lottery score pruned.pt --dense dense.pt --arch torchvision:resnet18 --data images/
                                         is your own pruned network as good as the dense one?

A profile is a name that comes with the package (smoke, laptop) or the path of your own YAML file.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 something failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except LotteryError as error:
        print(f"lottery {options.name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"lottery {options.name}: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lottery {options.name}: interrupted; the same command resumes", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lottery",
        description="Find lottery tickets, judge them, and build the book from the records.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.set_defaults(command=command, name=name)
        sub.add_argument("--profile", default="laptop", help="name or path of a profile (default: laptop)")
        return sub

    def with_store(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument(
            "--store",
            default="runs",
            metavar="FOLDER",
            help="folder of tickets and records, or its address, e.g. s3://bucket/folder (default: runs)",
        )
        return sub

    def with_parts(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Options that cut a profile down."""
        sub.add_argument(
            "--only", type=_list(str), metavar="PRUNER[,…]", help="these pruners alone (or dense)"
        )
        sub.add_argument(
            "--seeds", type=_list(int), metavar="SEED[,…]", help="these of the profile's seeds alone"
        )
        sub.add_argument(
            "--sparsities",
            type=_list(float),
            metavar="SPARSITY[,…]",
            help="these of its sparsities alone, e.g. 0.79,0.945",
        )
        return sub

    def with_workers(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument(
            "--workers", type=_positive, help="worker processes (default: one a GPU, or one a core)"
        )
        sub.add_argument("--threads", type=_positive, default=1, help="PyTorch threads a worker (default: 1)")
        sub.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
        sub.add_argument(
            "--processes",
            type=_positive,
            default=1,
            metavar="N",
            help="train each ticket by so many processes together, a GPU each (default: 1)",
        )
        return sub

    def with_scheduler(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument(
            "--scheduler",
            metavar="tcp://HOST:PORT",
            help="a running Dask scheduler (default: start a local cluster); its workers must see the store",
        )
        sub.add_argument(
            "--per-gpu",
            type=_positive,
            metavar="N",
            help="so many cells share a GPU; workers of a --scheduler offer it with --resources GPU=…",
        )
        sub.add_argument("--quiet", action="store_true", help="no progress bar")
        return sub

    plan = add(
        "plan", _plan, "show the study's cells, what they cost, what is finished, and the time the rest takes"
    )
    with_workers(with_store(with_parts(plan)))
    plan.add_argument(
        "--images-per-second",
        type=_above_zero,
        metavar="N",
        help="training images a second of one worker (default: measured here, if the data are there)",
    )
    run = add("run", _run, "compute what is missing; safe to stop and start again")
    with_scheduler(with_workers(with_store(with_parts(run))))
    run.add_argument(
        "--shipped",
        action="store_true",
        help="take tickets that come with the package, train only the others",
    )
    with_store(with_parts(add("status", _status, "show what is finished, missing and failed")))
    book = add("book", _book, "compute what is missing, run every notebook, and build the site")
    with_scheduler(with_workers(with_store(book)))
    book.add_argument("--out", type=Path, default=Path("_build"), help="where to build (default: _build)")
    book.add_argument(
        "--pdf",
        action="store_true",
        help="print the whole book to one PDF as well (needs Chromium or Chrome)",
    )
    data = add("data", _data, "list the data that a profile needs, and what of it is missing or damaged")
    data.add_argument(
        "--download",
        action="store_true",
        help="first fetch what is not there, where the source has checksums",
    )
    with_workers(add("bench", _bench, "measure training speed on this device, which `plan` reckons with"))
    export = with_store(add("export", _export, "write a finished study as the profile's reference records"))
    export.add_argument("--to", type=Path, help="folder (default: the package's reference/PROFILE)")
    _add_score(commands)
    return parser


_SCORE = """\
A file is a state dict (torch.save or safetensors; masks of torch.nn.utils.prune or zeros baked in; channels cut away),
a ticket of this library, or a torch.export archive (.pt2). Nothing in it is executed: whole modules saved with
torch.save are refused.

Networks of this library normalise their inputs themselves. Any other is given pixels in [0, 1] as they are: if it was
trained on normalised images, say so with --mean and --std, as for ImageNet 0.485 0.456 0.406 and 0.229 0.224 0.225.

examples:
  lottery score lottery.safetensors --dense dense.safetensors
  lottery score pruned.pt --dense dense.pt --arch resnet20s --data cifar10
  lottery score pruned.pt --dense dense.pt --arch torchvision:resnet18 --data images/ \\
      --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
  lottery score pruned.pt2 --dense dense.pt2 --data images/ --only accuracy,ece,nll
"""


def _add_score(commands) -> None:
    summary = "judge a pruned network of your own against its dense twin in all four dimensions"
    sub = commands.add_parser(
        "score",
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_SCORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(command=_score, name="score")
    sub.add_argument("pruned", type=Path, help="file of the pruned network")
    sub.add_argument("--dense", type=Path, required=True, help="file of its dense twin")
    sub.add_argument("--arch", help="what network a state dict is of: resnet8, torchvision:resnet18 …")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the network, e.g. width=0.5",
    )
    sub.add_argument(
        "--data",
        default="fashion-mini",
        help="name of a data set, or a folder with one subfolder of images a class (default: fashion-mini)",
    )
    sub.add_argument(
        "--mean", type=float, nargs="+", help="what the network's inputs are normalised by, one a channel"
    )
    sub.add_argument("--std", type=float, nargs="+", help="goes with --mean")
    sub.add_argument(
        "--size", type=_positive, help="pixels a side of folder images (default: 32; torchvision: 224)"
    )
    sub.add_argument("--resize", type=_positive, help="their shorter side before the crop to --size")
    sub.add_argument(
        "--limit", type=_positive, help="read at most so many images (default: what fits in 1 GB)"
    )
    sub.add_argument(
        "--images", type=_positive, help="corrupt, attack and explain at most so many (default: 1000)"
    )
    sub.add_argument("--only", metavar="METRIC,METRIC", help="measure these alone")
    sub.add_argument("--out", type=Path, help="folder for scorecard.json and scorecard.html")
    sub.add_argument("--cache", type=Path, help="folder that keeps corrupted images for the next time")
    sub.add_argument("--seed", type=int, default=0, help="of the split and of all that is drawn (default: 0)")
    sub.add_argument("--threads", type=_positive, help="PyTorch threads (default: PyTorch's own choice)")
    sub.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
    sub.add_argument("--json", action="store_true", help="print JSON instead of the table")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")


def _score(options: argparse.Namespace) -> int:
    import torch

    from .machine.devices import device_name
    from .machine.terminal import show
    from .score import scorecard
    from .score.report import check_folder

    device_name(options.device)
    if options.out:
        check_folder(options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    card = scorecard(
        options.pruned,
        options.dense,
        options.data,
        arch=options.arch,
        arch_settings=dict(map(_setting, options.set)),
        mean=options.mean,
        std=options.std,
        size=options.size,
        resize=options.resize,
        limit=options.limit,
        images=options.images,
        only=options.only and options.only.split(","),
        seed=options.seed,
        device=options.device,
        cache=options.cache,
        progress=not options.quiet and sys.stderr.isatty(),
        on_message=lambda line: show(line, sys.stderr),
    )
    try:
        for path in card.save(options.out) if options.out else []:
            show(path.resolve().as_uri(), sys.stderr)
    finally:
        show(card.to_json() if options.json else str(card))
    return 0


def _setting(text: str) -> tuple[str, object]:
    import yaml

    from .errors import SettingError

    key, mark, value = text.partition("=")
    if not mark or not key:
        raise SettingError(f"--set wants KEY=VALUE, e.g. width=0.5, got {text!r}")
    return key, yaml.safe_load(value)


def _plan(options: argparse.Namespace) -> int:
    from .machine.devices import device_name, places
    from .study.cells import expand
    from .study.estimate import images_per_second, remaining
    from .study.needs import needs
    from .study.plan import plan, rates
    from .study.store import Store, missing
    from .training import Launch, launching

    profile, store = _part(options), Store(options.store)
    if options.device:
        device_name(options.device)  # says clearly if it is not there
    cells, todo = expand(profile), missing(profile, store)
    trainings = remaining(todo, store)
    found = plan(profile, cells, todo, trainings)
    unfinished = {cell.id for cell, _ in todo}
    print(f"{profile.name}: {profile.title}\n")
    rows = [("pruner", "cells", "finished", "to train", "to measure", "training", "measuring", "storage")]
    counts = []
    for pruner in ["dense", *profile.pruners]:
        mine = [c for c in cells if c.pruner == pruner]
        waiting = sum(c.id in unfinished for c in mine)
        train = sum(c.pruner == pruner for c in trainings)
        amounts = (found.training[pruner], sum(found.measuring[pruner].values()), found.storage[pruner])
        counts.append((len(mine), len(mine) - waiting, train, waiting, *amounts))
        rows.append((pruner, *counts[-1][:4], *map(_amount, amounts)))
    total = [sum(column) for column in zip(*counts, strict=True)]
    rows.append(("all", *total[:4], *map(_amount, total[4:])))
    print(_table(rows))
    print(
        "\ntraining and measuring in multiply-adds of unpruned networks, storage in bytes, of what is missing"
    )
    print(
        f"{found.together} trainings in all, rounds and dense networks shared: {found.alone - found.together} saved"
    )
    if todo:
        each = Counter()
        for by_metric in found.measuring.values():
            each.update(by_metric)
        wanted = Counter(metric for _, metrics in todo for metric in metrics)
        rows = [("metric", "to measure", "multiply-adds")]
        rows += [(m, n, _amount(each[m]) if each[m] else "with another") for m, n in wanted.items()]
        print(f"\n{_table(rows)}\n")
    needed = needs(profile)
    for need in needed:
        if not need.met:
            print(f"missing: {need.what}: {need.remark or need.place}")
    if not todo:
        print("nothing to compute")
        return 0
    workers = len(places(options.workers, options.threads, options.device, 1, options.processes))
    if options.images_per_second:
        speeds = rates(profile, options.images_per_second)
        how = "reckoned with"
    elif needed[0].met:
        data = profile.dataset.load()
        with launching(Launch(options.processes)):
            speeds = {
                model.name: images_per_second(
                    model, data, profile.recipe, threads=options.threads, device=options.device
                )
                for model in profile.models
            }
        how = f"measured now on {device_name(options.device)}:"
    else:
        print("hours: name the speed with --images-per-second N, since there are no data to measure it with")
        return 0
    seconds = sum(found.work[name] / rate for name, rate in speeds.items())
    print(how, ", ".join(f"{name} {rate:,.0f} images/s a worker" for name, rate in speeds.items()))
    print(f"estimated time with {workers} worker(s): {_duration(seconds / workers)}, measuring included")
    return 0


def _run(options: argparse.Namespace) -> int:
    from .study.store import Store, missing

    profile, store = _part(options), Store(options.store)
    todo = missing(profile, store)
    if not todo:
        print(f"{profile.name}: all {len(profile.metrics)} metric(s) of every cell are in {store.root}")
        return 0
    return 1 if _compute(profile, todo, store, options, options.shipped).failures else 0


def _compute(profile, todo: list, store, options: argparse.Namespace, shipped: bool):
    """Runs what is missing and says how it went; returns the summary."""
    from .study.scheduler import hush, run
    from .study.store import adopt

    hush()
    cells = [cell for cell, _ in todo]
    if not options.scheduler:
        _try_out(cells, options.device)
    if shipped and (copied := adopt(profile, store, cells)):
        print(f"{profile.name}: {copied} tickets come with the package", file=sys.stderr)
    summary = run(
        todo,
        store,
        scheduler=options.scheduler,
        workers=options.workers,
        threads=options.threads,
        device=options.device,
        per_gpu=options.per_gpu,
        processes=options.processes,
        progress=not options.quiet,
    )
    done = ", ".join(f"{n} {outcome}" for outcome, n in sorted(summary.counts.items())) or "none"
    print(f"{profile.name}: tasks: {done}; store: {store.root}")
    for label, reason in summary.failures.items():
        print(f"  failed: {label}: {reason}{_again(label in summary.final)}", file=sys.stderr)
    return summary


def _try_out(cells: list, device: str | None) -> None:
    """Meets here, in one line and before workers start, what would fail every cell: no such device, data that are not
    there, a setting that a model does not have."""
    from .machine.devices import device_name

    device_name(device)
    for dataset in {cell.dataset for cell in cells}:
        data = dataset.load()
        for model in {cell.model.name: cell.model for cell in cells if cell.dataset == dataset}.values():
            model.build(data, seed=0)


def _status(options: argparse.Namespace) -> int:
    from .study.cells import expand, with_ancestors
    from .study.store import Store, failures, missing

    profile, store = _part(options), Store(options.store)
    cells, todo = expand(profile), missing(profile, store)
    every, failed = with_ancestors(cells), failures(profile, store)
    tickets = Counter(store.has_ticket(cell) for cell in every)
    print(f"{profile.name} in {store.root}: {len(cells) - len(todo)} of {len(cells)} cells finished, "
          f"{tickets[True]} of {len(every)} tickets found, {len(failed)} failed")  # fmt: skip
    for label, failure in failed.items():
        print(f"  failed: {label}: {failure['reason']}{_again(failure['kind'] == 'diverged')}")
    return 0


def _book(options: argparse.Namespace) -> int:
    from .publish.book import make_book, print_book
    from .publish.pdf import find_browser
    from .study.profile import load_profile
    from .study.store import Store, missing

    profile, store = load_profile(options.profile), Store(options.store)
    if options.pdf:
        find_browser()  # better said now than after an hour
    todo = missing(profile, store, reference=True)
    if todo:
        print(f"{profile.name}: {len(todo)} cells lack records; computing them", file=sys.stderr)
        summary = _compute(profile, todo, store, options, shipped=True)
        if set(summary.failures) - summary.final:
            return 1
        if summary.final:  # they would diverge again: the book shows what there is
            print(f"{profile.name}: the book goes on without the failed cells", file=sys.stderr)
    workers = options.workers or os.cpu_count() or 1
    index = make_book(profile, options.profile, store, options.out, workers, progress=not options.quiet)
    print(f"the book: open {index.resolve().as_uri()}")
    if options.pdf:
        print(f"as one PDF: {print_book(index).as_uri()}")
    return 0


def _data(options: argparse.Namespace) -> int:
    from .study.needs import needs
    from .study.profile import load_profile

    profile = load_profile(options.profile)
    found = needs(profile)
    if options.download and (wanted := [need for need in found if need.fetchable]):
        for need in wanted:
            print(f"fetching {need.what} ({need.source.size}) to {need.place}", file=sys.stderr)
            need.source.get(need.root)
        found = needs(profile)
    rows = [("needed", "state", "size", "where")]
    rows += [(n.what, n.state, n.source.size if n.source else "", n.place) for n in found]
    print(_table(rows, left=(0, 1, 3)))
    for need in found:
        if need.remark:
            print(f"{need.what}: {need.remark}")
    if any(need.state == "downloadable" for need in found):
        print(f"lottery data --profile {options.profile} --download fetches what is downloadable")
    if found[0].met:
        data = profile.dataset.load()
        sizes = ", ".join(f"{split} {len(getattr(data, split)[1]):,}" for split in ("train", "val", "test"))
        print(f"{data.name}: {sizes}; {data.classes} classes, {data.channels}×{data.size}×{data.size} pixels")
    return 0 if all(need.met for need in found) else 1


def _bench(options: argparse.Namespace) -> int:
    from .machine.devices import device_name
    from .study.estimate import images_per_second, noise
    from .study.needs import needs
    from .study.profile import load_profile
    from .training import Launch, launching

    profile = load_profile(options.profile)
    if needs(profile)[0].met:
        data, recipe = profile.dataset.load(), profile.recipe
    else:
        data, recipe = noise(profile.dataset, profile.recipe)
        print(f"{profile.dataset.name} is not here: measured on noise of its shape, without reading files")
    where = f"{device_name(options.device)}, {options.processes} process(es), {options.threads} thread(s)"
    with launching(Launch(options.processes)):
        for model in profile.models:
            rate = images_per_second(model, data, recipe, threads=options.threads, device=options.device)
            print(f"{model.name} on {where}: {rate:,.0f} training images/s", flush=True)
    return 0


def _export(options: argparse.Namespace) -> int:
    from . import figures, results
    from .study.profile import load_profile
    from .study.store import Store, export, records

    profile, store = load_profile(options.profile), Store(options.store)
    folder = export(profile, store, options.to)
    figure, _ = figures.sweep(results.tidy(records(profile, store)), smoke=profile.smoke)
    figures.save(figure, folder / "accuracy.png")
    print(f"reference records and their picture: {folder}")
    return 0


def _again(final: bool) -> str:
    return " (final: it would diverge again)" if final else " (the next run tries again)"


def _part(options: argparse.Namespace):
    """The profile, cut down as the options say."""
    from .study.profile import load_profile

    return load_profile(options.profile).cut(options.only, options.seeds, options.sparsities)


def _list(kind):
    """Values between commas."""

    def read(text: str) -> list:
        try:
            return [kind(part.strip()) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"want {'whole ' if kind is int else ''}numbers with commas between, got {text!r}"
            ) from None

    return read


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text!r}")
    return value


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number of at least 1, got {text!r}")
    return value


def _table(rows: list[tuple], left: tuple[int, ...] = (0,)) -> str:
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            str(v).ljust(w) if i in left else str(v).rjust(w)
            for i, (v, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _amount(number: float) -> str:
    """Three digits and a prefix: 12.3 M."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5:
            return f"{number:.3g} {prefix}".strip()
        number /= 1000
    return f"{number:.3g} E"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())

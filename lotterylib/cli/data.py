"""``lottery data`` and ``lottery bench``: what there is to compute with."""

from __future__ import annotations

import argparse
import sys

from ..machine.devices import device_name
from ..machine.terminal import show
from ..study import load_profile
from ..study.estimate import images_per_second, noise
from ..study.needs import needs
from ..text import table
from ..training import Launch, launching


def data(options: argparse.Namespace) -> int:
    """List what a profile reads, fetch it if asked to, and describe the data set."""
    profile = load_profile(options.profile)
    found = needs(profile)
    if options.download and (wanted := [need for need in found if need.fetchable]):
        for need in wanted:
            show(f"fetching {need.what} ({need.size}) to {need.place}", sys.stderr)
            need.fetch()
        found = needs(profile)
    rows = [("needed", "state", "size", "where")]
    rows += [(n.what, n.state, n.size, n.place) for n in found]
    show(table(rows, left=(0, 1, 3)))
    for need in found:
        if need.remark:
            show(f"{need.what}: {need.remark}")
    if any(need.state == "downloadable" for need in found):
        show(f"lottery data --profile {options.profile} --download fetches what is downloadable")
    if found[0].met:
        images = profile.dataset.load()
        sizes = ", ".join(f"{split} {len(getattr(images, split)[1]):,}" for split in ("train", "val", "test"))
        shape = f"{images.channels}×{images.size}×{images.size}"
        show(f"{images.name}: {sizes}; {images.classes} classes, {shape} pixels")
    return 0 if all(need.met for need in found) else 1


def bench(options: argparse.Namespace) -> int:
    """Measure how fast each of a profile's models trains here, on noise where the data are not here."""
    profile = load_profile(options.profile)
    if needs(profile)[0].met:
        images, recipe = profile.dataset.load(), profile.recipe
    else:
        images, recipe = noise(profile.dataset, profile.recipe)
        show(f"{profile.dataset.name} is not here: measured on noise of its shape, without reading files")
    where = f"{device_name(options.device)}, {options.processes} process(es), {options.threads} thread(s)"
    with launching(Launch(options.processes, cuda_graphs=options.cuda_graphs)):
        for model in profile.models:
            rate = images_per_second(model, images, recipe, threads=options.threads, device=options.device)
            show(f"{model.label} on {where}: {rate:,.0f} training images/s")
    return 0

"""Find a recipe on the validation images: train the dense network of a profile under several, one seed each.

    python -m benchmarks.recipe [--profile laptop] [--data FOLDER] [--seeds 1] [--only LABEL]

Minutes long for ``laptop``, hours for ``cifar10-cpu``. Prints validation accuracy, since the test set must not choose a
recipe, and seconds. Where a recipe stands beside itself with twice the epochs, the two say how far from converged it is.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from lotterylib import metrics, study, train
from lotterylib.training import predict

# of each profile: what is changed in its recipe
CHANGES = {
    "laptop": {
        "as in the profile": {},
        "lr 0.05": {"lr": 0.05},
        "lr 0.2": {"lr": 0.2},
        "cosine": {"schedule": "cosine"},
        "batch 128": {"batch_size": 128},
        "weight decay 5e-4": {"weight_decay": 5e-4},
        "weight decay 5e-3": {"weight_decay": 5e-3},
        "4 epochs": {"epochs": 4},
        "16 epochs": {"epochs": 16},
        "crops of 1 pixel": {"crop_padding": 1},
        "the same, 16 epochs": {"crop_padding": 1, "epochs": 16},
        "crops and flips": {"crop_padding": 1, "flip": True},
        "these, 16 epochs": {"crop_padding": 1, "flip": True, "epochs": 16},
    },
    "cifar10-cpu": {
        "as in the profile": {},
        "batch 128, lr 0.2": {"batch_size": 128, "lr": 0.2},
        "lr 0.05": {"lr": 0.05},
        "24 epochs": {"epochs": 24},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", choices=CHANGES, default="laptop", help="whose recipe (default: laptop)")
    parser.add_argument("--data", type=Path, help="folder of the data set's files (default: ./data)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds per recipe (default: 1)")
    parser.add_argument("--only", help="one of the recipes alone, by its label")
    options = parser.parse_args()
    profile = study.load_profile(options.profile)
    data = profile.dataset.model_copy(update={"root": options.data}).load()
    print(f"{'recipe':28}{'validation accuracy':>20}{'seconds':>9}")
    for label, change in CHANGES[options.profile].items():
        if options.only not in (None, label):
            continue
        recipe = profile.recipe.model_copy(update=change)
        scores, seconds = [], []
        for seed in range(options.seeds):
            model = profile.models[0].build(data, seed)
            seconds.append(train(model, data, recipe, seed=seed, progress=False).seconds)
            scores.append(metrics.generalization.accuracy(predict(model, data.val[0]), data.val[1]))
        print(f"{label:28}{statistics.mean(scores):>20.4f}{statistics.mean(seconds):>9.0f}", flush=True)


if __name__ == "__main__":
    main()

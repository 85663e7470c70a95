"""Find the recipe that converges in the least time: train the dense laptop network under several, one seed each.

    python -m benchmarks.recipe [--seeds 1]

Minutes long. Prints validation accuracy, since the test set must not choose a recipe, and seconds. Where a recipe stands
beside itself with twice the epochs, the two say how far from converged it is.
"""

from __future__ import annotations

import argparse
import statistics

from lotterylib import metrics, study, train
from lotterylib.training import predict

CHANGES = {
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
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="seeds a recipe (default: 1)")
    options = parser.parse_args()
    profile = study.load_profile("laptop")
    data = profile.dataset.load()
    print(f"{'recipe':22}{'validation accuracy':>20}{'seconds':>9}")
    for label, change in CHANGES.items():
        recipe = profile.recipe.model_copy(update=change)
        scores, seconds = [], []
        for seed in range(options.seeds):
            model = profile.models[0].build(data, seed)
            seconds.append(train(model, data, recipe, seed=seed, progress=False).seconds)
            scores.append(metrics.generalization.accuracy(predict(model, data.val[0]), data.val[1]))
        print(f"{label:22}{statistics.mean(scores):>20.3f}{statistics.mean(seconds):>9.0f}", flush=True)


if __name__ == "__main__":
    main()

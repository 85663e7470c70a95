"""The scorecard: for anyone with a pruned checkpoint and its dense twin.

from lotterylib import scorecard

print(scorecard("pruned.pt", dense="dense.pt", data="images/", arch="torchvision:resnet18"))
"""

from .card import Row, Scorecard, scorecard
from .checkpoints import Network
from .programs import Program, load_program
from .sources import dataset

__all__ = ["Network", "Program", "Row", "Scorecard", "dataset", "load_program", "scorecard"]

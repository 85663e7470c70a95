"""The scorecard: for anyone with a pruned checkpoint and the dense network that it came from.

Example::

    from lotterylib import scorecard

    print(scorecard("pruned.pt", dense="dense.pt", data="images/", arch="torchvision:resnet18"))
"""

from .card import Row, Scorecard
from .foreign.modules import Network
from .foreign.programs import Program, load_program
from .measure import compare, scorecard
from .report import Comparison
from .sources import dataset

__all__ = [
    "Comparison", "Network", "Program", "Row", "Scorecard", "compare", "dataset", "load_program", "scorecard",
]  # fmt: skip

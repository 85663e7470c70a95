"""The scorecard: for anyone with a pruned checkpoint and the dense network that it came from.

Example::

    from lotterylib import scorecard

    card = scorecard(
        "pruned.pt", dense="dense.pt", data="images/", arch="torchvision:resnet18"
    )
    print(card)
"""

# in the order in which the reference lists them: what is called comes before what it is made of
# isort: off
from .measure import compare, scorecard
from .card import Row, Scorecard
from .report import Comparison
from .sources import dataset
from .foreign.programs import Program, load_program
from .foreign.modules import Network
# isort: on

__all__ = [
    "Comparison", "Network", "Program", "Row", "Scorecard", "compare", "dataset", "load_program", "scorecard",
]  # fmt: skip

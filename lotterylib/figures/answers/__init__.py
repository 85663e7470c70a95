"""Sentences that answer a page's question from the records: true under every profile, with their intervals.

A table from ``results.tidy`` goes in, a sentence comes out. What the records leave open is called undecided.
"""

from .box import Answer
from .judged import DIMENSIONS, SIGNS, headline, judge_study, longest
from .of_metrics import answer, leads, least_sensitive, not_judged, sensitivity
from .of_pruners import first_lost, price_answer, pruner_answer
from .of_studies import alike, better_than_dense, tale, tiles
from .wording import reach, sign_of

__all__ = [
    "DIMENSIONS", "SIGNS", "Answer", "alike", "answer", "better_than_dense", "first_lost", "headline", "judge_study",
    "leads", "least_sensitive", "longest", "not_judged", "price_answer", "pruner_answer", "reach", "sensitivity",
    "sign_of", "tale", "tiles",
]  # fmt: skip

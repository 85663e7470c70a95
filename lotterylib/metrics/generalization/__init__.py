"""First dimension: does the network still get unseen images right, also those from elsewhere, corrupted or attacked?

And who pays: the classes and images that a ticket gets wrong and its dense network does not.
"""

# in the order in which tables list the metrics
# isort: off
from .accuracy import accuracy, accuracy_on_test, by_guessing, mistakes, recall
from .fairness import identified_exemplars, recall_change
from .churn import changed_answers, churn
from .ood import max_softmax, ood_aupr, ood_auroc, ood_fpr95
from .corruptions import corruption_error, uniform_corruption_error
from .attacks import fgsm, pgd
# isort: on

__all__ = [
    "accuracy", "accuracy_on_test", "by_guessing", "changed_answers", "churn", "corruption_error", "fgsm", "identified_exemplars", "max_softmax", "mistakes", "ood_aupr",
    "ood_auroc", "ood_fpr95", "pgd", "recall", "recall_change", "uniform_corruption_error",
]  # fmt: skip

"""Moderated variances: tickets of one study lend each other what they know about the spread between trainings.

A variance of three trainings is a poor estimate. Over the tickets of a study variances are alike, so each is shrunk towards
what all of them say, and the interval gains degrees of freedom. Tickets that share the dense networks of their seeds are not
independent: they have fewer degrees of freedom together than their sum (``SHARED``). The coverage of these intervals is
simulated by ``benchmarks/intervals.py``.

Source: Smyth, Statistical Applications in Genetics and Molecular Biology 3 (2004), sections 3 and 6.2; limma's
``squeezeVar`` and ``fitFDist``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import DataError

# fewer tickets say too little of their common variance: 95% intervals of five would hold in 93.1%, of two in 91%
FEWEST = 8
# correlation over seeds of what two tickets show: half, if a dense network varies as much as a ticket
SHARED = 0.5


@dataclass(frozen=True)
class Prior:
    """The variance that the tickets of a study suggest: s₀² with d₀ degrees of freedom; ``pooled``, all that they have together.

    The model: 1/σ² is distributed as χ²(d₀) / (d₀ s₀²), and s² given σ² as σ² χ²(d)/d.
    """

    variance: float
    freedom: float
    pooled: float

    @classmethod
    def fit(cls, variances: Iterable[float], freedoms: Iterable[float], correlation: float = 0.0) -> Prior:
        """Estimate a prior from sample variances by the first two moments of their logarithms.

            e = log s² − ψ(d/2) + log(d/2);   ψ′(d₀/2) = var(e) − mean ψ′(d/2);   log s₀² = mean(e) + ψ(d₀/2) − log(d₀/2)

        Where variances differ no more than their degrees of freedom explain, d₀ = ∞ and s₀² is the pooled variance.
        Variances of 0 are raised to 10⁻⁵ of the median, as limma does.

        ``freedoms`` are the variances' degrees of freedom, trainings − 1; variances with none are left out. ``correlation`` is
        that of what two tickets show over the seeds, see ``together``. Raises ``DataError`` for fewer than two.

        >>> Prior.fit([1.0, 1.1, 0.9, 1.0], [4, 4, 4, 4])
        Prior(variance=1.0, freedom=inf, pooled=16.0)
        """
        from scipy.special import digamma, polygamma

        s2, d = (np.asarray(list(numbers), float) for numbers in (variances, freedoms))
        s2, d = s2[d > 0], d[d > 0]
        if len(s2) < 2:
            raise DataError(f"want the variances of two tickets or more to pool them, got {len(s2)}")
        pooled = together(d, correlation)
        raised = np.maximum(s2, 1e-5 * np.median(s2))
        if not raised.min() > 0:
            return cls(float((d * s2).sum() / d.sum()), math.inf, pooled)
        e = np.log(raised) - digamma(d / 2) + np.log(d / 2)
        spread = float(e.var(ddof=1) - polygamma(1, d / 2).mean())
        if spread <= 0:
            return cls(float((d * s2).sum() / d.sum()), math.inf, pooled)
        freedom = 2 * trigamma_inverse(spread)
        log = float(e.mean() + digamma(freedom / 2)) - math.log(freedom / 2)
        return cls(math.exp(log), freedom, pooled)

    def moderate(self, variance: float, freedom: float) -> tuple[float, float]:
        """Return the moderated variance and its degrees of freedom, at most ``pooled``.

            s̃² = (d₀ s₀² + d s²) / (d₀ + d),   d₀ + d degrees of freedom

        >>> Prior(variance=1.0, freedom=6.0, pooled=40.0).moderate(4.0, 2)
        (1.75, 8.0)
        """
        total = self.freedom + freedom
        if math.isinf(total) and not math.isnan(variance):
            return self.variance, self.pooled
        return (self.freedom * self.variance + freedom * variance) / total, min(total, self.pooled)


def together(freedoms: Iterable[float], correlation: float) -> float:
    """Return the degrees of freedom that variances with these have together, if tickets correlate so over the seeds:
    Σd / (1 + (n − 1)ρ²), since variances of two normal samples that correlate with ρ correlate with ρ².

    >>> together([2, 2, 2], 0.0), together([2, 2, 2], 1.0)
    (6.0, 2.0)
    """
    d = np.asarray(list(freedoms), float)
    return float(d.sum()) / (1 + (len(d) - 1) * correlation**2)


def trigamma_inverse(value: float) -> float:
    """Return x > 0 with ψ′(x) = ``value`` > 0, by Newton's steps on 1/ψ′, which is convex and nearly linear (Smyth, 2004,
    appendix).

    >>> from scipy.special import polygamma
    >>> round(trigamma_inverse(float(polygamma(1, 2.5))), 10)
    2.5
    """
    from scipy.special import polygamma

    # The two asymptotes, ψ′(x) → 1/x² for small x and → 1/x for large x.
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        now = float(polygamma(1, x))
        step = now * (1 - now / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x

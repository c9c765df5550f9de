"""From reported objectives to what a Gaussian process can learn from."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from raytuner.history.snapshot import FloatArray


def warp_worse_half(y: FloatArray) -> FloatArray:
    """Replace the worse half of the objectives by what their ranks would be in a normal law.

    A few awful values (a diverged loss) would otherwise set the scale of the whole model and
    flatten the part of the space that matters. The better half keeps its values; its root mean
    square distance from the median sets the scale of the worse half.

    Source: the half-rank warping of X. Song et al. (2024), "The Vizier Gaussian Process Bandit
    Algorithm", arXiv:2408.11527, appendix B.

    Args:
        y: ``(n,)`` finite objectives, larger is better.

    Returns:
        ``(n,)`` warped objectives in the same order (ties stay ties).

    Example:
        >>> warp_worse_half(np.array([3.0, 2.0, 1.0, -1e9])).round(2).tolist()
        [3.0, 2.0, 1.14, 0.21]
    """
    median = float(np.median(y))
    worse = y < median
    if not worse.any():
        return y.copy()
    scale = float(np.sqrt(np.mean((y[~worse] - median) ** 2)))
    if scale == 0.0:  # all of the better half is tied: any scale keeps the order
        scale = 1e-3 * abs(median) or 1.0
    # Ranks among all n from the worst, as shares of n; ties have their mean.
    _, inverse, count = np.unique(y, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - 0.5 * count)[inverse] / len(y)
    warped = y.copy()
    warped[worse] = median + scale * norm.ppf(np.minimum(rank[worse], 0.5))
    return warped


def stretch(raw: FloatArray, y: FloatArray) -> float:
    """How much longer differences are after a transform that is affine in the better half.

    Args:
        raw: ``(n,)`` objectives.
        y: ``(n,)`` what became of them, in the same order.

    Example:
        >>> stretch(np.array([1.0, 3.0, 2.0]), np.array([-1.5, 0.5, -0.5]))
        1.0
    """
    best, middle = int(np.argmax(raw)), int(np.argsort(raw)[len(raw) // 2])
    if raw[best] == raw[middle]:
        middle = int(np.argmin(raw))
    rise = float(raw[best] - raw[middle])
    return float(y[best] - y[middle]) / rise if rise > 0 else 0.0


def scale_slack(slack: FloatArray) -> FloatArray:
    """Bring slacks of an outcome constraint to one scale, so that 0 stays the bound.

    Far from the bound only the order of magnitude counts: ``sign(c) log(1 + |c|)``, by the median
    size first.

    Source: D. Eriksson and M. Poloczek (2021), "Scalable Constrained Bayesian Optimization",
    arXiv:2002.08526, section 4.

    Args:
        slack: ``(n,)`` finite slacks, 0 or more within the bound.

    Example:
        >>> scale_slack(np.array([-1.0, 0.0, 1.0, 1e6])).round(2).tolist()
        [-0.1, 0.0, 0.1, 1.99]
    """
    sizes = np.abs(slack)
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    scaled = np.sign(slack) * np.log1p(sizes / typical)
    size = float(np.sqrt(np.mean(scaled**2)))
    return scaled / size if size > 0 else scaled


def standardise(y: FloatArray) -> FloatArray:
    """Shift and scale to mean 0 and standard deviation 1 (all 0 if all are equal)."""
    # First to a scale whose squares neither vanish nor overflow.
    y = y / (float(np.abs(y).max()) or 1.0)
    sd = float(y.std())
    return (y - y.mean()) / (sd if sd > 1e-12 else 1.0)

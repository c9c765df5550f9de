"""How much each hyperparameter matters: Sobol indices of the surrogate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import qmc, sobol_indices

from raytuner.report.model import Surrogate

if TYPE_CHECKING:
    import pandas as pd

_POINTS = 2048  # of which the model is asked jointly; more cost seconds
_DRAWS = 100
_INTERVAL = (0.05, 0.95)


def importance(surrogate: Surrogate, seed: int = 0) -> pd.DataFrame:
    """Sobol indices of the objective over the search space, the most important first.

    ``main`` is the share of the objective's variance that a hyperparameter explains alone,
    ``total`` its share with all interactions that it takes part in. The variance is that over the
    search space's own law, of the objective as the model sees it (its worse half warped), at full
    resource.

    The indices are computed on draws of the whole objective from the posterior, each with a
    bootstrap sample of the points. So the intervals hold both what the model does not know and
    the error of the integration (L. Le Gratiet, C. Cannamela, B. Iooss (2014), "A Bayesian approach
    for global sensitivity analysis of (multifidelity) computer codes", SIAM/ASA JUQ 2, 336-363).
    The estimators are SciPy's (A. Saltelli et al. 2010).

    Args:
        surrogate: The model.
        seed: Seed of points and draws.

    Returns:
        One row a hyperparameter, indexed by its name, with the medians ``main`` and ``total``, and
        ``main_low``, ``main_high``, ``total_low``, ``total_high``, which hold 90 %.
    """
    import pandas as pd

    space = surrogate.space
    d = space.dim
    n = max(2 ** int(np.log2(_POINTS / (d + 2))), 16)
    A, B = np.hsplit(qmc.Sobol(2 * d, seed=seed).random(n), 2)
    # AB_i is A with column i of B.
    mixed = [np.where(np.arange(d) == i, B, A) for i in range(d)]
    points = space.snap(np.vstack([A, B, *mixed]))
    values = surrogate.draws(points, _DRAWS, seed).reshape(_DRAWS, d + 2, n)
    sample = np.random.default_rng(seed).integers(n, size=(_DRAWS, 1, n))
    values = np.take_along_axis(values, sample, axis=2)
    f_A, f_B, f_AB = values[:, 0], values[:, 1], np.moveaxis(values[:, 2:], 1, 0)
    found = sobol_indices(func={"f_A": f_A, "f_B": f_B, "f_AB": f_AB}, n=n)
    frame = pd.DataFrame(index=pd.Index([c.name for c in space.columns], name="hyperparameter"))
    for name, indices in (("main", found.first_order), ("total", found.total_order)):
        low, middle, high = np.quantile(
            np.clip(indices, 0, 1), [_INTERVAL[0], 0.5, _INTERVAL[1]], 0
        )
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = middle, low, high
    return frame.sort_values("total", ascending=False)

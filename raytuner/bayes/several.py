"""How much a configuration is worth trying next, where there are several objectives."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.models import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition, lifted
from raytuner.bayes.batch import greedy
from raytuner.history import non_dominated
from raytuner.history.snapshot import FloatArray

_SAMPLES = 64
_CANDIDATES = 128  # at a time: of many, the hypervolume's cells would take gigabytes


class LogHypervolumeImprovement:
    """Log expected hypervolume improvement over the evaluated configurations and all pending ones.

    BoTorch's ``qLogNoisyExpectedHypervolumeImprovement`` for q = 1 at a time, with the front's
    values integrated over the posterior, so that noise does not deceive it. The reference point
    lies a tenth of the front's range beyond its worst values, so it needs no setting.

    Sources: S. Daulton et al. (2021), "Parallel Bayesian Optimization of Multiple Noisy Objectives
    with Expected Hypervolume Improvement", arXiv:2105.08195; S. Ament et al. (2023),
    arXiv:2310.20708, for the logarithm; H. Ishibuchi et al. (2011), "How to Specify a Reference
    Point in Hypervolume Calculation for Fair Performance Comparison", for the reference point.

    Attributes:
        is_local: That it is not climbed from the best configurations only.

    Args:
        objectives: A surrogate of each objective, larger is better.
        constraints: A surrogate of each outcome constraint's slack, 0 or more within its bound.
        evaluated: ``(e, d)`` configurations that have values, e >= 1.
        pending: ``(p, d)`` configurations without final values yet.
        has_fidelity: Whether the models have a fidelity as their last input; improvement is at 1.
        seed: Seed of the quasi-random samples.
        favour: What is added at ``(..., d)`` configurations; None: nothing.
    """

    is_local = False

    def __init__(
        self,
        objectives: Sequence[SingleTaskGP],
        constraints: Sequence[SingleTaskGP],
        evaluated: FloatArray,
        pending: FloatArray,
        has_fidelity: bool,
        seed: int,
        favour: Acquisition | None = None,
    ) -> None:
        self._favour = favour
        self._has_fidelity = has_fidelity
        self._pending = lifted(torch.as_tensor(pending), has_fidelity)
        baseline = lifted(torch.as_tensor(evaluated), has_fidelity)
        model = ModelListGP(*objectives, *constraints)
        m = len(objectives)
        with torch.no_grad():
            means = model.posterior(baseline).mean
        kept = (means[:, m:] >= 0).all(dim=-1)
        values = means[kept, :m] if kept.any() else means[:, :m]
        front = values[torch.as_tensor(non_dominated(values.numpy()))]
        self._improvement = qLogNoisyExpectedHypervolumeImprovement(
            model,
            ref_point=infer_reference_point(front),
            X_baseline=baseline,
            sampler=SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=seed),
            objective=IdentityMCMultiOutputObjective(list(range(m)), num_outcomes=m),
            constraints=[partial(_excess, m + j) for j in range(len(constraints))] or None,
            prune_baseline=True,
        )
        self._set_pending()

    def __call__(self, X: Tensor) -> Tensor:
        """``(...)`` values of ``(..., d)`` configurations."""
        Z = lifted(X, self._has_fidelity)
        flat = Z.reshape(-1, 1, Z.shape[-1])
        parts = [self._improvement(part) for part in torch.split(flat, _CANDIDATES)]
        values = torch.cat(parts).reshape(X.shape[:-1])
        return values if self._favour is None else values + self._favour(X)

    def add_pending(self, point: FloatArray) -> None:
        """One more configuration, ``(d,)``, is on its way: the sequential-greedy batch."""
        new = lifted(torch.as_tensor(point)[None], self._has_fidelity)
        self._pending = torch.cat([self._pending, new])
        self._set_pending()

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """The best of some candidates; see :func:`raytuner.bayes.batch.greedy`."""
        return greedy(self, candidates, n)

    def _set_pending(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that pending points have no gradient, which is meant
            self._improvement.set_X_pending(self._pending if len(self._pending) else None)


def _excess(column: int, Y: Tensor) -> Tensor:
    """How far outside of its bound an outcome is, as BoTorch has constraints: feasible below 0."""
    return -Y[..., column]

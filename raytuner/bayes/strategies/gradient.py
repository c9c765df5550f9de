"""Gradient ascent on what the surrogate expects."""

from __future__ import annotations

import torch
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition


class PosteriorMean(PosteriorAcquisition):
    """The posterior mean, climbed from the best configurations so far: a local search.

    It refines what is there and explores nothing. Of pending configurations it is supposed that
    they come to the mean of all, so that the next climb goes elsewhere (a "constant liar").

    Source: D. Ginsbourger, R. Le Riche and L. Carraro (2010), "Kriging Is Well-Suited to
    Parallelize Optimization", section 3.2, for the pending.
    """

    is_local = True
    _samples = 1

    def _white(self, mean: Tensor, corner: Tensor) -> Tensor:
        supposed = self._posterior.mean - mean
        return torch.linalg.solve_triangular(corner, supposed[:, None], upper=False).mT

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.squeeze(-1)

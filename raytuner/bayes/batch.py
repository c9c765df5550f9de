"""Choosing a batch among candidates, one after another."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raytuner.history.snapshot import FloatArray


class Batched(Protocol):
    """An acquisition function that takes pending configurations."""

    def __call__(self, X: Tensor, /) -> Tensor:
        """``(...)`` values of ``(..., d)`` configurations."""

    def add_pending(self, point: FloatArray) -> None:
        """One more configuration, ``(d,)``, is on its way."""


def greedy(acquisition: Batched, candidates: FloatArray, n: int) -> FloatArray:
    """The best of some candidates, each but the first given that those before are pending.

    Args:
        acquisition: What is best.
        candidates: ``(c, d)`` distinct configurations.
        n: How many to choose, at most c.

    Returns:
        ``(n, d)`` candidates in the order of their choice.
    """
    left, chosen = np.arange(len(candidates)), list[int]()
    while len(chosen) < n:
        with torch.no_grad():
            values = acquisition(torch.as_tensor(candidates[left]))
        best = int(values.argmax())
        chosen.append(int(left[best]))
        left = np.delete(left, best)
        if len(chosen) < n:
            acquisition.add_pending(candidates[chosen[-1]])
    return candidates[chosen]

"""Ray Tune searchers: adapters between Ray's hooks, the record and a proposer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytuner.search.botorch_search import BoTorchSearch as BoTorchSearch
    from raytuner.search.priors import near as near
    from raytuner.search.tune_space import fidelity as fidelity
    from raytuner.search.tune_space import space_from_tune as space_from_tune
    from raytuner.search.tune_space import when as when

# Loaded on first use: the process that computes proposals needs none of these, nor Ray Tune, and
# must be ready before the first trial ends.
_MODULES = {
    "BoTorchSearch": "raytuner.search.botorch_search",
    "fidelity": "raytuner.search.tune_space",
    "near": "raytuner.search.priors",
    "space_from_tune": "raytuner.search.tune_space",
    "when": "raytuner.search.tune_space",
}

__all__ = ["BoTorchSearch", "fidelity", "near", "space_from_tune", "when"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'raytuner.search' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)

"""Parallel Bayesian hyperparameter optimisation and early stopping on Ray Tune."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from raytuner.placement import check as check
    from raytuner.schedulers import ASHAScheduler as ASHAScheduler
    from raytuner.schedulers import FreezeThawScheduler as FreezeThawScheduler
    from raytuner.schedulers import HyperBandScheduler as HyperBandScheduler
    from raytuner.schedulers import (
        PredictiveTerminationScheduler as PredictiveTerminationScheduler,
    )
    from raytuner.search.botorch_search import BoTorchSearch as BoTorchSearch
    from raytuner.search.priors import near as near
    from raytuner.search.tune_space import fidelity as fidelity
    from raytuner.search.tune_space import when as when
    from raytuner.study.cross_validation import cross_validate as cross_validate
    from raytuner.study.recovery import recover as recover
    from raytuner.study.study import Study as Study
    from raytuner.study.study import load as load
    from raytuner.study.tuning import tune as tune

# The module of each public name. It is loaded on first use, so that `import raytuner` is fast and
# does not load ray.
_MODULES = {
    "ASHAScheduler": "raytuner.schedulers",
    "BoTorchSearch": "raytuner.search.botorch_search",
    "FreezeThawScheduler": "raytuner.schedulers",
    "HyperBandScheduler": "raytuner.schedulers",
    "PredictiveTerminationScheduler": "raytuner.schedulers",
    "Study": "raytuner.study.study",
    "check": "raytuner.placement",
    "cross_validate": "raytuner.study.cross_validation",
    "fidelity": "raytuner.search.tune_space",
    "load": "raytuner.study.study",
    "near": "raytuner.search.priors",
    "recover": "raytuner.study.recovery",
    "tune": "raytuner.study.tuning",
    "when": "raytuner.search.tune_space",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'raytuner' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__

"""Whole studies: run, load, resume, extend and confirm them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytuner.study.cross_validation import cross_validate as cross_validate
    from raytuner.study.recovery import Recovered as Recovered
    from raytuner.study.recovery import recover as recover
    from raytuner.study.study import Study as Study
    from raytuner.study.study import load as load
    from raytuner.study.tuning import tune as tune

# Loaded on first use: reading a study needs neither Ray nor torch.
_MODULES = {
    "Recovered": "raytuner.study.recovery",
    "Study": "raytuner.study.study",
    "cross_validate": "raytuner.study.cross_validation",
    "load": "raytuner.study.study",
    "recover": "raytuner.study.recovery",
    "tune": "raytuner.study.tuning",
}

__all__ = ["Recovered", "Study", "cross_validate", "load", "recover", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'raytuner.study' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)

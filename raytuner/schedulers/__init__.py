"""Ray Tune schedulers that stop or pause trials. Thin adapters: the decisions are in `halving`."""

from raytuner.schedulers.asha import ASHAScheduler
from raytuner.schedulers.base import JudgingScheduler
from raytuner.schedulers.freeze_thaw import FreezeThawScheduler
from raytuner.schedulers.hyperband import HyperBandScheduler
from raytuner.schedulers.partner import SearchPartner, find_partner
from raytuner.schedulers.predictive import PredictiveTerminationScheduler

__all__ = [
    "ASHAScheduler",
    "FreezeThawScheduler",
    "HyperBandScheduler",
    "JudgingScheduler",
    "PredictiveTerminationScheduler",
    "SearchPartner",
    "find_partner",
]

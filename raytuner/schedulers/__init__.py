"""Ray Tune schedulers that stop or pause trials: thin adapters of the rules in `halving`."""

from raytuner.schedulers.asha import ASHAScheduler, HyperBandScheduler
from raytuner.schedulers.forecasting import FreezeThawScheduler, PredictiveTerminationScheduler
from raytuner.schedulers.restored import SearchPartner, find_partner
from raytuner.schedulers.rule_scheduler import RuleScheduler

__all__ = [
    "ASHAScheduler",
    "FreezeThawScheduler",
    "HyperBandScheduler",
    "PredictiveTerminationScheduler",
    "RuleScheduler",
    "SearchPartner",
    "find_partner",
]

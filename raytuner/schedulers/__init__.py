"""Ray Tune schedulers that stop or pause trials: thin adapters of the rules in `halving`."""

from raytuner.schedulers.asha import ASHAScheduler
from raytuner.schedulers.freeze_thaw import FreezeThawScheduler
from raytuner.schedulers.hyperband import HyperBandScheduler
from raytuner.schedulers.partner import SearchPartner, find_partner
from raytuner.schedulers.predictive import PredictiveTerminationScheduler
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

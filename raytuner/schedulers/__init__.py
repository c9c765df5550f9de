"""Ray Tune schedulers that stop trials early. Thin adapters: the decisions are in `halving`."""

from raytuner.schedulers.asha import ASHAScheduler
from raytuner.schedulers.partner import SearchPartner, find_partner

__all__ = ["ASHAScheduler", "SearchPartner", "find_partner"]

"""Trials that were trained again, as the record has them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from raytuner.history import History, Trial

CONFIRMED = "confirmed"
"""Under this key the record has the values of repeats, by trial id."""


@dataclass(frozen=True)
class Confirmed:
    """A trial, and the values from training its configuration again.

    Attributes:
        trial: The trial that the search ran.
        values: The metric of each repeat that ended with one.
    """

    trial: Trial
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The repeats' mean; NaN without any. The search's own value is left out: it was chosen."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN with fewer than two repeats."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


def confirmed(history: History) -> tuple[Confirmed, ...]:
    """Return the trials that were confirmed, the best mean first."""
    sign = 1.0 if history.mode == "min" else -1.0
    known: Mapping[str, list[float]] = history.get_meta(CONFIRMED, {})
    found = [Confirmed(history[trial_id], tuple(values)) for trial_id, values in known.items()]
    return tuple(sorted(found, key=lambda c: (math.isnan(c.mean), sign * c.mean)))

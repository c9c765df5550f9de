"""A trial as the record knows it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from raytuner.html import table
from raytuner.space import Config


class TrialState(StrEnum):
    """Where a trial is in its life.

    ::

        PENDING -> RUNNING <-> PAUSED
                      |
                      +-> COMPLETED      reached max_t, or its training ended by itself
                      +-> STOPPED_EARLY  the scheduler's decision: its last value is at t < max_t
                      +-> FAILED         error, NaN or infinite objective, missing metric
                      +-> REMOVED        dropped without an end of its own (a lost suggestion, say)

    A trial that Ray runs again (a retry, a restored experiment) goes back to RUNNING.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    STOPPED_EARLY = "STOPPED_EARLY"
    FAILED = "FAILED"
    REMOVED = "REMOVED"

    @property
    def is_live(self) -> bool:
        """Whether a final value may still come."""
        return self in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)


class Origin(StrEnum):
    """Who proposed a trial's configuration."""

    INITIAL = "initial"  # the user's points_to_evaluate
    SOBOL = "sobol"  # quasi-random: the initial design, or where no model could be fitted
    RANDOM = "random"  # drawn by the law of the space
    EVOLUTION = "evolution"  # drawn by an evolution strategy
    EARLIER = "earlier"  # among the best of an earlier study
    BAYES = "bayes"  # a maximum of the acquisition function
    STALE = "stale"  # such a maximum, found before the latest trials had ended
    FALLBACK = "fallback"  # quasi-random, since no other proposal was ready
    AGAIN = "again"  # one of the best of a study, tried again since its max_t was raised
    EVALUATED = "evaluated"  # told from outside, never run here
    SEARCHER = "searcher"  # a searcher that is not raytuner's
    RECOVERED = "recovered"  # read back from Ray's files: who proposed it is lost


@dataclass(frozen=True)
class Trial:
    """One configuration and what it reported, frozen.

    Attributes:
        trial_id: Ray's id of the trial.
        number: Its place in the order of proposals, from 0, as in Optuna. Every text and table
            that names a trial uses this number; it is also the trial's row in ``study.results``.
        config: The full configuration, constants included.
        state: See :class:`TrialState`.
        values: Pairs ``(t, value)`` in ascending t; the value is the metric as it was reported.
            Of several, the first objective's.
        reason: Why it failed or was stopped; empty where that says it all.
        origin: Who proposed it.
        proposed_at: Unix seconds.
        ended_at: Unix seconds, or None while it is live.
        others: The same pairs of each further metric whose curve is kept, by its name: those of
            the search's goal, and those named in ``curves``.
        metrics: The last value of each number that it reported, by its name; NaN if that was not
            finite.
    """

    trial_id: str
    number: int
    config: Config
    state: TrialState
    values: tuple[tuple[float, float], ...]
    reason: str
    origin: Origin
    proposed_at: float
    ended_at: float | None
    others: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def t(self) -> float:
        """The resource spent, in units of ``time_attr``; 0 before the first report."""
        return self.values[-1][0] if self.values else 0.0

    @property
    def value(self) -> float:
        """The metric at the largest t reported; NaN before the first report."""
        return self.values[-1][1] if self.values else math.nan

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        rows: dict[str, object] = {
            "trial": self.number,
            "state": self.state.value,
            "value": self.value,
            "t": f"{self.t:g}",
            "configuration": self.config,
            "metrics": self.metrics,
            "reason": self.reason,
        }
        return table([(name, item) for name, item in rows.items() if item not in ({}, "")])

    def value_of(self, metric: str) -> float:
        """Return a further metric at the largest t at which it was reported; NaN if it never was.

        Of a metric without a curve, only the last value is known.
        """
        curve = self.others.get(metric)
        return curve[-1][1] if curve else self.metrics.get(metric, math.nan)


def proposal_counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Return how many configurations were proposed fresh, stale, and as a fall-back.

    See :attr:`raytuner.BoTorchSearch.proposal_counts`.
    """
    by = Counter(trial.origin for trial in trials)
    fresh = (
        Origin.BAYES,
        Origin.SOBOL,
        Origin.RANDOM,
        Origin.EVOLUTION,
        Origin.EARLIER,
        Origin.SEARCHER,
    )
    return {
        "fresh": sum(by[origin] for origin in fresh),
        "stale": by[Origin.STALE],
        "fallback": by[Origin.FALLBACK],
    }

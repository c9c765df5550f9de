"""A trial, its states, and what happened to it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from raytuner.history.html import table
from raytuner.space import Config


class TrialState(StrEnum):
    """The state of a trial.

    ```text
    PENDING -> RUNNING <-> PAUSED
                  |
                  +-> COMPLETED      it reached max_t, or its training finished
                  +-> STOPPED_EARLY  the scheduler stopped it: its last value is at t < max_t
                  +-> FAILED         an error, a NaN or infinite objective, or no metric at all
                  +-> REMOVED        it was dropped before its first report
    ```

    A trial that Ray runs again (a retry, a restored experiment) returns to PENDING.
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
        """True if the trial may still report values."""
        return self in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)


class Origin(StrEnum):
    """The source of a trial's configuration."""

    INITIAL = "initial"  # the user's points_to_evaluate
    SOBOL = "sobol"  # quasi-random: the initial design, or no model could be fitted
    RANDOM = "random"  # drawn from the distribution of the space
    EVOLUTION = "evolution"  # drawn by an evolution strategy
    EARLIER = "earlier"  # among the best of an earlier study
    BAYES = "bayes"  # a maximum of the acquisition function
    STALE = "stale"  # a maximum of an older model that lacks the latest results
    FALLBACK = "fallback"  # quasi-random, because no other proposal was ready
    AGAIN = "again"  # one of the best of a study, run again for a larger max_t
    EVALUATED = "evaluated"  # evaluated elsewhere, never run here
    SEARCHER = "searcher"  # proposed by another library's searcher


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration and its reports. Immutable.

    Attributes:
        trial_id: Ray's id of the trial.
        number: Number of the trial in the order of proposals, from 0. Texts and tables use this
            number. It is also the trial's row in `study.results`.
        config: The full configuration, including constants.
        state: The state; see `TrialState`.
        values: The learning curve: pairs `(t, value)` in ascending t. The value is the metric as
            reported; with several objectives, the first one.
        reported_at: The time of each of the values, in Unix seconds. All times of a search differ.
        reason: Why the trial failed or was stopped; may be empty.
        origin: The source of the configuration; see `Origin`.
        proposed_at: When it was proposed, in Unix seconds.
        ended_at: When it ended, in Unix seconds; None while it is live.
        others: The curves of further metrics, by name: other metrics of the goal, and those named
            in `curves`.
        metrics: The last value of each number that the trial reported, by name; NaN if not finite.
        started_at: When its process first began to run, in Unix seconds; None if unknown.
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
    started_at: float | None = None
    reported_at: tuple[float, ...] = ()

    @property
    def t(self) -> float:
        """The resource spent, in units of `time_attr`; 0 before the first report."""
        return self.values[-1][0] if self.values else 0.0

    @property
    def value(self) -> float:
        """The metric at the largest reported t; NaN before the first report."""
        return self.values[-1][1] if self.values else math.nan

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook."""
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
        """Return the last value of a metric; NaN if it was never reported."""
        return self.metrics.get(metric, math.nan)


@dataclass(slots=True)
class Entry:
    """A trial in the table.

    Attributes:
        head: The trial without its values.
        values: The metric by t.
        times: When the trial reported at each t, in Unix seconds.
        others: Further metrics, by t and name.
        last: The last value of each number that is not a metric of the goal, by name.
        point: `d`-dim encoded configuration; None without a search space.
        text: The configuration as written in the file; empty until it is written a second time.
    """

    head: Trial
    values: dict[float, float] = field(default_factory=dict)
    times: dict[float, float] = field(default_factory=dict)
    others: dict[float, dict[str, float]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    point: npt.NDArray[np.float64] | None = None
    text: str = ""

    def frozen(self, metric: str) -> Trial:
        """Return the trial with its values."""
        others: dict[str, list[tuple[float, float]]] = {}
        for t, values in sorted(self.others.items()):
            for name, value in values.items():
                others.setdefault(name, []).append((t, value))
        steps = tuple(sorted(self.values.items()))
        last = {metric: steps[-1][1]} if steps else {}
        last |= {name: curve[-1][1] for name, curve in others.items()}
        return replace(
            self.head,
            values=steps,
            reported_at=tuple([self.times[t] for t, _ in steps]),
            others={name: tuple(curve) for name, curve in others.items()},
            metrics={**last, **self.last},
        )


def proposal_counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Return the numbers of fresh, stale and fallback proposals.

    See `raytuner.BoTorchSearch.proposal_counts`.
    """
    by = Counter(trial.origin for trial in trials)
    others = (Origin.STALE, Origin.FALLBACK, Origin.INITIAL, Origin.AGAIN, Origin.EVALUATED)
    fresh = sum(by[origin] for origin in Origin if origin not in others)
    return {"fresh": fresh, "stale": by[Origin.STALE], "fallback": by[Origin.FALLBACK]}

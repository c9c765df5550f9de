"""The interface of a rule, which decides which trials continue, and the values to compare."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from raytuner.history import Goal, History, Origin, Table, spread
from raytuner.history.snapshot import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Score:
    """Several objectives, or one with constraints.

    Attributes:
        objectives: Larger is better.
        violation: How far outside of its bounds the trial is; 0 inside.
    """

    objectives: tuple[float, ...]
    violation: float = 0.0


Value = float | Score


def is_finite(value: Value) -> bool:
    """Return whether all objectives are finite."""
    objectives = value.objectives if isinstance(value, Score) else (value,)
    return all(math.isfinite(one) for one in objectives)


class Merits:
    """The merit of each score among those that came so far, a number; larger is better.

    Scores within their bounds come first, by their front (NSGA-II's non-dominated sorting). Within
    a front, scores with more distance to others come first, so that the trials that continue are
    spread over the front. Then come the other scores, the smallest violation first. Scores that are
    not finite get minus infinity.

    A new score moves few others to another front. Only their fronts are computed again.

    Sources: R. Schmucker et al. (2021), "Multi-objective Asynchronous Successive Halving",
    arXiv:2106.12639, for non-dominated sorting at a rung; K. Deb et al. (2002), "NSGA-II", section
    III, for the order within a front and for violations; K. Li et al. (2017), "Efficient
    Nondomination Level Update Method for Steady-State Evolutionary Multiobjective Optimization",
    IEEE Transactions on Cybernetics 47(9), for the update of fronts.

    Attributes:
        held: `n`-dim merits, in the order in which the scores came.

    Examples:
        >>> merits = Merits()
        >>> for score in (Score((1.0, 0.0)), Score((0.0, -1.0)), Score((9.0, 9.0), 2.0)):
        ...     _ = merits.add(score)
        >>> merits.held.tolist()
        [0.0, -1.0, -2.0]
    """

    def __init__(self) -> None:
        self.held: FloatArray = np.empty(0)
        self._scores: FloatArray = np.empty((0, 0))  # the objectives, and the violation
        self._front: IntArray = np.empty(0, dtype=np.int64)  # -1: on none

    def add(self, score: Score) -> list[int]:
        """Add a score, and return the rows of `held` that are new or have changed."""
        row, last = len(self.held), int(self._front.max(initial=-1))
        values = np.array([*score.objectives, score.violation])
        self._scores = np.vstack([self._scores.reshape(row, len(values)), values])
        self.held, self._front = np.append(self.held, -math.inf), np.append(self._front, -1)
        if not is_finite(score):
            return [row]
        changed = [row]
        if score.violation == 0:
            for front in self._enter(row):
                rows = np.flatnonzero(self._front == front)
                alone = spread(self._scores[rows, :-1])
                self.held[rows] = -front - _ranks(-alone) / len(rows)
                changed += rows.tolist()
            if int(self._front.max()) == last:
                return changed
        is_finite_row = np.isfinite(self._scores[:, :-1]).all(axis=1)
        broken = np.flatnonzero(is_finite_row & (self._scores[:, -1] > 0))
        self.held[broken] = -(int(self._front.max()) + 1) - _ranks(self._scores[broken, -1])
        return [*changed, *broken.tolist()]

    def _enter(self, row: int) -> range:
        """Put a row on its front, and return the fronts that have changed."""
        Y, new = self._scores[:, :-1], self._scores[row, :-1]
        dominates = (new <= Y).all(axis=1) & (new < Y).any(axis=1)
        first = front = 1 + int(self._front[dominates].max(initial=-1))
        self._front[row], moved = front, np.array([row])
        while len(moved):
            # Those that it dominates move to the next front, and push others off that.
            others = np.setdiff1d(np.flatnonzero(self._front == front), moved)
            better, worse = Y[moved][:, None], Y[others]
            is_pushed = (better >= worse).all(axis=-1) & (better > worse).any(axis=-1)
            moved, front = others[is_pushed.any(axis=0)], front + 1
            self._front[moved] = front
        return range(first, front)


def _ranks(keys: FloatArray) -> FloatArray:
    """The rank of each among the different keys, ascending from 0."""
    return np.unique(keys, return_inverse=True)[1].astype(np.float64)


Alive = Callable[[str], bool]
"""Returns whether a trial, by its id, can still continue: it has neither ended nor failed."""


class Action(StrEnum):
    """The action on a trial after a report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one trial at one rung.

    Attributes:
        action: The action on the trial.
        rung: The rung's level, in units of `t`.
        rank: 1 + the number of recorded values that are strictly better. Equal values share a rank.
        recorded: Number of values at the rung, including this one.
        quota: Number of trials at the rung that continue.
        chance: The forecast probability of becoming the best, if it decided; otherwise None.
        least_chance: The required probability.

    Examples:
        >>> Verdict(Action.STOP, rung=3, rank=7, recorded=9, quota=3).reason
        'rank 7 of 9 at rung 3: the best 3 continue'
    """

    action: Action
    rung: float
    rank: int
    recorded: int
    quota: int
    chance: float | None = None
    least_chance: float | None = None

    @property
    def reason(self) -> str:
        """The reason of the decision, as a short text."""
        if self.chance is not None and self.least_chance is not None:
            side = "below" if self.chance < self.least_chance else "at least"
            return (
                f"chance of becoming the best: {100 * self.chance:.1f} % at rung"
                f" {self.rung}, {side} {100 * self.least_chance:g} %"
            )
        if self.action is Action.STOP and (self.rank <= self.quota or self.quota == 0):
            return f"no finite value at rung {self.rung}, where another trial has one"
        best = {0: "too few for one to continue", 1: "only the best continues"}
        rule = best.get(self.quota, f"the best {self.quota} continue")
        return f"rank {self.rank} of {self.recorded} at rung {self.rung}: {rule}"


class Rule(ABC):
    """Decides which trials continue. Larger values are better. Independent of Ray.

    A rule that never pauses a trial defines `decide` and `summary` only.

    Args:
        max_t: A trial's full resource, in units of `t`. The caller ends a trial that reaches it.

    Attributes:
        pauses: Whether the rule pauses trials, which must then be able to save checkpoints.
        goal: The goal by which trials are compared. None: the table's goal.
    """

    pauses = False
    goal: Goal | None = None

    def __init__(self, max_t: float) -> None:
        self.max_t = max_t

    @abstractmethod
    def decide(self, table: Table, trial_id: str, t: float) -> Verdict | None:
        """Decide about a trial that has reported at `t`; None lets it continue.

        The report is in the table. If asked again at the same `t`, because a retry repeats reports,
        the rule decides the same. `promote` may choose a paused trial at once.
        """

    @abstractmethod
    def summary(self) -> str:
        """Return the current state in one line."""

    def promote(self, alive: Alive, *, closing: bool = False) -> str | None:
        """Return the paused trial that should get a free slot; None for a new trial.

        Args:
            alive: See `Alive`.
            closing: No new trial will come and nothing runs. Trials that are not promoted now never
                will be. The method is called until it returns None.
        """
        return None

    def give_up(self, alive: Alive) -> str | None:
        """Return the least promising paused trial, in order to end it; None if none is paused."""
        return None

    def waits(self, trial_id: str) -> bool:
        """Return whether a trial is paused, according to the decisions so far."""
        return False

    def explain(self, trial_id: str) -> str:
        """Return why a paused trial has not continued, as a short text."""
        return ""

    def passed(self, trial_id: str, t: float) -> tuple[float, ...]:
        """Return the levels below `t` at which a trial that reports at `t` must have continued.

        If only the last report of a restored trial is known, its value counts there too.
        """
        return ()

    def replay(self, table: Table, reports: Iterable[tuple[str, float]]) -> None:
        """Bring the rule up to date with the table after a crash.

        Args:
            table: The table of trials.
            reports: `(trial_id, t)` of the reports in the table, in the order of their arrival.
        """
        for trial_id, t in reports:
            self.decide(table, trial_id, t)

    def value(self, table: Table, trial_id: str, t: float) -> Value:
        """Return the value for comparing a trial at `t`: a float for one plain objective."""
        goal, metrics = self.goal or table.goal, table.metrics_at(trial_id, t)
        objectives = goal.outcomes(metrics)[: goal.n_objectives]
        if len(objectives) == 1 and not goal.constraints:
            return objectives[0]
        return Score(objectives, goal.violation(metrics))


def reports_in_order(history: History) -> list[tuple[str, float]]:
    """Return `(trial_id, t)` of all reports of trials at full fidelity, oldest first."""
    found = sorted(
        (at, trial.trial_id, t)
        for trial in history.trials
        if trial.origin is not Origin.EVALUATED and history.is_full(trial)
        for (t, _), at in zip(trial.values, trial.reported_at, strict=True)
    )
    return [(trial_id, t) for _, trial_id, t in found]

"""Asynchronous successive halving, the variant that stops trials.

A trial that reaches a rung is ranked at once among the trials recorded there so far, and stops
unless it is in the best 1 / reduction_factor of them: nobody waits for a rung to fill, nothing is
paused. Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (MLSys,
arXiv:1810.05934), pauses trials and promotes them (Algorithm 2); Klein et al. 2020
(arXiv:2003.10865) describe both variants.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from raytuner.errors import HistoryError, SettingError
from raytuner.halving.rungs import amount, bracket_levels, bracket_weights
from raytuner.halving.verdict import Action, Verdict


@dataclass(frozen=True, slots=True)
class RungView:
    """How one rung stands.

    Attributes:
        bracket: The bracket it belongs to, from 0.
        level: Its level, in units of `t`.
        recorded: How many trials were judged there.
        went_on: How many of them went on.
    """

    bracket: int
    level: float
    recorded: int
    went_on: int


class SuccessiveHalving:
    """Judges trials at rungs. Larger values are better.

    The rule: with n values recorded at a rung, the trial's own included, it goes on if fewer than
    `max(1, n // reduction_factor)` of them are strictly better. So the best so far always goes on,
    and so does one that ties with the last to go on.

    A value that is not finite (NaN, either infinity) ranks below every finite one. Its trial goes
    on only while the rung holds no finite value at all, however few there are: training on from a
    diverged state is never worth it once something else works.

    A trial is judged once at a rung, and its verdict stands: reports repeated after a retry change
    nothing, and a stopped trial stays stopped.

    Where `t` jumps over rungs, the value counts for the highest rung reached only, and the trial
    is never judged at those it skipped. A value from t = 9 recorded at rung 1 would raise the bar
    there for trials that had a ninth of the resource; leaving a trial out of a rung because of
    when it reports says nothing about how good it is, so the ranks there stay fair.

    Args:
        grace_period: Level of the first rung, in units of `t`. Defaults to 1.
        max_t: A trial's full resource, in the same units. Defaults to 100. The caller ends a trial
            that reaches it; it is complete, not judged.
        reduction_factor: About 1 in this many goes on. Defaults to 3.
        brackets: How many brackets; bracket b leaves out the b lowest rungs. Defaults to 1.
        seed: Seeds the draw of brackets; None, the default, draws differently each time.

    Raises:
        SettingError: If an argument is outside of what it may be.

    Example:
        >>> halving = SuccessiveHalving(max_t=27)
        >>> halving.judge("a", 1, 0.5).action.value
        'continue'
        >>> halving.judge("b", 1, 0.4).reason
        'rank 2 of 2 at rung 1: only the best goes on'
        >>> halving.rungs[0]
        RungView(bracket=0, level=1, recorded=2, went_on=1)
    """

    def __init__(
        self,
        grace_period: float = 1,
        max_t: float = 100,
        reduction_factor: int = 3,
        brackets: int = 1,
        *,
        seed: int | None = None,
    ) -> None:
        levels = bracket_levels(grace_period, max_t, reduction_factor, brackets)
        self._max_t = amount("max_t", max_t)
        self._reduction_factor = int(reduction_factor)
        self._weights = bracket_weights(levels, self._reduction_factor)
        self._random = _generator(seed)
        self._rungs = [[_Rung(level) for level in bracket] for bracket in levels]
        self._bracket_of: dict[str, int] = {}
        # The latest verdict of each trial. It also says up to which level the trial is done with.
        self._verdicts: dict[str, Verdict] = {}

    @property
    def max_t(self) -> float:
        """A trial's full resource, in units of `t`."""
        return self._max_t

    def add(self, trial_id: str) -> int:
        """Put a trial into a bracket.

        Args:
            trial_id: The trial; one already known keeps its bracket and its verdict.

        Returns:
            Its bracket, from 0, drawn with the probabilities of `bracket_weights`.
        """
        if trial_id not in self._bracket_of:
            bracket = int(self._random.choice(len(self._weights), p=self._weights))
            self._bracket_of[trial_id] = bracket
        return self._bracket_of[trial_id]

    def judge(self, trial_id: str, t: float, value: float) -> Verdict | None:
        """Judge a report.

        Args:
            trial_id: The trial; added if it is not known.
            t: The resource it has spent.
            value: What it reports there; larger is better. May be NaN or infinite.

        Returns:
            The verdict that stands for the trial after this report: a new one if it reached a
            rung, else its latest; None before its first rung.
        """
        standing = self._verdicts.get(trial_id)
        if standing is not None and standing.action is Action.STOP:
            return standing
        reached = [rung for rung in self._rungs[self.add(trial_id)] if rung.level <= t]
        if not reached or (standing is not None and reached[-1].level <= standing.rung):
            return standing
        verdict = reached[-1].judge(trial_id, value, self._reduction_factor)
        self._verdicts[trial_id] = verdict
        return verdict

    def verdict(self, trial_id: str) -> Verdict | None:
        """The latest verdict of a trial; None if it was never judged."""
        return self._verdicts.get(trial_id)

    @property
    def rungs(self) -> tuple[RungView, ...]:
        """How each rung stands: bracket by bracket, levels ascending."""
        stopped = Counter(
            (self._bracket_of[trial_id], verdict.rung)
            for trial_id, verdict in self._verdicts.items()
            if verdict.action is Action.STOP
        )
        return tuple(
            RungView(bracket, rung.level, n := len(rung.values), n - stopped[bracket, rung.level])
            for bracket, rungs in enumerate(self._rungs)
            for rung in rungs
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far, as plain data that `json` can write."""
        return {
            "reduction_factor": self._reduction_factor,
            "random": self._random.bit_generator.state,
            "bracket_of": dict(self._bracket_of),
            "verdicts": {trial_id: asdict(v) for trial_id, v in self._verdicts.items()},
            "rungs": [[rung.state_dict() for rung in rungs] for rungs in self._rungs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave, forgetting the present one.

        Args:
            state: The state, of a halving with the same rungs.

        Raises:
            HistoryError: If the state cannot be read. Nothing has changed then.
            SettingError: If it has other rungs or another reduction factor. Nothing has changed.
        """
        try:
            reduction_factor = state["reduction_factor"]
            rungs = [[_Rung.from_state(rung) for rung in bracket] for bracket in state["rungs"]]
            verdicts = {
                trial_id: Verdict(**{**fields, "action": Action(fields["action"])})
                for trial_id, fields in state["verdicts"].items()
            }
            bracket_of = {trial_id: int(b) for trial_id, b in state["bracket_of"].items()}
            random = _generator(None)
            random.bit_generator.state = state["random"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HistoryError(
                f"the saved state of successive halving cannot be read ({error!r}); "
                f"it must be what state_dict() gave"
            ) from error
        levels, own = _levels(rungs), _levels(self._rungs)
        if (reduction_factor, levels) != (self._reduction_factor, own):
            raise SettingError(
                f"the saved state has rungs {levels} and reduction_factor {reduction_factor}, this "
                f"halving has {own} and {self._reduction_factor}; go on with the settings it was "
                f"saved with"
            )
        self._rungs, self._verdicts, self._bracket_of = rungs, verdicts, bracket_of
        self._random = random


class _Rung:
    """The values recorded at one level. What is not finite is held as minus infinity."""

    def __init__(self, level: float) -> None:
        self.level = level
        self.values: dict[str, float] = {}
        self._ascending: list[float] = []

    def record(self, trial_id: str, value: float) -> float:
        """Keep a trial's value; returns it as it is held."""
        held = float(value) if math.isfinite(value) else -math.inf
        self.values[trial_id] = held
        insort(self._ascending, held)
        return held

    def judge(self, trial_id: str, value: float, reduction_factor: int) -> Verdict:
        """Record a trial's value and rank it."""
        held = self.record(trial_id, value)
        recorded = len(self._ascending)
        quota = max(1, recorded // reduction_factor)
        rank = 1 + recorded - bisect_right(self._ascending, held)
        # Not finite and of rank 1: nothing here is finite.
        goes_on = rank <= quota if math.isfinite(held) else rank == 1
        cutoff = self._ascending[-quota]
        return Verdict(
            action=Action.CONTINUE if goes_on else Action.STOP,
            rung=self.level,
            rank=rank,
            recorded=recorded,
            quota=quota,
            cutoff=cutoff if math.isfinite(cutoff) else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """Level and values; None for a value that is not finite, which JSON cannot say."""
        values = {i: v if math.isfinite(v) else None for i, v in self.values.items()}
        return {"level": self.level, "values": values}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> _Rung:
        """The rung that gave this state."""
        rung = cls(state["level"])
        for trial_id, value in state["values"].items():
            rung.record(trial_id, -math.inf if value is None else value)
        return rung


def _levels(brackets: list[list[_Rung]]) -> list[list[float]]:
    return [[rung.level for rung in rungs] for rungs in brackets]


def _generator(seed: int | None) -> np.random.Generator:
    if isinstance(seed, bool) or not (seed is None or isinstance(seed, int | np.integer)):
        raise SettingError(f"seed={seed!r} is not None or a whole number of at least 0")
    if seed is not None and seed < 0:
        raise SettingError(f"seed={seed!r} is below 0; it must be None or at least 0")
    return np.random.default_rng(seed)

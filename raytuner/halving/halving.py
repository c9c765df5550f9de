"""What the variants of asynchronous successive halving share: brackets, rungs and verdicts.

A trial is judged once at each rung of its bracket, by rank among the trials recorded there so far;
nobody waits for a rung to fill. What differs is what becomes of those that are not among the best:
`raytuner.halving.stopping` ends them, `raytuner.halving.promotion` lets them wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Any

import numpy as np

from raytuner.errors import HistoryError, SettingError
from raytuner.halving.rung import Rung
from raytuner.halving.rungs import amount, bracket_levels, bracket_weights
from raytuner.halving.score import Value
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


class SuccessiveHalving(ABC):
    """Judges trials at rungs; a `raytuner.halving.judge.Judge`. Larger values are better.

    A value that is not finite (NaN, either infinity) ranks below every finite one, and never goes
    on once the rung holds a finite one: training on from a diverged state is never worth it once
    something else works.

    A trial is judged once at a rung, and its verdict stands: reports repeated after a retry change
    nothing, and a stopped trial stays stopped.

    Where `t` jumps over rungs, the value counts for the highest rung reached only, and the trial
    is never judged at those it skipped. A value from t = 9 recorded at rung 1 would raise the bar
    there for trials that had a ninth of the resource; leaving a trial out of a rung because of
    when it reports says nothing about how good it is, so the ranks there stay fair.

    A trial's bracket follows from its id and the seed alone, so it is the same after a restore.

    Args:
        grace_period: Level of the first rung, in units of `t`. Defaults to 1.
        max_t: A trial's full resource, in the same units. Defaults to 100. The caller ends a trial
            that reaches it; it is complete, not judged.
        reduction_factor: About 1 in this many goes on. Defaults to 3.
        brackets: How many brackets; bracket b leaves out the b lowest rungs. Defaults to 1. None:
            all of Hyperband's, the last of which has no rung: its trials are trained in full.
        seed: Decides the brackets, with the trials' ids; None, the default, draws one.

    Raises:
        SettingError: If an argument is outside of what it may be.
    """

    pauses = False

    def __init__(
        self,
        grace_period: float = 1,
        max_t: float = 100,
        reduction_factor: int = 3,
        brackets: int | None = 1,
        *,
        seed: int | None = None,
    ) -> None:
        levels = bracket_levels(grace_period, max_t, reduction_factor, brackets)
        self._max_t = amount("max_t", max_t)
        self._reduction_factor = int(reduction_factor)
        self._upper = tuple(accumulate(bracket_weights(levels, self._reduction_factor)))
        self._seed = _seed(seed)
        self._rungs = [[Rung(b, level) for level in bracket] for b, bracket in enumerate(levels)]
        # The latest verdict of each trial. It also says up to which level the trial is done with.
        self._verdicts: dict[str, Verdict] = {}

    @property
    def max_t(self) -> float:
        """A trial's full resource, in units of `t`."""
        return self._max_t

    def bracket_of(self, trial_id: str) -> int:
        """A trial's bracket, from 0: drawn by the id, with the chances of `bracket_weights`."""
        digest = blake2b(f"{self._seed}/{trial_id}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest) / 2**64
        return min(bisect_right(self._upper, drawn), len(self._upper) - 1)

    def judge(self, trial_id: str, t: float, value: Value) -> Verdict | None:
        """Judge a report.

        Args:
            trial_id: The trial.
            t: The resource it has spent.
            value: What it reports there; larger is better. May be NaN or infinite. Of one search
                all are numbers, or all are scores.

        Returns:
            The verdict that stands for the trial after this report: a new one if it reached a
            rung, else its latest; None before its first rung, and while a paused trial that begins
            anew (a retry) is on its way back to where it was paused.
        """
        standing = self._verdicts.get(trial_id)
        if standing is not None:
            if standing.action is Action.STOP:
                return standing
            if standing.action is Action.PAUSE:
                return standing if t >= standing.rung else None
        rung = self._reached(trial_id, t)
        if rung is None or (standing is not None and rung.level <= standing.rung):
            return standing
        verdict = self._judge_at(rung, trial_id, value)
        self._verdicts[trial_id] = verdict
        return verdict

    @abstractmethod
    def _judge_at(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        """Record a trial's value at a rung, and rank it."""

    def resume(self, alive: Callable[[str], bool], *, closing: bool = False) -> str | None:
        """The paused trial that should go on; see `Judge.resume`."""
        return None

    def give_up(self, alive: Callable[[str], bool]) -> str | None:
        """The paused trial that would be missed least; see `Judge.give_up`."""
        return None

    def waits(self, trial_id: str) -> bool:
        """Whether a trial is paused."""
        verdict = self._verdicts.get(trial_id)
        return verdict is not None and verdict.action is Action.PAUSE

    def explain(self, trial_id: str) -> str:
        """The reason of a trial's verdict."""
        return self._verdicts[trial_id].reason

    def observe(self, trial_id: str, t: float, value: Value) -> None:
        """Take note of a report that an earlier process has decided about."""
        if t < self._max_t:
            self.judge(trial_id, t, value)

    @abstractmethod
    def recall(self, trial_id: str, t: float, value: Value, *, ended: bool) -> None:
        """Take note of a trial of which only the last report is known; see `Judge.recall`."""

    def verdict(self, trial_id: str) -> Verdict | None:
        """The latest verdict of a trial; None if it was never judged."""
        return self._verdicts.get(trial_id)

    @property
    def rungs(self) -> tuple[RungView, ...]:
        """How each rung stands: bracket by bracket, levels ascending."""
        return tuple(
            RungView(rung.bracket, rung.level, len(rung.values), len(rung.went_on))
            for rungs in self._rungs
            for rung in rungs
        )

    def summary(self) -> str:
        """How many trials were stopped, and how many went on at each rung; one line."""
        stopped = sum(verdict.action is Action.STOP for verdict in self._verdicts.values())
        many = len(self._rungs) > 1
        each = ", ".join(
            f"{f'bracket {rung.bracket} ' if many else ''}{rung.level}: "
            f"{rung.went_on} of {rung.recorded} went on"
            for rung in self.rungs
        )
        return f"{stopped} trials stopped early; rungs {each or 'none'}"

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far, as plain data that `json` can write."""
        return {
            "pauses": self.pauses,
            "reduction_factor": self._reduction_factor,
            "seed": self._seed,
            "verdicts": {trial_id: asdict(v) for trial_id, v in self._verdicts.items()},
            "rungs": [[rung.state_dict() for rung in rungs] for rungs in self._rungs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave, forgetting the present one.

        Args:
            state: The state, of a halving of the same kind with the same rungs.

        Raises:
            HistoryError: If the state cannot be read. Nothing has changed then.
            SettingError: If it is of another kind, or has other rungs or another reduction factor.
                Nothing has changed.
        """
        try:
            saved = (state["pauses"], state["reduction_factor"])
            rungs = [
                [Rung.from_state(number, rung) for rung in bracket]
                for number, bracket in enumerate(state["rungs"])
            ]
            verdicts = {
                trial_id: Verdict(**{**fields, "action": Action(fields["action"])})
                for trial_id, fields in state["verdicts"].items()
            }
            seed = int(state["seed"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HistoryError(
                f"the saved state of successive halving cannot be read ({error!r}); "
                f"it must be what state_dict() gave"
            ) from error
        levels, own = _levels(rungs), _levels(self._rungs)
        if (*saved, levels) != (self.pauses, self._reduction_factor, own):
            raise SettingError(
                f"the saved state {_kind(*saved)} and rungs {levels}, this halving "
                f"{_kind(self.pauses, self._reduction_factor)} and {own}; go on with the settings "
                f"it was saved with"
            )
        self._rungs, self._verdicts, self._seed = rungs, verdicts, seed

    def _reached(self, trial_id: str, t: float) -> Rung | None:
        """The highest rung of a trial's bracket that it has reached."""
        reached = [rung for rung in self._rungs[self.bracket_of(trial_id)] if rung.level <= t]
        return reached[-1] if reached else None


def _levels(brackets: list[list[Rung]]) -> list[list[float]]:
    return [[rung.level for rung in rungs] for rungs in brackets]


def _kind(pauses: bool, reduction_factor: int) -> str:
    return f"{'pauses' if pauses else 'stops'}, has reduction_factor {reduction_factor}"


def _seed(seed: int | None) -> int:
    """A seed as given, or one that is drawn now, to be kept."""
    if isinstance(seed, bool) or not (seed is None or isinstance(seed, int | np.integer)):
        raise SettingError(f"seed={seed!r} is not None or a whole number of at least 0")
    if seed is not None and seed < 0:
        raise SettingError(f"seed={seed!r} is below 0; it must be None or at least 0")
    return int(np.random.default_rng().integers(2**63)) if seed is None else int(seed)

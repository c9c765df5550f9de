"""What a scheduler needs of whoever decides over trials: by rank, or by a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from raytuner.halving.score import Value
from raytuner.halving.verdict import Action


class Decision(Protocol):
    """What becomes of one trial, and why."""

    @property
    def action(self) -> Action:
        """Whether the trial goes on."""

    @property
    def reason(self) -> str:
        """The decision in one short sentence, for people."""


class Judge(Protocol):
    """Decides which trials go on. Larger values are better. Knows nothing of Ray.

    Trials are known by their ids. `alive(trial_id)` says whether a trial can still go on: it has
    neither ended nor failed.
    """

    @property
    def max_t(self) -> float:
        """A trial's full resource. Whoever calls ends a trial that reaches it."""

    @property
    def pauses(self) -> bool:
        """Whether it ever pauses a trial: then trials must be able to save and load checkpoints."""

    def judge(self, trial_id: str, t: float, value: Value) -> Decision | None:
        """Decide about a trial that reports; None: nothing to decide, it goes on.

        Called again at a `t` that the trial had reached before (a retry repeats reports), it must
        come to the same. A trial that is paused may be chosen by `resume` at once.
        """

    def resume(self, alive: Callable[[str], bool], *, closing: bool = False) -> str | None:
        """A slot is free: the paused trial that should have it, or None if a new one should.

        The trial it names counts as going on from then.

        Args:
            alive: See the class.
            closing: No new trial will come and nothing runs: what does not go on now will never.
                Called until it gives None.
        """

    def give_up(self, alive: Callable[[str], bool]) -> str | None:
        """The paused trial that would be missed least, which is about to be ended; None: none."""

    def waits(self, trial_id: str) -> bool:
        """Whether a trial is paused, by all that was decided."""

    def explain(self, trial_id: str) -> str:
        """Why a paused trial has not gone on, in one short sentence."""

    def observe(self, trial_id: str, t: float, value: Value) -> None:
        """Take note of a report that an earlier process has decided about.

        All of a search's reports come here, in the order in which they were made.
        """

    def recall(self, trial_id: str, t: float, value: Value, *, ended: bool) -> None:
        """Take note of a trial of an earlier process of which only the last report is known."""

    def summary(self) -> str:
        """How things stand, in one line."""

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far, as plain data that `json` can write."""

    def load_state_dict(self, state: Any) -> None:
        """Go on from a state that `state_dict` gave; raises, and changes nothing, if it cannot."""

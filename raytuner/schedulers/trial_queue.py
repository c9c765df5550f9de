"""Choose the trial that runs next, promoted or pending, and end paused trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.tune.experiment import Trial

from raytuner.controller.active_trials import ActiveTrials
from raytuner.controller.recorder import stop_early
from raytuner.controller.search_layers import count_in, count_out, max_concurrent_of
from raytuner.halving import Alive
from raytuner.schedulers.active import ActiveScheduler
from raytuner.schedulers.checkpoints import CheckpointCheck
from raytuner.schedulers.restored import bring_up_to_date


class TrialQueue:
    """Pauses, resumes and ends trials as the rule decides.

    Whenever a trial gives up its slot, the rule is asked at once for a paused trial to have it.
    Paused trials hold no slot: Ray ends their processes. Every paused trial is in the end resumed,
    or ended with a reason: when no other will come and nothing runs, and one by one if nothing else
    lets the search go on (a searcher that gives no trial while others are paused).

    Args:
        active: The scheduler's rule and table.
        scheduler: The scheduler's class, for messages.

    Attributes:
        trials: All trials by id.
        nothing_new: Whether the searcher had no new trial when the rule was last asked.
    """

    def __init__(self, active: ActiveScheduler, scheduler: str) -> None:
        self.trials: dict[str, Trial] = {}
        self.nothing_new = False
        self._active, self._rule = active, active.rule
        self._slots = ActiveTrials()
        self._checkpoints = CheckpointCheck(scheduler)
        self._promoted: dict[str, None] = {}  # to be resumed, in this order
        self._handed: Trial | None = None  # the last one that Ray was given to resume

    def add(self, tune_controller: Any, trial: Trial) -> None:
        """Add a trial: a new one, a restored one, or one that is retried."""
        trial_id = trial.trial_id
        is_new = trial_id not in self.trials
        self.trials[trial_id] = trial
        if is_new:
            if self._rule.pauses:
                self._checkpoints.check_class(trial)
            self._active.add(trial)
            if bring_up_to_date(self._active.partner, tune_controller.search_alg, trial):
                return
            if trial.status == Trial.PENDING and self._rule.waits(trial_id):
                # Ray lets all restored trials run. Only here, before it enters the trial anywhere,
                # can that be changed.
                trial.set_status(Trial.PAUSED)  # type: ignore[no-untyped-call]
                self._pause(tune_controller, trial_id)
        elif self._rule.pauses:
            self._resume(tune_controller, trial_id)  # it may have failed to pause
        if trial.status == Trial.PENDING:
            self._slots.enter(trial)
            if self._rule.pauses:  # Ray may be about to ask for many more
                self._slots.set_cap(tune_controller, len(self._promoted))

    def pause(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> bool:
        """Pause a trial unless it is the one that should have its slot; return whether it pauses.

        Raises:
            TrainableError: Its function has reported no checkpoint, and no trial ever had one.
        """
        chosen = self._ask_rule(tune_controller, self._alive)
        if chosen == trial.trial_id:
            return False
        self._checkpoints.check_report(trial, result, self._active.table.time_attr)
        self._pause(tune_controller, trial.trial_id)
        if chosen is not None:
            self._promote(tune_controller, chosen)
        return True

    def free_slot(self, tune_controller: Any, trial: Trial) -> None:
        """Give the slot of a trial that has ended to a paused trial, if the rule says so."""
        chosen = self._ask_rule(
            tune_controller, lambda other: other != trial.trial_id and self._alive(other)
        )
        if chosen is not None:
            self._promote(tune_controller, chosen)

    def forget(self, trial_id: str) -> None:
        """Do not resume a trial: it has ended, or never paused."""
        self._promoted.pop(trial_id, None)

    def next(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next; end paused trials where the search must go on or end."""
        chosen = self._next(tune_controller)
        if self._rule.pauses:
            self._slots.set_cap(tune_controller, len(self._promoted))
        return chosen

    def first_pending(self) -> Trial | None:
        """Return the pending trial that should run first."""
        return self._slots.first_pending()

    def paused(self) -> Iterator[str]:
        """Return the ids of the paused trials."""
        return (i for i, trial in self.trials.items() if trial.status == Trial.PAUSED)

    def _next(self, tune_controller: Any) -> Trial | None:
        self.nothing_new = True  # the searcher was asked just now, unless a trial is pending
        for next_one in (self._next_promoted, self._slots.first_pending, self._paused_by_another):
            if (trial := next_one()) is not None:
                return trial
        if not self._rule.pauses:
            return None
        limit = max_concurrent_of(tune_controller.search_alg)
        if limit is None or self._slots.taken() < limit:
            chosen = self._rule.promote(self._alive)
            if chosen is not None:
                self._promote(tune_controller, chosen)
                return self._next_promoted()
        if self._slots.taken() > 0:
            return None
        if tune_controller.search_alg.is_finished():
            return self._close(tune_controller)
        if (worst := self._rule.give_up(self._alive) or next(self.paused(), None)) is not None:
            why = self._rule.explain(worst)
            why = f"the searcher gave no new trial while it was paused; {why}"
            self._end(tune_controller, worst, why)
        return None

    def _next_promoted(self) -> Trial | None:
        """The promoted trial that Ray should resume; the same until Ray has."""
        if self._handed is not None and self._handed.status == Trial.PAUSED:
            return self._handed
        self._handed = None
        for trial_id in self._promoted:
            trial = self.trials[trial_id]
            if trial.status == Trial.PAUSED:  # else its checkpoint is still being saved
                del self._promoted[trial_id]
                return self._hand(trial)
        return None

    def _paused_by_another(self) -> Trial | None:
        """A trial that the rule did not pause.

        Ray's `ResourceChangingScheduler` around this scheduler pauses trials to give them other
        resources, and relies on this scheduler to resume them.
        """
        waits = (t for t in self._slots.paused() if not self._rule.waits(t.trial_id))
        trial = next(waits, None)
        return None if trial is None else self._hand(trial)

    def _hand(self, trial: Trial) -> Trial:
        self._slots.enter(trial)
        self._handed = trial
        return trial

    def _close(self, tune_controller: Any) -> Trial | None:
        """Nothing runs and no new trial will come: end what cannot go on now."""
        chosen = self._rule.promote(self._alive, closing=True)
        if chosen is not None:
            self._promote(tune_controller, chosen)
            return self._next_promoted()
        for trial_id in list(self.paused()):
            why = f"the search ended while it was paused; {self._rule.explain(trial_id)}"
            self._end(tune_controller, trial_id, why)
        return None

    def _ask_rule(self, tune_controller: Any, alive: Alive) -> str | None:
        self.nothing_new = self._rule.pauses and tune_controller.search_alg.is_finished()
        return self._rule.promote(alive)

    def _promote(self, tune_controller: Any, trial_id: str) -> None:
        self._promoted[trial_id] = None
        # At once, so that a searcher with a limit gives no new trial for the same slot.
        self._resume(tune_controller, trial_id)

    def _pause(self, tune_controller: Any, trial_id: str) -> None:
        count_out(tune_controller.search_alg, trial_id)
        self._active.pause(trial_id)

    def _resume(self, tune_controller: Any, trial_id: str) -> None:
        count_in(tune_controller.search_alg, trial_id)
        self._active.resume(trial_id)

    def _end(self, tune_controller: Any, trial_id: str, reason: str) -> None:
        """End a paused trial."""
        count_in(tune_controller.search_alg, trial_id)
        stop_early(self._active.table, trial_id, reason)
        tune_controller.stop_trial(self.trials[trial_id])

    def _alive(self, trial_id: str) -> bool:
        trial = self.trials.get(trial_id)  # Ray may not know a trial that the table has
        return trial is not None and trial.status not in (Trial.TERMINATED, Trial.ERROR)

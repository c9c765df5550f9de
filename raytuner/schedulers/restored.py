"""Bring trials to where the searcher's table says they are, after a crash or a lost process.

Ray saves an experiment every ten seconds or less often. A restored trial begins again from its
state at that time, even if it has ended since. The table of a raytuner searcher knows more.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from raytuner.controller.active_trials import ActiveTrials
from raytuner.controller.recorder import last_checkpoint
from raytuner.controller.restored import give_checkpoint, set_trial_count
from raytuner.controller.retries import make_resilient, take_retry
from raytuner.controller.search_layers import count_out
from raytuner.history import TrialState
from raytuner.schedulers.partner import SearchPartner, find_partner


class RestoringScheduler(FIFOScheduler):
    """Runs all trials in full, in the order in which they come, and none of them twice.

    Ray's default scheduler, with two additions: restored trials continue where they were, and
    errors that are not a trial's own do not count. Its pace does not depend on how many trials
    there were. Nothing is paused.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = ActiveTrials()
        self._added: set[str] = set()
        self._roll_call = RollCall()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Bring a restored trial to where it was. A retry comes here again."""
        partner = find_partner(tune_controller)
        let_retry(partner, trial)
        self._added.add(trial.trial_id)
        is_over = bring_up_to_date(partner, tune_controller.search_alg, trial)
        if not is_over and trial.status == Trial.PENDING:
            self._slots.enter(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the first trial that is pending."""
        self._roll_call.take(find_partner(tune_controller), tune_controller, self._added)
        return self._slots.first_pending()


def let_retry(partner: SearchPartner | None, trial: Trial) -> None:
    """Let a trial that is added go on after errors that are not its own.

    If it has just been retried for one (`raytuner.controller.retries`), record that.
    """
    make_resilient(trial)
    if (retry := take_retry(trial)) is not None and partner is not None:
        cause, count = retry
        note_retry(partner, cause, trial.trial_id, count)


def note_retry(partner: SearchPartner, cause: str, trial_id: str, count: int) -> None:
    """Record that a trial was retried for a cause for the `count`-th time."""
    table = partner.history
    table.set_meta(cause, {**table.get_meta(cause, {}), trial_id: count})


class RollCall:
    """Tells the searcher, before the first trial runs, which trials Ray has.

    Ray saves an experiment in several files. If a machine was lost between two of them, the
    searcher may know trials that Ray does not, and Ray's count of trials may be wrong.
    """

    def __init__(self) -> None:
        self._is_over = False

    def take(
        self, partner: SearchPartner | None, tune_controller: Any, known: Container[str]
    ) -> None:
        """Called at each turn with the ids of all trials that were added; acts the first time."""
        if not self._is_over:
            self._is_over = True
            if partner is not None:
                partner.remove_lost(known)
            set_trial_count(tune_controller.search_alg, len(tune_controller.get_trials()))


def bring_up_to_date(partner: SearchPartner | None, search_alg: Any, trial: Trial) -> bool:
    """Bring a restored trial to where the searcher's table says it was.

    It goes on from its last checkpoint; or it is over, with its last result. Call this only in
    `on_trial_add`, before Ray has entered the trial anywhere.

    Returns:
        Whether the trial is over.
    """
    if trial.status != Trial.PENDING or partner is None:
        return False
    trial_id, is_over, table = trial.trial_id, partner.had_ended(trial.trial_id), partner.history
    checkpoint = last_checkpoint(table, trial_id)
    result = {**trial.last_result, **checkpoint}
    last = table.last(trial_id) if is_over else None
    if last is not None:
        result |= {table.time_attr: last[0], **table.metrics_at(trial_id, last[0])}
    if checkpoint:
        give_checkpoint(trial, result)
    if not is_over:
        return False
    if last is not None:
        trial.update_last_result({**result, "done": True})  # type: ignore[no-untyped-call]
    failed = table[trial_id].state is TrialState.FAILED
    trial.set_status(Trial.ERROR if failed else Trial.TERMINATED)  # type: ignore[no-untyped-call]
    count_out(search_alg, trial_id)
    return True

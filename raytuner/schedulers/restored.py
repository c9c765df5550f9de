"""Restore trials from the table that a scheduler shares with the searcher.

Ray saves an experiment every ten seconds or less often. A restored trial continues from its saved
state, even if it ended after that. The table of a raytuner searcher is more recent.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Protocol, runtime_checkable

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from raytuner.controller.report import Report, last_checkpoint
from raytuner.controller.retries import make_resilient, note_retry
from raytuner.controller.search_layers import count_out, innermost_searcher, set_trial_count
from raytuner.controller.trials import ActiveTrials, give_checkpoint
from raytuner.history import History, TrialState


@runtime_checkable
class SearchPartner(Protocol):
    """A searcher that shares its table of trials with the scheduler.

    The scheduler calls `record` for each report before it decides. It enters pauses, resumed
    trials, stops and failures itself. Ray calls the searcher's own hooks later, when all this is
    already recorded.
    """

    @property
    def history(self) -> History:
        """The table of trials."""

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """Note that a scheduler measures trials by `time_attr` and ends them at `max_t`."""

    def record(self, trial_id: str, result: Mapping[str, Any]) -> Report:
        """Enter a report into the table; see `raytuner.controller.report.record_report`."""

    def had_ended(self, trial_id: str) -> bool:
        """Return whether Ray runs a trial again that had ended, since Ray had not saved the end."""

    def remove_lost(self, known: Container[str]) -> None:
        """End the live trials that Ray does not know; `known` are the ids of Ray's trials."""


def find_partner(tune_controller: Any) -> SearchPartner | None:
    """Return the innermost searcher if it is a `SearchPartner`."""
    searcher = innermost_searcher(getattr(tune_controller, "search_alg", None))
    return searcher if isinstance(searcher, SearchPartner) else None


class RestoringScheduler(FIFOScheduler):
    """Runs all trials in full, in their order, and none of them twice.

    This is Ray's default scheduler with two additions. Restored trials continue where they were.
    Failures that a trial did not cause, such as a lost node, do not count. Its speed does not
    depend on the number of trials. It pauses no trial.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trials: dict[str, Trial] = {}
        self._slots = ActiveTrials()
        self._has_begun = False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Bring a restored trial up to date. Ray also calls this for a retry."""
        partner = find_partner(tune_controller)
        self._let_retry(partner, trial)
        is_over = bring_up_to_date(partner, tune_controller.search_alg, trial)
        if not is_over and trial.status == Trial.PENDING:
            self._slots.enter(trial)

    def _let_retry(self, partner: SearchPartner | None, trial: Trial) -> None:
        """Let an added trial continue after failures that it did not cause; note if it just did."""
        make_resilient(trial)
        note_retry(trial, None if partner is None else partner.history)
        self._trials[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the first pending trial."""
        self._call_roll(tune_controller)
        return self._slots.first_pending()

    def _call_roll(self, tune_controller: Any) -> None:
        """Tell the searcher which trials Ray has, before the first trial runs.

        Ray saves an experiment in several files. If a machine is lost between two of them, the
        searcher may know trials that Ray does not, and Ray's count of trials may be wrong.
        """
        if self._has_begun:
            return
        self._has_begun = True
        if (partner := find_partner(tune_controller)) is not None:
            partner.remove_lost(self._trials)
        set_trial_count(tune_controller.search_alg, len(tune_controller.get_trials()))


def bring_up_to_date(partner: SearchPartner | None, search_alg: Any, trial: Trial) -> bool:
    """Bring a restored trial up to date with the searcher's table.

    The trial continues from its last checkpoint, or it is over and has its last result. Call this
    only in `on_trial_add`, before Ray registers the trial.

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
    failed = table.head(trial_id).state is TrialState.FAILED
    trial.set_status(Trial.ERROR if failed else Trial.TERMINATED)  # type: ignore[no-untyped-call]
    count_out(search_alg, trial_id)
    return True

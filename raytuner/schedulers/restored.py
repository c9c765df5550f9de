"""Where trials are that something befell: their driver was killed, or their own process.

Ray saves an experiment every ten seconds or less often. Restored, trials begin again from where
they were at the time, those that ended since among them. A raytuner searcher's record knows better.

And a trial whose node is lost has failed, to Ray, unless the user has said how often it may.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from raytuner.controller.active_trials import ActiveTrials
from raytuner.controller.restored import give_checkpoint, set_trial_count
from raytuner.controller.retries import make_resilient, take_retry
from raytuner.controller.search_layers import count_out
from raytuner.schedulers.partner import ProgressKeeper, RetryListener, innermost_searcher


class RestoringScheduler(FIFOScheduler):
    """Runs all trials in full, in the order in which they come, and none of them twice.

    Ray's default scheduler, but for restored experiments and for errors that are no trial's own,
    and at the same pace after many trials. Nothing is paused here.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = ActiveTrials()
        self._added: set[str] = set()
        self._roll_call = RollCall()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Bring a restored trial to where it was. A retry comes here again."""
        go_on(tune_controller, trial)
        self._added.add(trial.trial_id)
        if not bring_up_to_date(tune_controller, trial) and trial.status == Trial.PENDING:
            self._slots.enter(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that is pending."""
        self._roll_call.take(tune_controller, self._added)
        return self._slots.first_pending()


def go_on(tune_controller: Any, trial: Trial) -> None:
    """Let a trial that is added go on from now on whenever it is not to blame for its error.

    See :mod:`raytuner.controller.retries`. The searcher notes it where that has just happened.
    """
    make_resilient(trial)
    if (again := take_retry(trial)) is None:
        return
    searcher = innermost_searcher(tune_controller)
    if isinstance(searcher, RetryListener):
        what, count = again
        searcher.on_trial_retried(what, trial.trial_id, count)


class RollCall:
    """Tells the searcher and its generator, before the first trial runs, which trials there are.

    What Ray saves of an experiment is several files. Where a machine was lost between two of them,
    its searcher may know of trials that Ray does not: nobody runs them. And Ray counts the trials
    that it has asked for in another file than it keeps them in: it would run fewer or more.
    """

    def __init__(self) -> None:
        self._is_over = False

    def take(self, tune_controller: Any, known: Container[str]) -> None:
        """At each turn, with all trials that were added; the first time counts."""
        if self._is_over:
            return
        self._is_over = True
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, ProgressKeeper):
            searcher.end_unknown(known)
        set_trial_count(tune_controller.search_alg, len(tune_controller.get_trials()))


def bring_up_to_date(tune_controller: Any, trial: Trial) -> bool:
    """Bring a restored trial to where the searcher's record says it was.

    It goes on from its last checkpoint, or is over, with its last result. Only in ``on_trial_add``,
    before Ray has entered the trial anywhere, can it be told so.

    Args:
        tune_controller: Ray's controller.
        trial: The trial that is added, new or restored.

    Returns:
        Whether it is over.
    """
    searcher = innermost_searcher(tune_controller)
    if trial.status != Trial.PENDING or not isinstance(searcher, ProgressKeeper):
        return False
    progress = searcher.last_checkpoint(trial.trial_id) or {}
    end = searcher.end_again(trial.trial_id)
    report = {} if end is None else end.report
    if progress:
        give_checkpoint(trial, {**trial.last_result, **progress, **report})
    if end is None:
        return False
    if report:
        result = {**trial.last_result, **progress, **report, "done": True}
        trial.update_last_result(result)  # type: ignore[no-untyped-call]
    trial.set_status(Trial.ERROR if end.failed else Trial.TERMINATED)  # type: ignore[no-untyped-call]
    count_out(tune_controller.search_alg, trial.trial_id)
    return True

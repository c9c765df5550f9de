"""Ray's trial loop on a virtual clock.

The order of calls follows Ray's ``TuneController``, one event a turn:

1. while fewer trials are pending than the cap allows, ask the searcher for one;
2. let the scheduler choose a trial to run, then request workers for the other pending trials;
3. handle one event: an actor that started or stopped, a result, a saved checkpoint, a failure;
4. end the experiment if its time or its stopper says so.

What differs, and why it does not matter:

- ``choose_trial_to_run`` is asked only while a trial is PENDING or PAUSED, since it may give no
  other, and ``get_trials()`` lists the trials that wait first. With Ray's plain list each turn
  looks at every trial that ever was.
- A searcher that gives None is asked again after the next event, not every 0.1 s, unless
  ``Settings.poll_s`` says so.
- Among things that happen at the same virtual time, Ray draws lots; here what was scheduled first
  comes first.
- ``reuse_actors`` and resource requests other than one worker a trial are not modelled.
"""

from __future__ import annotations

import random
import traceback
from collections import deque
from collections.abc import Callable, Set
from typing import Any, TypeVar

from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.stopper import Stopper

from raytuner.search import BoTorchSearch
from raytuner.simulate import ray_private
from raytuner.simulate.book import TrialBook, TrialsView
from raytuner.simulate.clock import CLUSTER_KINDS, Clock, Kind
from raytuner.simulate.events import EventKind
from raytuner.simulate.log import Log, Stopwatch
from raytuner.simulate.objective import Objective, curve_of
from raytuner.simulate.record import Ended, Simulation
from raytuner.simulate.results import debug_metrics, flat_of, make_result
from raytuner.simulate.settings import Cluster, Settings
from raytuner.simulate.thinking import Thinking
from raytuner.simulate.trial import Actor, Checkpoint, Run
from raytuner.simulate.workers import Workers

_Answer = TypeVar("_Answer")

_WAIT_FOR_SEARCHER_S = 600  # Ray's patience with a searcher while nothing is live, a second a time


class VirtualController:
    """The stand-in for Ray's ``TuneController``: schedulers get it as ``tune_controller``.

    Args:
        search_alg: Ray's search algorithm, prepared.
        scheduler: The scheduler, prepared.
        objective: What trials do.
        cluster: Where they run.
        settings: How the loop behaves.
        stopper: Ends trials or the experiment; None: nothing does.
        time_budget_s: Virtual seconds after which the experiment ends; None: never.
        log: The record.
        seed: Seed of start-up times and failures.
    """

    def __init__(
        self,
        search_alg: SearchAlgorithm,
        scheduler: TrialScheduler,
        objective: Objective,
        cluster: Cluster,
        settings: Settings,
        *,
        stopper: Stopper | None,
        time_budget_s: float | None,
        log: Log,
        seed: int | None,
    ) -> None:
        self.search_alg = search_alg
        self.scheduler_alg = scheduler
        self._objective = objective
        self._cluster = cluster
        self._settings = settings
        self._stopper = stopper
        self._deadline = time_budget_s
        self._log = log
        self._seed = random.Random(seed).getrandbits(64)
        self._clock = Clock()
        self._workers = Workers(cluster, self._clock)
        self._book = TrialBook()
        self._view = TrialsView(self._book)
        self._runs: dict[str, Run] = {}
        self._live: dict[Trial, None] = {}  # Ray's set (trials that failed stay in it), in order
        self._waiting: deque[Trial] = deque()  # PENDING trials, in the order they came to be so
        self._staged: set[Trial] = set()
        self._cached: dict[str, str] = {}  # decisions that wait for a checkpoint to be saved
        self._queued: dict[str, str] = {}
        self._suggest = Stopwatch(settings.timer)
        self._hooks = Stopwatch(settings.timer)
        self._scheduling = Stopwatch(settings.timer)
        self._searcher_free_at = 0.0
        self._thinking = self._let_think()
        self._ended: Ended | None = None
        self._max_pending = 1
        self.update_max_pending_trials(settings.max_pending)

    def run(self) -> Simulation:
        """Run the experiment to its end.

        Raises:
            TuneError: A hook raised while an event was handled, or a report lacks the metric.
        """
        while self._ended is None and not self.is_finished():
            self._step()
        self._workers.close(self._clock.now)
        searcher = self._innermost_searcher()
        counts = getattr(searcher, "proposal_counts", {})
        is_ours = isinstance(searcher, BoTorchSearch) and self._runs
        recorded = searcher.history.heads() if is_ours else ()

        def is_full(trial_id: str) -> bool:
            return not is_ours or searcher.history.is_full(searcher.history[trial_id])

        return self._log.frozen(
            list(self._runs.values()),
            self._workers,
            self._clock.now,
            self._ended or "finished",
            counts,
            self._suggest,
            self._hooks,
            self._scheduling,
            is_full,
            {head.trial_id: head.state for head in recorded},
        )

    # -- what schedulers call -------------------------------------------------------------------

    def get_trials(self) -> TrialsView:
        """All trials, those that wait first (see the module's text)."""
        return self._view

    def get_live_trials(self) -> Set[Trial]:
        """Trials that were not stopped."""
        return self._live.keys()

    def get_trial(self, tid: str) -> Trial | None:
        """The trial with an id."""
        run = self._runs.get(tid)
        return None if run is None else run.trial

    def is_finished(self) -> bool:
        """Whether all trials have ended and no other will come."""
        return not self._book.live() and bool(self.search_alg.is_finished())

    def update_max_pending_trials(self, max_pending_trials: int | None = None) -> None:
        """Change the cap on pending trials; None: Ray's own."""
        self._max_pending = max_pending_trials or ray_private.max_pending_of(
            self.search_alg, self._cluster.workers
        )

    def slots(self) -> int | None:
        """How many trials could run now: a searcher may propose by it. None: it must not.

        What stands for Ray's cluster, which such a searcher asks in earnest.
        """
        return None if self._settings.max_pending is not None else self._workers.there

    def stop_trial(self, trial: Trial) -> None:
        """End a trial in whichever status it is."""
        run = self._runs[trial.trial_id]
        try:
            if trial.status in (Trial.ERROR, Trial.TERMINATED):
                return
            if trial.status in (Trial.PENDING, Trial.PAUSED):
                run.ending = "removed"
                self._tell_scheduler("on_trial_remove", trial)
                self._tell_searcher(self.search_alg.on_trial_complete, trial.trial_id)
            elif trial.status == Trial.RUNNING:
                run.ending = run.ending or "scheduler"
                self._tell_scheduler(
                    "on_trial_complete", trial, ray_private.flatten(trial.last_result)
                )
                self._tell_searcher(
                    self.search_alg.on_trial_complete,
                    trial.trial_id,
                    result=ray_private.flatten(trial.last_result),
                )
            self._schedule_stop(run, Trial.TERMINATED)
            self._live.pop(trial, None)
            self._ended_now(run, EventKind.ENDED)
        except Exception:  # Ray blames the trial for whatever a hook raises here
            self._failed(run)

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Pause a trial, once its checkpoint is saved if it is to save one."""
        self._cached.pop(trial.trial_id, None)
        run = self._runs[trial.trial_id]
        if run.actor is None:
            return
        if should_checkpoint:
            self._cached[trial.trial_id] = TrialScheduler.PAUSE
            self._save(run)
            return
        self._schedule_stop(run, Trial.TERMINATED)
        self._set_trial_status(trial, Trial.PAUSED)
        self._log.add(self._clock.now, EventKind.PAUSED, run, run.iteration)

    def _set_trial_status(self, trial: Trial, status: str) -> None:
        if trial.status == status:
            return
        trial.set_status(status)  # type: ignore[no-untyped-call]
        self._book.refile(trial)
        if status == Trial.PENDING:
            self._waiting.append(trial)

    # -- one turn -------------------------------------------------------------------------------

    def _step(self) -> None:
        changes = self._book.changes
        unanswered = self._ask_for_trials()
        if self.is_finished():  # random search says so only when it is asked for one too many
            return
        self._add_actors()
        self._workers.start_waiting()
        happened = self._handle_one(unanswered, self._book.changes != changes)
        if happened is None:
            self._ended = "stalled"
        self._stop_experiment_if_needed()
        self._clock.now += self._settings.turn_s

    def _ask_for_trials(self) -> bool:
        """Ask the searcher for trials up to the cap. Returns whether it gave none, if asked."""
        if self.search_alg.is_finished():
            return False
        something_live = self._book.live() > 0
        while self._book.count(Trial.PENDING) < self._max_pending:
            trial = self._next_trial()
            if trial is None and not something_live:
                trial = self._wait_for_searcher()
            if trial is None:
                return True
            self._add_trial(trial)
            something_live = True
        return False

    def _next_trial(self) -> Trial | None:
        trial: Trial | None = self._suggest.call(self.search_alg.next_trial)
        self._charge(self._suggest.last)
        if trial is None:  # no proposal: it would make proposals look quick
            self._hooks.seconds.append(self._suggest.seconds.pop())
        return trial

    def _wait_for_searcher(self) -> Trial | None:
        """Ray's way when nothing is live: a second at a time, deaf to all else."""
        for _ in range(_WAIT_FOR_SEARCHER_S):
            if self.is_finished():
                return None
            trial = self._next_trial()
            self._clock.now += 1.0
            if trial is not None:
                return trial
        return None

    def _add_trial(self, trial: Trial) -> None:
        now = self._clock.now
        run = Run(
            trial=trial,
            number=len(self._runs),
            curve=curve_of(self._objective, trial.config),
            flat_config=ray_private.flatten({"config": trial.config}),
            proposed_at=now,
            ready_at=max(now, self._searcher_free_at),
        )
        self._runs[trial.trial_id] = run
        self._book.add(trial)
        self._live[trial] = None
        self._log.add(now, EventKind.PROPOSED, run)
        self._tell_scheduler("on_trial_add", trial)
        self._book.refile(trial)  # a scheduler may put a trial of an earlier run on hold here
        if trial.status == Trial.PENDING:
            self._waiting.append(trial)

    def _add_actors(self) -> None:
        if self._book.count(Trial.PENDING) or self._book.count(Trial.PAUSED):
            chosen = self._tell_scheduler("choose_trial_to_run")
            if (
                chosen is not None
                and chosen not in self._staged
                and self._runs[chosen.trial_id].actor is None
            ):
                self._set_trial_status(chosen, Trial.PENDING)
                self._stage(chosen)
        kept: list[Trial] = []
        while self._waiting and self._workers.pending < self._max_pending:
            trial = self._waiting.popleft()
            if trial.status != Trial.PENDING:
                continue
            if self._runs[trial.trial_id].actor is not None:
                kept.append(trial)
            elif trial not in self._staged:
                self._stage(trial)
        self._waiting.extendleft(reversed(kept))

    def _stage(self, trial: Trial) -> None:
        """Request a worker for a trial."""
        run = self._runs[trial.trial_id]
        self._staged.add(trial)
        run.attempts += 1
        rng = random.Random(f"{self._seed}/{run.number}/{run.attempts}")
        run.actor = Actor(run, rng, run.ready_at, self._cluster.failure_rate)
        self._workers.request(run.actor)

    def _handle_one(self, unanswered: bool, changed: bool) -> bool | None:
        """Go on to the next event of the loop, and handle it.

        Returns:
            Whether there was one in this turn; None if there never will be one again.
        """
        clock = self._clock
        limit = self._deadline
        if unanswered and self._settings.poll_s is not None and self._book.live():
            poll = clock.now + self._settings.poll_s
            limit = poll if limit is None else min(limit, poll)
        while (time := clock.next_time()) is not None:
            if limit is not None and time > limit:
                clock.advance_to(limit)
                return False
            time, kind, actor, number = clock.pop()
            clock.advance_to(time)
            if kind is Kind.THOUGHT:
                return True
            if kind in CLUSTER_KINDS:
                self._cluster_changes(time, kind, number)
                self._workers.start_waiting()
                continue
            assert actor is not None
            self._handle(kind, actor, time)
            self._workers.start_waiting()
            return True
        if limit is not None:
            clock.advance_to(limit)
            return False if self._deadline is not None or changed else None
        return False if changed else None

    def _cluster_changes(self, time: float, kind: Kind, number: int) -> None:
        if kind is Kind.LOSS:
            lost = self._workers.lose(time, number)
            self._log.add(time, EventKind.NODE_LOST, t=len(lost))
        else:
            joined = self._workers.join(time, number)
            self._log.add(time, EventKind.WORKERS_JOINED, t=joined)

    def _stop_experiment_if_needed(self) -> None:
        stopped = self._stopper is not None and self._stopper.stop_all()
        expired = self._deadline is not None and self._clock.now >= self._deadline
        if not (stopped or expired):
            return
        self._ended = "stopper" if stopped else "time_budget"
        self.search_alg.set_finished()  # type: ignore[no-untyped-call]
        for trial in self._book.unfinished():
            run = self._runs[trial.trial_id]
            run.cut_off = trial.status
            self._schedule_stop(run, Trial.TERMINATED)
        self._log.add(self._clock.now, EventKind.BUDGET_ENDED)

    # -- events ---------------------------------------------------------------------------------

    def _handle(self, kind: Kind, actor: Actor, time: float) -> None:
        run = actor.run
        if kind is Kind.RESULT:
            self._count_training(run, actor, time)
            self._guarded(self._result, run, actor)
        elif kind is Kind.STARTED:
            self._started(run, actor)
        elif kind is Kind.STOPPED:
            self._workers.release(actor)
        elif kind is Kind.RETURNED:
            self._count_training(run, actor, time)
            self._guarded(self._returned, run)
        elif kind is Kind.SAVED:
            self._guarded(self._saved, run, actor)
        elif kind is Kind.RESTORED:
            self._restored(run, actor)
        elif kind is Kind.RAISED:
            self._count_training(run, actor, time)
            self._guarded(self._failed, run)
        else:
            self._guarded(self._died, run, actor)

    def _guarded(self, function: Callable[..., None], *args: Any) -> None:
        """Ray turns what is raised while it handles an actor's answer into a TuneError."""
        try:
            function(*args)
        except Exception as error:
            raise TuneError(traceback.format_exc()) from error

    def _started(self, run: Run, actor: Actor) -> None:
        trial = run.trial
        self._staged.discard(trial)
        ray_private.set_default_result(trial, debug_metrics(run, actor, self._clock.now))
        self._set_trial_status(trial, Trial.RUNNING)
        if run.started_at is None:
            run.started_at = self._clock.now
        self._log.add(self._clock.now, EventKind.STARTED, run, run.iteration)
        if run.checkpoint is not None:
            self._workers.task(actor, self._settings.restore_s, Kind.RESTORED)
        else:
            self._train(run)

    def _restored(self, run: Run, actor: Actor) -> None:
        assert run.checkpoint is not None
        actor.iteration = run.checkpoint.iteration
        actor.time_total = run.checkpoint.time_total
        ray_private.set_last_result(run.trial, dict(run.checkpoint.metrics))
        self._train(run)

    def _train(self, run: Run) -> None:
        """Let a trial train for one more unit."""
        actor = run.actor
        if actor is None:
            return
        t = actor.iteration + 1
        if run.curve.report(t) is None:
            self._workers.train(actor, run.curve.end_duration(), Kind.RETURNED)
            return
        seconds = run.curve.duration(t)
        if actor.doomed_after == actor.iterations_since_restore:
            self._workers.train(actor, seconds * actor.doomed_fraction, Kind.RAISED)
        elif run.curve.fails(t, run.attempts):
            self._workers.train(actor, seconds, Kind.RAISED)
        else:
            self._workers.train(actor, seconds, Kind.RESULT)

    def _count_training(self, run: Run, actor: Actor, time: float) -> None:
        run.trained_s += self._workers.trained(actor, time)

    def _result(self, run: Run, actor: Actor) -> None:
        result = self._new_result(run, actor)
        run.units += 1
        run.iteration = actor.iteration
        flat = flat_of(run, result)
        self._process_result(run, result, flat, duplicate=False)
        self._execute_queued(run, after_save=False)

    def _new_result(self, run: Run, actor: Actor) -> dict[str, Any]:
        metric = self._log.metric or DEFAULT_METRIC
        every = self._settings.checkpoint_every
        return make_result(run, actor, self._clock.now, metric=metric, checkpoint_every=every)

    def _returned(self, run: Run) -> None:
        """The training function returned: Ray repeats the last result, as done."""
        result = run.trial.last_result
        result["done"] = True
        self._process_result(run, result, ray_private.flatten(result), duplicate=True)
        self._execute_queued(run, after_save=False)

    def _process_result(
        self, run: Run, result: dict[str, Any], flat: dict[str, Any], *, duplicate: bool
    ) -> None:
        trial = run.trial
        self._check_metrics(flat)
        if self._meets_criterion(trial, result, flat):
            decision: str = TrialScheduler.STOP
            run.ending = "returned" if flat.get("done") else "criterion"
        else:
            decision = self._tell_scheduler("on_trial_result", trial, flat)
        if not duplicate:
            run.t = self._log.t_of(flat) or run.t
            value = self._log.value_of(flat)
            if value is not None:
                run.values[run.iteration] = value
            self._log.add(
                self._clock.now, EventKind.REPORTED, run, run.iteration, value, str(decision)
            )
        if decision == TrialScheduler.STOP:
            result["done"] = True
            run.ending = run.ending or "scheduler"
        else:
            self._tell_searcher(self.search_alg.on_trial_result, trial.trial_id, flat)
        if not duplicate:
            ray_private.set_last_result(trial, result)
            every = self._settings.checkpoint_every
            if decision != TrialScheduler.PAUSE and every and run.iteration % every == 0:
                self._save(run)
        if run.saving:
            # Carried out when the checkpoint is there. CONTINUE replaces nothing: it may come late.
            if not self._cached.get(trial.trial_id) or decision in (
                TrialScheduler.PAUSE,
                TrialScheduler.STOP,
            ):
                self._cached[trial.trial_id] = decision
        else:
            self._queue_decision(trial, decision)

    def _meets_criterion(self, trial: Trial, result: dict[str, Any], flat: dict[str, Any]) -> bool:
        if self._stopper is not None and self._stopper(trial.trial_id, result):
            return True
        return bool(trial.should_stop(flat))  # type: ignore[no-untyped-call]

    def _check_metrics(self, flat: dict[str, Any]) -> None:
        """Ray's check that a report names every metric that somebody expects."""
        if not self._settings.strict_metrics:
            return
        asked: list[str] = []
        for metric in (self._log.metric, self.scheduler_alg.metric, self.search_alg.metric):
            asked += metric if isinstance(metric, list) else [metric] if metric else []
        missing = [name for name in asked if name != DEFAULT_METRIC and name not in flat]
        if missing and ray_private.is_report(flat):
            raise ValueError(
                f"a trial reported {sorted(flat)}, without {missing[0]!r}, which is expected: Ray"
                " would abort the experiment"
            )

    def _queue_decision(self, trial: Trial, decision: str) -> None:
        old = self._queued.setdefault(trial.trial_id, decision)
        if old != TrialScheduler.STOP and decision in (TrialScheduler.STOP, TrialScheduler.PAUSE):
            self._queued[trial.trial_id] = decision

    def _execute_queued(self, run: Run, *, after_save: bool) -> None:
        decision = self._queued.pop(run.trial.trial_id, None)
        if decision is None or decision == TrialScheduler.NOOP:
            return
        if decision == TrialScheduler.CONTINUE:
            self._train(run)
        elif decision == TrialScheduler.PAUSE:
            self.pause_trial(run.trial, should_checkpoint=not after_save)
        elif decision == TrialScheduler.STOP:
            self.stop_trial(run.trial)
        else:
            raise ValueError(
                f"the scheduler decided {decision!r}; it must be CONTINUE, PAUSE, STOP or NOOP"
            )

    # -- checkpoints ----------------------------------------------------------------------------

    def _save(self, run: Run) -> None:
        if run.actor is None:
            return
        run.saving = True
        ray_private.set_saving(run.trial, True)
        self._workers.task(run.actor, self._settings.save_s, Kind.SAVED)

    def _saved(self, run: Run, actor: Actor) -> None:
        every = self._settings.checkpoint_every
        on_schedule = every is not None and actor.iteration % every == 0
        if self._settings.saves_on_pause or on_schedule:
            metrics = dict(run.trial.last_result)
            metrics.pop("experiment_tag", None)  # the loop adds it; an actor does not know it
            run.checkpoint = Checkpoint(actor.iteration, actor.time_total, metrics)
        self._saving_over(run)
        decision = self._cached.pop(run.trial.trial_id, None)
        if decision:
            self._queue_decision(run.trial, decision)
        self._execute_queued(run, after_save=True)

    def _saving_over(self, run: Run) -> None:
        run.saving = False
        ray_private.set_saving(run.trial, False)

    # -- failures -------------------------------------------------------------------------------

    def _died(self, run: Run, actor: Actor) -> None:
        """The worker of a trial is gone with its node."""
        self._workers.release(actor)
        if run.actor is not actor:
            return
        trial = run.trial
        self._staged.discard(trial)
        if trial.status != Trial.RUNNING:  # it was starting up
            self._set_trial_status(trial, Trial.RUNNING)
        run.actor = None
        self._failed(run)

    def _failed(self, run: Run) -> None:
        trial = run.trial
        ray_private.count_failure(trial)
        if trial.status == Trial.RUNNING and not ray_private.exceeds_max_failures(trial):
            self._retry(run)
        elif trial.status in (Trial.RUNNING, Trial.PENDING):
            run.ending = "error"
            self._tell_scheduler("on_trial_error", trial)
            self._tell_searcher(self.search_alg.on_trial_complete, trial.trial_id, error=True)
            self._schedule_stop(run, Trial.ERROR)
            self._ended_now(run, EventKind.FAILED)

    def _retry(self, run: Run) -> None:
        trial = run.trial
        self._cached.pop(trial.trial_id, None)
        run.ending = ""
        self._schedule_stop(run, Trial.ERROR)
        self._tell_scheduler("on_trial_error", trial)
        self._set_trial_status(trial, Trial.PENDING)
        self._book.move_to_end(trial)
        self._live[trial] = None
        self._log.add(self._clock.now, EventKind.RETRIED, run, run.iteration)
        self._tell_scheduler("on_trial_add", trial)

    def _schedule_stop(self, run: Run, status: str) -> None:
        trial = run.trial
        if trial.status == Trial.ERROR:
            return
        if run.saving:
            self._cached[trial.trial_id] = TrialScheduler.STOP
            self._saving_over(run)
        self._set_trial_status(trial, status)
        actor, run.actor = run.actor, None
        if actor is not None:
            self._workers.stop(actor)

    def _ended_now(self, run: Run, kind: EventKind) -> None:
        run.ended_at = self._clock.now
        self._log.add(self._clock.now, kind, run, run.iteration)

    # -- hooks ----------------------------------------------------------------------------------

    def _tell_scheduler(self, hook: str, *args: Any) -> Any:
        answer = self._scheduling.call(getattr(self.scheduler_alg, hook), self, *args)
        if self._settings.charge == "inline":
            self._clock.now += self._scheduling.last
        return answer

    def _tell_searcher(self, hook: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._hooks.call(hook, *args, **kwargs)
        self._charge(self._hooks.last)

    def _charge(self, seconds: float) -> None:
        """Let the searcher's real seconds pass, where they count."""
        if self._thinking is not None:
            # It thinks beside the loop, which stands still for the rest only.
            thought, self._thinking.seconds = self._thinking.seconds, 0.0
            self._clock.now += max(seconds - thought, 0.0)
        elif self._settings.charge == "inline":
            self._clock.now += seconds
        elif self._settings.charge == "background":
            self._searcher_free_at = max(self._searcher_free_at, self._clock.now) + seconds

    def _let_think(self) -> Thinking | None:
        """Have a searcher that thinks in a process of its own do so on this clock.

        A real process would think in real time. Where thinking costs nothing, or the loop waits for
        it, it is done inside ``suggest``.
        """
        searcher = self._innermost_searcher()
        if not (isinstance(searcher, BoTorchSearch) and searcher.background):
            return None
        if self._settings.charge != "background":
            searcher.think_in(None)
            return None
        thinking = Thinking(self._clock, self._settings.timer)
        searcher.think_in(thinking)
        return thinking

    def _innermost_searcher(self) -> Any:
        searcher: Any = self.search_alg
        while (inner := getattr(searcher, "searcher", None)) is not None:
            searcher = inner
        return searcher

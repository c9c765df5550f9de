"""Ray's own `TuneController` on the virtual clock.

This is the only module that uses names that Ray does not promise to keep. Each has a line that says
why, and `tests/simulate/test_ray_controller.py` fails when Ray changes it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

from ray.air.constants import TRAINING_ITERATION
from ray.exceptions import RayActorError
from ray.tune import PlacementGroupFactory, Trainable

# The loop itself: it asks, starts, decides, retries and stops.
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.result import DEFAULT_METRIC, RESULT_DUPLICATE
from ray.tune.schedulers import TrialScheduler

# The fallback for schedulers and searchers whose hook takes no **spec: Ray calls them through it.
from ray.tune.schedulers.util import (
    _set_search_properties_backwards_compatible as _set_scheduler_properties,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.searcher import Searcher

# Ray makes the experiment tag of the resolved configuration with these.
from ray.tune.search.variant_generator import (
    _flatten_resolved_vars,
    _has_unresolved_values,
    _resolve_nested_dict,
    format_vars,
)
from ray.tune.stopper import Stopper
from ray.tune.utils import flatten_dict, merge_dicts

from raytuner.errors import SettingError
from raytuner.simulate.clock import Clock, Order
from raytuner.simulate.hook_timer import HookTimer
from raytuner.simulate.objective import Objective, curve_of
from raytuner.simulate.recorder import Recorder, TrialIndex
from raytuner.simulate.settings import Cluster, Settings
from raytuner.simulate.training import Actor, Saved, Training
from raytuner.simulate.workers import Workers

TRAINABLE = "simulated"

_ONE_WORKER = PlacementGroupFactory([{"CPU": 1}])

# `_get_trainable_kwargs` reads these before it starts an actor.
_STORAGE = SimpleNamespace(experiment_dir_name=TRAINABLE, trial_dir_name=TRAINABLE)


class VirtualController(TuneController):
    """Ray's controller, with actors, time and storage replaced.

    It keeps half the speed of a loop of our own: 580 to 780 trials per second against 1,080 to
    1,630 (random search of 3,000 trials with ASHA on 8 and 64 workers, nine reports in three
    trials), and gives the same simulations.

    Args:
        search_alg: Ray's search algorithm, prepared.
        scheduler: The scheduler, prepared.
        objective: What trials do.
        cluster: Where they run.
        settings: How the loop behaves.
        clock: The virtual clock.
        timer: Times hooks.
        recorder: Records events.
        stopper: Ends trials or the experiment.
        deadline: Virtual seconds after which `stopper` ends the experiment; None: never.
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
        clock: Clock,
        timer: HookTimer,
        recorder: Recorder,
        stopper: Stopper,
        deadline: float | None,
        seed: int,
    ) -> None:
        self._target_search_alg = search_alg
        self._target_scheduler = scheduler
        self._objective = objective
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._recorder = recorder
        self._deadline = deadline
        self._unanswered = False
        super().__init__(
            search_alg=timer.searcher_hooks(search_alg),
            scheduler=timer.scheduler_hooks(scheduler, recorder.on_decision),
            stopper=stopper,
            callbacks=[recorder],
            metric=recorder.metric,
            resource_manager_factory=lambda: None,
        )
        # The loop requests and stops actors here, and waits for their events.
        self._actor_manager = ActorManager(self, cluster, settings, clock, recorder, seed)
        # Ray's own warns when nothing runs, and asks the cluster what it has.
        self._insufficient_resources_manager = SimpleNamespace(
            on_no_available_trials=lambda trials: None
        )
        # Ray's own logs the error of each failed trial.
        self._print_trial_errors = False
        self.update_max_pending_trials(settings.max_pending)

    def run(self) -> Literal["finished", "stalled"]:
        """Run the experiment to its end, and return how it ended."""
        while not self.is_finished():
            events = len(self._recorder.events)
            self.step()
            self._clock.now += self._settings.turn_s
            if self._actor_manager.is_exhausted and len(self._recorder.events) == events:
                return "stalled"
        return "finished"

    @property
    def search_alg(self) -> SearchAlgorithm:
        """The search algorithm."""
        return self._target_search_alg

    @property
    def scheduler_alg(self) -> TrialScheduler:
        """The scheduler."""
        return self._target_scheduler

    @property
    def workers(self) -> Workers:
        """The workers."""
        return self._actor_manager.workers

    def get_trials(self) -> TrialIndex:
        """Return all trials, live ones first."""
        return self._recorder.trials

    def slots(self) -> int | None:
        """Return how many trials could run now; None: `Settings.max_pending` is to be obeyed.

        A `BoTorchSearch` asks for this in place of Ray's cluster.
        """
        return None if self._settings.max_pending is not None else self.workers.total

    def wait_until(self) -> float | None:
        """Return how long the loop waits for an event; None: until there is one."""
        limit = self._deadline
        if self._unanswered and self._settings.poll_s is not None:
            poll = self._clock.now + self._settings.poll_s
            limit = poll if limit is None else min(limit, poll)
        return limit

    def update_max_pending_trials(self, max_pending_trials: int | None = None) -> None:
        """Change the cap on pending trials; None: Ray's own."""
        cap = max_pending_trials or max_pending_of(self.search_alg, self.workers.total)
        # The loop compares this with the number of pending trials.
        self._max_pending_trials = cap

    def add_trial(self, trial: VirtualTrial) -> None:
        """Add a trial that the searcher proposed."""
        now = self._clock.now
        trial.training = Training(
            trial_id=trial.trial_id,
            config=trial.config,
            number=len(self._recorder.trainings),
            curve=curve_of(self._objective, trial.config),
            proposed_at=now,
            ready_at=max(now, self._timer.ready_at),
            metric=self._recorder.metric or DEFAULT_METRIC,
            settings=self._settings,
        )
        trial.storage.training = trial.training  # Ray hands the storage to the actor
        trial.on_status = self._recorder.on_status
        self._recorder.on_proposed(trial)
        super().add_trial(trial)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Write no snapshot."""

    def on_step_begin(self) -> None:
        """Look at no cluster."""

    def on_step_end(self) -> None:
        """Kill no actor that hangs."""

    # Ray's own copies the state of the experiment to storage.
    def _create_checkpoint_manager(self) -> Any:
        return SimpleNamespace(on_trial_checkpoint=lambda trial: None)

    # Ray's own waits in real time while nothing is live: a second at a time, deaf to all else.
    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        trial = self._timer.next_trial(self.search_alg.next_trial)
        give_up = self._clock.now + timeout
        while trial is None and blocking and not self.is_finished() and self._clock.now < give_up:
            trial = self._timer.next_trial(self.search_alg.next_trial)
            self._clock.now += 1.0
        self._unanswered = trial is None
        if trial is not None:
            self.add_trial(trial)
        return trial is not None

    # Ray's own reads an environment variable, and fails on a scheduler's list of metrics.
    def _validate_result_metrics(self, result: dict[str, Any]) -> None:
        if self._settings.strict_metrics and not isinstance(self.scheduler_alg.metric, list):
            super()._validate_result_metrics(result)


class ActorManager:
    """Ray's actor manager, with simulated actors.

    Args:
        controller: The loop.
        cluster: The workers.
        settings: How long saving and restoring takes.
        clock: The virtual clock.
        recorder: Records events.
        seed: Seed of start-up times and failures.

    Attributes:
        is_exhausted: Whether nothing will ever happen again.
    """

    def __init__(
        self,
        controller: VirtualController,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        recorder: Recorder,
        seed: int,
    ) -> None:
        self._controller = controller
        self._failure_rate = cluster.failure_rate
        self._settings = settings
        self._clock = clock
        self._seed = seed
        self.workers = Workers(
            cluster,
            clock,
            on_start=self._started,
            on_stop=self._stopped,
            on_death=self._died,
            on_change=recorder.on_workers,
        )
        self.is_exhausted = False
        self.num_actor_tasks = 0  # only for buffered results
        # The controller takes the handle of a started actor out of this.
        self._live_actors_to_ray_actors_resources: dict[Actor, tuple[Actor]] = {}

    @property
    def num_pending_actors(self) -> int:
        """How many actors wait for a worker."""
        return self.workers.pending

    @property
    def num_live_actors(self) -> int:
        """How many actors have a worker."""
        return self.workers.busy

    def add_actor(self, cls: Any, resource_request: Any, kwargs: Any, **on: Any) -> Actor:
        """Request a worker for an actor."""
        training: Training = kwargs["storage"].training
        actor = training.new_actor(self._seed, self._failure_rate, **on)
        self.workers.request(actor)
        return actor

    def remove_actor(
        self, tracked_actor: Actor, kill: bool = False, stop_future: Any = None
    ) -> bool:
        """Stop an actor. Returns whether it had a worker."""
        self.workers.stop(tracked_actor)
        return not tracked_actor.gone

    def schedule_actor_task(
        self,
        tracked_actor: Actor,
        method_name: str,
        args: Any = (),
        kwargs: Any = None,
        on_result: Any = None,
        on_error: Any = None,
        _return_future: bool = False,
    ) -> object:
        """Let an actor train, save or restore. A stop is left to `remove_actor`."""
        actor, settings = tracked_actor, self._settings
        if method_name == "stop":
            return None
        actor.task_errors.append(on_error)
        if method_name == "train":
            seconds, outcome = actor.next_unit()
            end = partial(self._trained, actor, outcome, on_result, on_error)
            self.workers.train(actor, seconds, end)
        elif method_name == "save":
            end = partial(self._done, actor, actor.save, on_result, on_error)
            self.workers.save(actor, settings.save_s, end)
        elif method_name == "restore":
            end = partial(self._done, actor, partial(actor.restore, *args), on_result, on_error)
            self.workers.save(actor, settings.restore_s, end)
        else:
            raise NotImplementedError(f"a simulated trial cannot {method_name}")
        return end

    def clear_actor_task_futures(self, tracked_actor: Actor) -> None:
        """Forget an actor's tasks. `remove_actor` follows, which voids them."""
        tracked_actor.task_errors.clear()

    def next(self, timeout: float | None = None) -> bool:
        """Advance the clock to the loop's next event, and handle it.

        Returns:
            Whether there was one.
        """
        self.is_exhausted = False
        self.workers.start_waiting()
        if self._controller.is_finished():  # random search notices when it is asked again
            return False
        limit = self._controller.wait_until()
        while (time := self._clock.next_time()) is not None and (limit is None or time <= limit):
            event = self._clock.pop()
            event.action()
            self.workers.start_waiting()
            if event.order is not Order.CLUSTER:
                return True
        if limit is not None:
            self._clock.advance_to(limit)
        self.is_exhausted = time is None
        return False

    def _started(self, actor: Actor) -> None:
        self._live_actors_to_ray_actors_resources[actor] = (actor,)
        actor.on_start(actor)

    def _stopped(self, actor: Actor) -> None:
        self._live_actors_to_ray_actors_resources.pop(actor, None)
        self.workers.release(actor)
        if actor.on_stop is not None:
            actor.on_stop(actor)

    def _died(self, actor: Actor) -> None:
        self._live_actors_to_ray_actors_resources.pop(actor, None)
        self.workers.release(actor)
        error, tasks = RayActorError(), list(actor.task_errors)
        actor.on_error(actor, error)
        for on_error in tasks[:1]:  # Ray drops the others with the actor
            on_error(actor, error)

    def _trained(
        self,
        actor: Actor,
        outcome: Literal["result", "error", "return"],
        on_result: Callable[[Actor, Any], None],
        on_error: Callable[[Actor, Exception], None],
    ) -> None:
        self.workers.trained(actor, self._clock.now)
        actor.task_errors.remove(on_error)
        if outcome == "error":
            on_error(actor, RuntimeError("a simulated failure"))
        elif outcome == "return":
            on_result(actor, {RESULT_DUPLICATE: True})
        else:
            on_result(actor, actor.result())

    def _done(
        self,
        actor: Actor,
        function: Callable[[], Any],
        on_result: Callable[[Actor, Any], None],
        on_error: Callable[[Actor, Exception], None],
    ) -> None:
        actor.task_errors.remove(on_error)
        on_result(actor, function())


class SimulatedTrainable(Trainable):
    """The class of all trials' actors. Schedulers check that it can save checkpoints."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""


class VirtualTrial(Trial):
    """Ray's trial, without storage, a registered trainable and statistics of metrics.

    Attributes:
        training: What it does.
        on_status: Called with the trial and its next status.
    """

    training: Training
    on_status: Callable[[VirtualTrial, str], None]

    def __init__(
        self, spec: Mapping[str, Any], trial_id: str, evaluated: Mapping[str, Any], tag: str
    ) -> None:
        super().__init__(
            TRAINABLE,
            config=spec["config"],
            trial_id=trial_id,
            storage=_STORAGE,
            evaluated_params=dict(evaluated),
            experiment_tag=tag,
            placement_group_factory=_ONE_WORKER,
            stopping_criterion=spec["stop"],
            max_failures=spec["max_failures"],
            stub=True,
            # Ray asks the trainable for its resources otherwise.
            _setup_default_resource=False,
        )

    @property
    def local_path(self) -> None:
        """No folder: errors are not written."""

    def init_local_path(self) -> None:
        """Make no folder."""

    def get_trainable_cls(self) -> type[Trainable]:
        """Return the class of actors."""
        return SimulatedTrainable

    def set_status(self, status: str) -> None:
        """Change the status."""
        self.on_status(self, status)
        super().set_status(status)

    def set_ray_actor(self, ray_actor: Actor | None) -> None:
        """Change the actor."""
        self.temporary_state.ray_actor = ray_actor
        if ray_actor is not None:
            # `last_result` gives this before the first report; Ray asks a remote actor for it.
            self._default_result_or_future = ray_actor.first_result()

    def on_checkpoint(self, checkpoint_result: Saved) -> None:
        """Keep a checkpoint to resume from; Ray's own registers its files."""
        self._restore_checkpoint_result = checkpoint_result

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Keep the newest report; Ray's own also keeps statistics of every metric."""
        result["experiment_tag"] = self.experiment_tag
        self.run_metadata.last_result = result


class VirtualExperiment(Experiment):
    """An experiment with no trainable and no storage.

    Ray's own constructor registers a trainable with the cluster and makes folders.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        num_samples: int,
        stop: Mapping[str, Any],
        time_budget_s: float | None,
        max_failures: int,
    ) -> None:
        self.spec = {
            "run": TRAINABLE,
            "stop": dict(stop),
            "time_budget_s": time_budget_s,
            "config": config,
            "num_samples": num_samples,
            "max_failures": max_failures,
        }
        self._stopper = None  # the base class reads it


class VirtualSearchGenerator(SearchGenerator):
    """Ray's generator, with trial ids that repeat and virtual trials."""

    def __init__(self, searcher: Searcher) -> None:
        super().__init__(searcher)
        self._asked = 0

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """Ask the searcher; as Ray does, but for the making of the trial."""
        trial_id = f"{self._asked:08x}"  # Ray draws eight hexadecimal digits
        self._asked += 1
        suggested = self.searcher.suggest(trial_id)
        if isinstance(suggested, str) and suggested == Searcher.FINISHED:
            self._finished = True
            return None
        if suggested is None:
            return None
        config = merge_dicts(experiment_spec["config"], copy.deepcopy(suggested))
        self._counter += 1
        tag = f"{self._counter}_{format_vars(_resolve_nested_dict(config))}"
        spec = {**experiment_spec, "config": config}
        return VirtualTrial(spec, trial_id, flatten_dict(suggested), tag)


def make_repeatable(generator: BasicVariantGenerator) -> None:
    """Let Ray's random search make virtual trials, with ids that repeat.

    Its iterators make the trials and number them; there is no public way in.
    """
    for iterator in generator._iterators:

        def create(resolved: Any, spec: dict[str, Any], iterator: Any = iterator) -> Trial:
            tag = str(iterator.counter)
            if resolved:
                tag += f"_{format_vars(resolved)}"
            trial_id = f"00000_{iterator.counter:05d}"
            iterator.counter += 1
            return VirtualTrial(spec, trial_id, _flatten_resolved_vars(resolved), tag)

        iterator.create_trial = create


def prepare_searcher(
    search_alg: SearchAlgorithm, metric: Any, mode: Any, experiment: VirtualExperiment
) -> None:
    """Tell the searcher what the Tuner would, and give it the experiment.

    Raises:
        SettingError: The space is given to both, as Ray's own error says.
    """
    config = experiment.spec["config"]
    if config:
        known = search_alg.set_search_properties(metric, mode, config, **experiment.public_spec)
        if not known and _has_unresolved_values(config):
            raise SettingError(
                "param_space holds domains, but the searcher has a search space of its own (or"
                " does not take one): give the space in one place"
            )
    search_alg.add_configurations([experiment])
    if isinstance(search_alg, BasicVariantGenerator):
        make_repeatable(search_alg)


def prepare_scheduler(
    scheduler: TrialScheduler, metric: Any, mode: Any, experiment: VirtualExperiment
) -> None:
    """Tell the scheduler what the Tuner would.

    Raises:
        SettingError: Metric or mode is given to both.
    """
    if not _set_scheduler_properties(
        scheduler.set_search_properties, metric, mode, **experiment.public_spec
    ):
        raise SettingError(
            "metric or mode is given both to simulate() and to the scheduler: give them once"
        )


def max_pending_of(search_alg: SearchAlgorithm, workers: int) -> int:
    """Return how many trials Ray proposes ahead. Its own function asks the cluster for its CPUs."""
    if isinstance(search_alg, BasicVariantGenerator):
        return max(200, int(workers * 1.1))
    searcher = getattr(search_alg, "searcher", None)
    while searcher:
        if isinstance(searcher, ConcurrencyLimiter):
            limit: int = searcher.max_concurrent
            return limit
        searcher = getattr(searcher, "searcher", None)
    return 1


def schedule_of(scheduler: TrialScheduler) -> tuple[str, float | None]:
    """Return a scheduler's `time_attr` and full resource. Ray's have no public names for them."""
    time_attr = getattr(scheduler, "_time_attr", None) or TRAINING_ITERATION
    return time_attr, getattr(scheduler, "max_t", getattr(scheduler, "_max_t", None))

"""Ray's own `TuneController` on the virtual clock.

This is the only module of the simulator that uses private names of Ray. A comment explains each
use. `tests/simulate/test_ray_controller.py` fails when Ray changes one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, cast

from ray.air.constants import TRAINING_ITERATION
from ray.tune import PlacementGroupFactory, Trainable

# The loop itself: it asks, starts, decides, retries and stops.
from ray.tune.execution.tune_controller import TuneController

# How many trials Ray proposes ahead.
from ray.tune.execution.tune_controller import _get_max_pending_trials as _max_pending_of
from ray.tune.experiment import Experiment, Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import TrialScheduler

# Ray calls a scheduler's hook through this: the hook may take no **spec.
from ray.tune.schedulers.util import (
    _set_search_properties_backwards_compatible as _set_scheduler_properties,
)
from ray.tune.search import BasicVariantGenerator, SearchGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm

# Whether a space holds domains: Ray refuses it beside a searcher that has one.
from ray.tune.search.variant_generator import _has_unresolved_values

from raytuner.controller.retries import ResilientTrial
from raytuner.errors import SettingError
from raytuner.simulate.actors import Actor, SimulatedActors, Training
from raytuner.simulate.clock import Clock, HookTimer, TimedHooks
from raytuner.simulate.event_recorder import EventRecorder, Trials
from raytuner.simulate.inputs import Cluster, Curve, Objective, Settings
from raytuner.simulate.simulation import Ended

NAME = "simulated"

_ONE_WORKER = PlacementGroupFactory([{"CPU": 1}])

# Ray reads these before it requests an actor, and when a trial fails.
_STORAGE: Any = SimpleNamespace(
    experiment_dir_name=NAME,
    trial_dir_name=NAME,
    trial_driver_staging_path=None,  # no folder: errors are not written
)


class VirtualController(TuneController):
    """Ray's controller, with actors, time and storage replaced."""

    def __init__(
        self,
        search_alg: SearchAlgorithm,
        scheduler: TrialScheduler,
        objective: Objective,
        cluster: Cluster,
        settings: Settings,
        *,
        time_budget_s: float | None,
        metric: str | None,
        time_attr: str,
        max_t: float | None,
        searcher: object,
        seed: int,
    ) -> None:
        self._unwrapped = (search_alg, scheduler)
        self._objective = objective
        self._settings = settings
        self._deadline = math.inf if time_budget_s is None else time_budget_s
        self._is_unanswered = False
        self.clock = Clock()
        self.timer = HookTimer(self.clock, settings, searcher)
        self.recorder = EventRecorder(self.clock, metric, time_attr, max_t)
        self.actors = SimulatedActors(cluster, self.clock, self._wait_until, seed)
        searching: Any = TimedHooks(search_alg, self.timer, "hooks", next_trial=self._next_trial)
        deciding: Any = TimedHooks(
            scheduler,
            self.timer,
            "scheduler",
            on_trial_result=self._decide,
            choose_trial_to_run=self._choose,
        )
        super().__init__(
            search_alg=searching, scheduler=deciding, callbacks=[self.recorder], metric=metric
        )
        # The loop requests and stops actors here, and waits for their events.
        self._actor_manager = manager = cast(Any, self.actors)
        # It takes the handle of a started actor out of the manager.
        manager._live_actors_to_ray_actors_resources = self.actors.live
        # Ray's own warns when nothing runs, and asks the cluster what it has.
        silent = SimpleNamespace(on_no_available_trials=lambda trials: None)
        self._insufficient_resources_manager: Any = silent
        # It logs the error of each failed trial.
        self._print_trial_errors = False
        self.update_max_pending_trials()

    def run(self) -> Ended:
        """Run the experiment to its end, and return why it ended."""
        ray: Any = self  # Ray's methods have no types
        while not ray.is_finished():
            events = len(self.recorder.events)
            ray.step()
            if self.clock.now >= self._deadline:
                break
            is_exhausted = self.actors.is_exhausted and self._deadline == math.inf
            if is_exhausted and len(self.recorder.events) == events:
                return "stalled"
        return "finished" if self.clock.now < self._deadline else "time_budget"

    @property
    def search_alg(self) -> SearchAlgorithm:
        """The search algorithm."""
        return self._unwrapped[0]

    @property
    def scheduler_alg(self) -> TrialScheduler:
        """The scheduler."""
        return self._unwrapped[1]

    def get_trials(self) -> Trials:
        """Return all trials, those that wait first."""
        return self.recorder.trials

    def slots(self) -> int:
        """Return how many trials could run now. A `BoTorchSearch` asks this, not the cluster."""
        return self.actors.workers

    def update_max_pending_trials(self, max_pending_trials: int | None = None) -> None:
        """Change the cap on pending trials; None: Ray's own."""
        cluster = SimpleNamespace(cluster_resources=lambda: {"CPU": self.actors.workers})
        own = _with_globals(_max_pending_of, ray=cluster)
        # The loop compares this with the number of pending trials.
        self._max_pending_trials = max_pending_trials or own(self.search_alg)

    def add_trial(self, trial: Any) -> None:
        """Add a trial that the searcher proposed."""
        outcome = self._objective(trial.config)
        trial.training = Training(
            number=len(self.recorder.trainings),
            trial_id=trial.trial_id,
            config=trial.config,
            proposed_at=self.clock.now,
            curve=outcome if isinstance(outcome, Curve) else Curve(outcome),
            metric=self.recorder.metric or DEFAULT_METRIC,
            settings=self._settings,
        )
        trial.storage.training = trial.training  # Ray hands the storage to the actor
        trial.on_status = self.recorder.on_status
        self.recorder.on_proposed(trial)
        super().add_trial(trial)

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Write no snapshot."""

    def on_step_end(self) -> None:
        """Kill no actor that hangs."""

    # Ray's own copies the state of the experiment to storage.
    def _create_checkpoint_manager(self) -> Any:
        return SimpleNamespace(on_trial_checkpoint=lambda trial: None)

    # Ray's own waits in real time while nothing is live: a second at a time, up to 600 s.
    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        clock = self.clock
        time = SimpleNamespace(
            time=lambda: clock.now, sleep=lambda seconds: clock.advance_to(clock.now + seconds)
        )
        is_new = _with_globals(TuneController._update_trial_queue, time=time)(
            self, blocking, timeout
        )
        self._is_unanswered = not is_new
        return bool(is_new)

    # Ray's own aborts the experiment at a report without the metric, unless an environment variable
    # says otherwise.
    def _validate_result_metrics(self, result: dict[str, Any]) -> None:
        pass

    def _wait_until(self) -> float:
        """Return the virtual second until which the loop waits for an event."""
        if self.is_finished():  # type: ignore[no-untyped-call]
            return self.clock.now  # random search notices this when it is asked once more
        poll_s = self._settings.poll_s if self._is_unanswered else None
        return min(self._deadline, math.inf if poll_s is None else self.clock.now + poll_s)

    def _next_trial(self) -> Any:
        trial = self.timer.call("suggest", self.search_alg.next_trial)
        if trial is None:  # no proposal: it would make proposals look quick
            self.timer.seconds["hooks"].append(self.timer.seconds["suggest"].pop())
        return trial

    def _choose(self, *args: Any) -> Any:
        if not self.recorder.trials.waiting:  # FIFO would look at every trial in vain
            return None
        return self.timer.call("scheduler", self.scheduler_alg.choose_trial_to_run, *args)

    def _decide(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        hook = self.scheduler_alg.on_trial_result
        decision = str(self.timer.call("scheduler", hook, controller, trial, result))
        if not result.get("done"):  # else it repeats the last report, since training has ended
            trial.training.decision = decision
        return decision


class SimulatedTrainable(Trainable):
    """The class of all trials. Schedulers check that it can save checkpoints."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""


class VirtualTrial(Trial):
    """Ray's trial, without storage, a registered trainable and statistics of metrics."""

    training: Training
    on_status: Callable[[VirtualTrial, str], None]
    resilient_class: type[ResilientTrial]  # what `make_resilient` turns it into

    def __init__(self, spec: Mapping[str, Any], parser: Any, **kwargs: Any) -> None:
        super().__init__(
            NAME,
            config=spec["config"],
            storage=_STORAGE,
            placement_group_factory=_ONE_WORKER,
            stopping_criterion=spec["stop"],
            max_failures=spec["max_failures"],
            stub=True,
            # Ray asks the trainable for its resources otherwise.
            _setup_default_resource=False,
            **kwargs,
        )

    def init_local_path(self) -> None:
        """Make no folder."""

    def get_trainable_cls(self) -> type[Trainable]:
        """Return the class of actors."""
        return SimulatedTrainable

    def set_status(self, status: str) -> None:
        """Change the status."""
        self.on_status(self, status)
        super().set_status(status)  # type: ignore[no-untyped-call]

    def set_ray_actor(self, ray_actor: Actor | None) -> None:
        """Change the actor."""
        state: Any = self.temporary_state
        state.ray_actor = ray_actor
        if ray_actor is not None:
            # `last_result` gives this before the first report; Ray asks a remote actor for it.
            self._default_result_or_future = ray_actor.first_result()

    def on_checkpoint(self, checkpoint_result: Any) -> None:
        """Keep a checkpoint to resume from; Ray's own registers its files."""
        # `latest_checkpoint_result` gives this where none was registered.
        self._restore_checkpoint_result = checkpoint_result

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Keep the newest report; Ray's own also keeps statistics of every metric."""
        result["experiment_tag"] = self.experiment_tag
        self.run_metadata.last_result = result


class ResilientVirtualTrial(ResilientTrial, VirtualTrial):
    """A virtual trial whose lost workers do not count as failures."""


VirtualTrial.resilient_class = ResilientVirtualTrial


class VirtualExperiment(Experiment):
    """An experiment for which no trainable is registered and no folder made."""

    def __init__(self, **spec: Any) -> None:
        self.spec = {"run": NAME, **spec}
        # The base class reads it.
        self._stopper = None


def prepare(
    search_alg: SearchAlgorithm,
    scheduler: TrialScheduler,
    metric: Any,
    mode: Any,
    param_space: Mapping[str, Any],
    **spec: Any,
) -> None:
    """Tell searcher and scheduler what the Tuner would; the searcher then makes virtual trials."""
    config = dict(param_space)
    experiment = VirtualExperiment(config=config, **spec)
    public = experiment.public_spec
    is_taken = not config or search_alg.set_search_properties(metric, mode, config, **public)
    if not is_taken and _has_unresolved_values(config):
        raise SettingError(
            "param_space has domains, but the searcher already has a search space or does not take"
            " one; give the space in only one place"
        )
    if not _set_scheduler_properties(scheduler.set_search_properties, metric, mode, **public):
        raise SettingError(
            "metric or mode is given both to simulate() and to the scheduler; give them only once"
        )
    search_alg.add_configurations([experiment])
    make: dict[str, Any] = {"_create_trial_from_spec": VirtualTrial}  # Ray's own parses the spec
    if isinstance(search_alg, SearchGenerator):
        numbers = itertools.count()
        make["Trial"] = SimpleNamespace(generate_id=lambda: f"{next(numbers):08x}")  # they repeat
        _rebind(search_alg, "create_trial_if_possible", make)
    elif isinstance(search_alg, BasicVariantGenerator):
        # These make the trials, and number them.
        for iterator in search_alg._iterators:
            iterator.uuid_prefix = "00000_"
            _rebind(iterator, "create_trial", make)


def schedule_of(scheduler: TrialScheduler) -> tuple[str, float | None]:
    """Return a scheduler's `time_attr` and full resource. Ray's have no public names for them."""
    time_attr, max_t = (
        getattr(scheduler, name, None) or getattr(scheduler, f"_{name}", None)
        for name in ("time_attr", "max_t")
    )
    return time_attr or TRAINING_ITERATION, max_t


def _rebind(target: Any, method: str, names: dict[str, Any]) -> None:
    function = _with_globals(getattr(type(target), method), **names)
    setattr(target, method, MethodType(function, target))


def _with_globals(function: Any, **names: Any) -> FunctionType:
    """Return a copy of one of Ray's functions for which these global names mean something else."""
    known = {**function.__globals__, **names}
    return FunctionType(function.__code__, known, argdefs=function.__defaults__)

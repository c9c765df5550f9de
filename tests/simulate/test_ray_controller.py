"""What the simulator uses of Ray without a promise: each piece is still there."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from call_journal import Journal, JournalSearcher
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchGenerator
from ray.tune.search.basic_variant import _TrialIterator

from raytuner.schedulers import ASHAScheduler
from raytuner.simulate.ray_controller import (
    NAME,
    VirtualController,
    VirtualExperiment,
    prepare,
    schedule_of,
)

USES: list[tuple[Any, str, str]] = [
    (TuneController, "__init__", "self._actor_manager = RayActorManager("),
    (TuneController, "__init__", "self._checkpoint_manager = self._create_checkpoint_manager()"),
    (RayActorManager, "_actor_task_failed", "tracked_actor._on_error(tracked_actor, exception)"),
    (TuneController, "_actor_failed", "if trial in (self._pending_trials | self._paused_trials)"),
    (TuneController, "_actor_started", "self._actor_manager._live_actors_to_ray_actors_resources["),
    (TuneController, "step", "self._actor_manager.next(timeout=0.1)"),
    (TuneController, "step", "self._insufficient_resources_manager.on_no_available_trials("),
    (TuneController, "_trial_task_failure", "if self._print_trial_errors:"),
    (TuneController, "_maybe_update_trial_queue", "< self._max_pending_trials"),
    (TuneController, "_maybe_update_trial_queue", "self._update_trial_queue(blocking="),
    (TuneController, "_process_trial_result", "self._validate_result_metrics(flat_result)"),
    (TuneController, "_process_trial_save", "self._checkpoint_manager.on_trial_checkpoint(trial)"),
    (TuneController, "_schedule_trial_actor", "kwargs=trainable_kwargs"),
    (tune_controller, "_get_trainable_kwargs", "trial.storage.trial_dir_name"),
    (Trial, "create_placement_group_factory", "not self._setup_default_resource"),
    (Trial, "last_result", "result = self._default_result_or_future"),
    (Trial, "latest_checkpoint_result", "or self._restore_checkpoint_result"),
    (Experiment, "stopper", "return self._stopper"),
    (SearchGenerator, "create_trial_if_possible", "trial_id = Trial.generate_id()"),
    (SearchGenerator, "create_trial_if_possible", "trial = _create_trial_from_spec("),
    (BasicVariantGenerator, "add_configurations", "self._iterators"),
    (_TrialIterator, "create_trial", "trial_id = self.uuid_prefix"),
    (_TrialIterator, "create_trial", "return _create_trial_from_spec("),
    (TuneController, "_update_trial_queue", "time.time() - start < timeout"),
    (TuneController, "_update_trial_queue", "time.sleep(1)"),
    (tune_controller, "_get_max_pending_trials", 'ray.cluster_resources().get("CPU"'),
]


@pytest.mark.parametrize(("owner", "name", "use"), USES, ids=[use for *_, use in USES])
def test_ray_still_uses_what_is_replaced(owner: Any, name: str, use: str) -> None:
    function = inspect.getattr_static(owner, name)
    assert use in inspect.getsource(getattr(function, "fget", function))


def test_the_controller_is_rays_but_for_what_is_listed() -> None:
    """A method of ours that replaces one of Ray's takes the same arguments."""
    replaced = [name for name in vars(VirtualController) if name in vars(TuneController)]
    assert {name for name in replaced if name.startswith("_") and name[1] != "_"} == {
        "_create_checkpoint_manager",
        "_update_trial_queue",
        "_validate_result_metrics",
    }
    methods = {name for name in replaced if inspect.isfunction(vars(VirtualController)[name])}
    for name in methods - {"__init__"}:
        ours, theirs = getattr(VirtualController, name), getattr(TuneController, name)
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )


SPEC: dict[str, Any] = {
    "num_samples": 3,
    "stop": {"training_iteration": 5},
    "time_budget_s": None,
    "max_failures": 2,
}
SPACE = {"a": tune.uniform(0, 1), "k": {"c": 1}, "nested": {"x": 7.0, "y": 2}}


def test_an_experiment_has_what_ray_reads_of_it() -> None:
    public = VirtualExperiment(config=SPACE, **SPEC).public_spec
    assert public == {key: SPEC[key] for key in ("stop", "num_samples", "time_budget_s")}
    assert set(public) == Experiment.PUBLIC_KEYS


def generator(kind: str) -> Any:
    if kind == "random":
        return BasicVariantGenerator(random_state=0)
    return SearchGenerator(JournalSearcher(Journal()))


@pytest.mark.parametrize(("kind", "ids"), [("random", "00000_0000{}"), ("searcher", "0000000{}")])
def test_trials_are_made_as_rays_with_ids_that_repeat(kind: str, ids: str) -> None:
    tune.register_trainable(NAME, lambda config: None)
    space = {key: SPACE[key] for key in SPACE if kind == "random" or key != "a"}
    made = []
    for virtual in (True, False):
        search_alg = generator(kind)
        if virtual:
            prepare(search_alg, FIFOScheduler(), "loss", "min", space, **SPEC)  # type: ignore[no-untyped-call]
        else:
            search_alg.set_search_properties("loss", "min", space)
            search_alg.add_configurations([VirtualExperiment(config=space, **SPEC)])
        trials = [search_alg.next_trial() for _ in range(3)]
        if virtual:
            assert [trial.trial_id for trial in trials] == [ids.format(n) for n in range(3)]
        made.append(
            [
                {
                    "config": trial.config,
                    "tag": trial.experiment_tag,
                    "evaluated": trial.evaluated_params,
                    "stop": trial.stopping_criterion,
                    "failures": trial.max_failures,
                    "status": trial.status,
                }
                for trial in trials
            ]
        )
        assert search_alg.next_trial() is None
    assert made[0] == made[1]


def test_the_full_resource_of_asha() -> None:
    each = "training_iteration"
    assert schedule_of(RaysASHA(max_t=81)) == (each, 81)
    assert schedule_of(ASHAScheduler(max_t=27)) == (each, 27)
    assert schedule_of(ASHAScheduler("epoch", max_t=27)) == ("epoch", 27)
    assert schedule_of(RaysASHA("epoch", max_t=81)) == ("epoch", 81)
    assert schedule_of(TrialScheduler()) == (each, None)  # type: ignore[no-untyped-call]

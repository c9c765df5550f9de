"""What the simulator uses of Ray without a promise: each piece is still there."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import ray
from call_journal import Journal, JournalSearcher
from ray import tune
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator
from ray.tune.search.basic_variant import _TrialIterator

from raytuner.schedulers import ASHAScheduler
from raytuner.simulate import ray_controller
from raytuner.simulate.ray_controller import VirtualController

USES = [
    (TuneController.__init__, "self._actor_manager = RayActorManager("),
    (TuneController.__init__, "self._checkpoint_manager = self._create_checkpoint_manager()"),
    (TuneController._actor_started, "self._actor_manager._live_actors_to_ray_actors_resources["),
    (TuneController.step, "self._actor_manager.next(timeout=0.1)"),
    (TuneController.step, "self._insufficient_resources_manager.on_no_available_trials("),
    (TuneController._trial_task_failure, "if self._print_trial_errors:"),
    (TuneController._maybe_update_trial_queue, "< self._max_pending_trials"),
    (TuneController._maybe_update_trial_queue, "self._update_trial_queue(blocking="),
    (TuneController._process_trial_result, "self._validate_result_metrics(flat_result)"),
    (TuneController._process_trial_save, "self._checkpoint_manager.on_trial_checkpoint(trial)"),
    (TuneController._schedule_trial_actor, "kwargs=trainable_kwargs"),
    (tune_controller._get_trainable_kwargs, "trial.storage.trial_dir_name"),
    (Trial.create_placement_group_factory, "not self._setup_default_resource"),
    (Trial.last_result.fget, "result = self._default_result_or_future"),
    (Trial.latest_checkpoint_result.fget, "or self._restore_checkpoint_result"),
    (Experiment.stopper.fget, "return self._stopper"),
    (SearchGenerator.is_finished, "self._counter >= self._total_samples or self._finished"),
    (BasicVariantGenerator.add_configurations, "self._iterators"),
]


@pytest.mark.parametrize(("function", "use"), USES, ids=[use for _, use in USES])
def test_ray_still_uses_what_is_replaced(function: Any, use: str) -> None:
    assert use in inspect.getsource(function)


def test_the_controller_is_rays_but_for_what_is_listed() -> None:
    """A method of ours that replaces one of Ray's takes the same arguments."""
    replaced = [name for name in vars(VirtualController) if name in vars(TuneController)]
    assert {name for name in replaced if name.startswith("_") and name[1] != "_"} == {
        "_create_checkpoint_manager",
        "_update_trial_queue",
        "_validate_result_metrics",
    }
    for name in {*replaced} - {"__init__", "__doc__", "__module__", "search_alg", "scheduler_alg"}:
        ours, theirs = getattr(VirtualController, name), getattr(TuneController, name)
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )


def experiment(**spec: Any) -> ray_controller.VirtualExperiment:
    given = {"num_samples": 3, "stop": {}, "time_budget_s": None, "max_failures": 2, **spec}
    return ray_controller.VirtualExperiment({"a": tune.uniform(0, 1), "k": {"c": 1}}, **given)


def generators() -> list[Any]:
    searcher = JournalSearcher(Journal())
    return [
        BasicVariantGenerator(random_state=0),
        BasicVariantGenerator(max_concurrent=3),
        SearchGenerator(searcher),
        SearchGenerator(ConcurrencyLimiter(searcher, 7)),
    ]


@pytest.mark.parametrize(
    ("which", "workers"),
    [(0, 4), (0, 1000), (1, 4), (2, 4), (3, 4)],  # the workers matter where nothing else is said
)
def test_the_pending_cap_is_rays(which: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(workers)})
    generator = generators()[which]
    expected = tune_controller._get_max_pending_trials(generator)
    assert ray_controller.max_pending_of(generator, workers) == expected


def test_an_experiment_has_what_ray_reads_of_it() -> None:
    public = experiment(stop={"training_iteration": 5}).public_spec
    assert public == {"stop": {"training_iteration": 5}, "num_samples": 3, "time_budget_s": None}
    assert set(public) == Experiment.PUBLIC_KEYS


def test_random_search_still_makes_trials_where_we_step_in() -> None:
    assert list(inspect.signature(_TrialIterator.create_trial).parameters) == [
        "self",
        "resolved_vars",
        "spec",
    ]
    generator: Any = BasicVariantGenerator(random_state=0)
    ray_controller.prepare_searcher(generator, "loss", "min", experiment())
    trials = [generator.next_trial() for _ in range(3)]
    assert [trial.trial_id for trial in trials] == ["00000_00000", "00000_00001", "00000_00002"]
    first = trials[0]
    assert first.config["k"] == {"c": 1}
    assert first.evaluated_params == {"a": first.config["a"]}
    assert first.experiment_tag == f"0_a={first.config['a']:.4f}"
    assert generator.next_trial() is None


def test_a_generators_trials_are_as_rays() -> None:
    """The same searcher behind Ray's generator, with Ray's own way of making trials."""
    tune.register_trainable(ray_controller.TRAINABLE, lambda config: None)
    made = []
    for kind in (SearchGenerator, ray_controller.VirtualSearchGenerator):
        generator: Any = kind(JournalSearcher(Journal()))
        spec = experiment(stop={"training_iteration": 5})
        spec.spec["config"] = {"k": {"c": 1}, "nested": {"x": 7.0, "y": 2}}
        ray_controller.prepare_searcher(generator, "loss", "min", spec)
        trial = generator.next_trial()
        made.append(
            {
                "config": trial.config,
                "tag": trial.experiment_tag,
                "evaluated": trial.evaluated_params,
                "stop": trial.stopping_criterion,
                "failures": trial.max_failures,
                "status": trial.status,
            }
        )
    assert made[0] == made[1]


def test_the_full_resource_of_asha() -> None:
    each = "training_iteration"
    assert ray_controller.schedule_of(RaysASHA(max_t=81)) == (each, 81)
    assert ray_controller.schedule_of(ASHAScheduler(max_t=27)) == (each, 27)
    assert ray_controller.schedule_of(ASHAScheduler("epoch", max_t=27)) == ("epoch", 27)
    assert ray_controller.schedule_of(RaysASHA("epoch", max_t=81)) == ("epoch", 81)
    assert ray_controller.schedule_of(TrialScheduler()) == (each, None)  # type: ignore[no-untyped-call]

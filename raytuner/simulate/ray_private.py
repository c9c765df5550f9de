"""The only place that touches what Ray does not promise to keep.

``tests/simulate/test_ray_private.py`` fails when one of these pieces changes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.experiment import Experiment, Trial

# The keys of a result that every trial has, also one that never reported.
from ray.tune.result import DEBUG_METRICS, DONE
from ray.tune.schedulers import TrialScheduler

# The fallback for schedulers and searchers whose hook takes no **spec: Ray calls them through it.
from ray.tune.schedulers.util import (
    _set_search_properties_backwards_compatible as _set_scheduler_properties,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.searcher import Searcher

# The experiment tag is made of the resolved configuration with these.
from ray.tune.search.variant_generator import (
    _flatten_resolved_vars,
    _has_unresolved_values,
    _resolve_nested_dict,
    format_vars,
)

# How Ray flattens results and lays a suggestion over the constants of the space.
from ray.tune.utils import flatten_dict, merge_dicts

from raytuner.errors import SettingError

TRAINABLE = "simulated"

__all__ = [
    "VirtualExperiment",
    "VirtualSearchGenerator",
    "count_failure",
    "exceeds_max_failures",
    "flatten",
    "is_report",
    "make_repeatable",
    "max_pending_of",
    "prepare_scheduler",
    "prepare_searcher",
    "schedule_of",
    "set_default_result",
    "set_last_result",
    "set_saving",
]


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
        self._stopper = None


def make_trial(
    spec: Mapping[str, Any], trial_id: str, evaluated: Mapping[str, Any], tag: str
) -> Trial:
    """Ray's trial, without what needs a cluster.

    ``stub``: no trainable is looked up. Ray's own way parses a command line for each trial.
    """
    return Trial(
        TRAINABLE,
        config=spec["config"],
        trial_id=trial_id,
        evaluated_params=dict(evaluated),
        experiment_tag=tag,
        stopping_criterion=spec["stop"],
        max_failures=spec["max_failures"],
        stub=True,
    )


class VirtualSearchGenerator(SearchGenerator):
    """Ray's generator, with trial ids that repeat and trials that need no cluster."""

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
        return make_trial(spec, trial_id, flatten_dict(suggested), tag)


def make_repeatable(generator: BasicVariantGenerator) -> None:
    """Let Ray's random search make trials that need no cluster, with ids that repeat.

    Its iterators make the trials and number them; there is no public way in.
    """
    for iterator in generator._iterators:

        def create(resolved: Any, spec: dict[str, Any], iterator: Any = iterator) -> Trial:
            tag = str(iterator.counter)
            if resolved:
                tag += f"_{format_vars(resolved)}"
            trial_id = f"00000_{iterator.counter:05d}"
            iterator.counter += 1
            return make_trial(spec, trial_id, _flatten_resolved_vars(resolved), tag)

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
    """How many trials Ray proposes ahead; Ray's own function asks the cluster for its CPUs.

    Args:
        search_alg: Ray's search algorithm.
        workers: CPUs of the cluster.
    """
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
    """Return a scheduler's ``time_attr`` and full resource; Ray's have no public names."""
    names = ("time_attr", "_time_attr")
    found = (getattr(scheduler, name, None) for name in names)
    time_attr = next((name for name in found if name), TRAINING_ITERATION)
    return time_attr, getattr(scheduler, "max_t", getattr(scheduler, "_max_t", None))


def set_last_result(trial: Trial, result: dict[str, Any]) -> None:
    """Enter a trial's newest report; Ray's own way also keeps statistics of every metric."""
    if trial.experiment_tag:
        result["experiment_tag"] = trial.experiment_tag
    trial.run_metadata.last_result = result


def set_default_result(trial: Trial, result: dict[str, Any]) -> None:
    """What ``last_result`` gives before the first report; Ray asks the actor for it."""
    trial._default_result_or_future = result


def set_saving(trial: Trial, saving: bool) -> None:
    """Let ``trial.is_saving`` say whether a checkpoint is being written; schedulers ask."""
    state: Any = trial.temporary_state
    state.saving_to = True if saving else None


def count_failure(trial: Trial) -> None:
    """One more failure of this trial; Ray's own way writes an error file."""
    trial.run_metadata.num_failures += 1


def exceeds_max_failures(trial: Trial) -> bool:
    """Whether a trial is not tried again."""
    recovers: bool = trial.should_recover()  # type: ignore[no-untyped-call]
    return not recovers


def is_report(flat: Mapping[str, Any]) -> bool:
    """Whether Ray takes a flat result for one that was reported, and must name the metric."""
    return len({key for key in flat if key not in DEBUG_METRICS and key != DONE}) > 1


def flatten(result: dict[str, Any]) -> dict[str, Any]:
    """A result with nested keys joined by slashes."""
    flat: dict[str, Any] = flatten_dict(result)
    return flat

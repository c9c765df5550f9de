"""Train the best few trials of a study again, to find out which of them were only lucky."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from ray import tune as ray_tune
from ray.tune.search import Searcher

from raytuner.controller.leftovers import FreeLeftovers
from raytuner.errors import HistoryError, SettingError
from raytuner.folders import Folder, location
from raytuner.history import History, Trial, TrialState, record_exists
from raytuner.placement.request import Resources
from raytuner.search.restore import open_record, record_at
from raytuner.space import Config
from raytuner.study.callbacks import guarded
from raytuner.study.resources import RequireRoom, trainer_of, trials_at_once, with_resources
from raytuner.study.run import ray_session
from raytuner.study.settings import kept_resources
from raytuner.study.study import CONFIRMED
from raytuner.study.trainable import Trainable


def confirm(
    path: Folder,
    history: History,
    trainable: Trainable,
    *,
    k: int,
    repeats: int,
    seed_key: str | None,
    seed: int | None,
    resources: Resources | None,
    max_concurrent_trials: int | None,
) -> None:
    """Train the best few trials of a study again and record the values; see `Study.confirm`."""
    trials = chosen(history, k, repeats, seed_key)
    resources = kept_resources(history, resources, "study.confirm")
    runnable = with_resources(trainable, resources)
    seeds = np.random.default_rng(seed).integers(2**31, size=repeats).tolist()
    configs = [
        trial.config if seed_key is None else {**trial.config, seed_key: number}
        for trial in trials
        for number in seeds
    ]
    callbacks = [RequireRoom(), *guarded()]
    with ray_session():
        if trainer_of(resources):
            callbacks.append(FreeLeftovers())
        results = ray_tune.Tuner(
            runnable,
            tune_config=ray_tune.TuneConfig(
                num_samples=len(configs),
                search_alg=ListedConfigs(configs),
                max_concurrent_trials=trials_at_once(resources, max_concurrent_trials),
            ),
            run_config=ray_tune.RunConfig(
                name=f"confirm_{time.strftime('%Y-%m-%d_%H-%M-%S')}",
                storage_path=location(path),
                verbose=0,
                stop=None if history.max_t is None else {history.time_attr: history.max_t},
                callbacks=callbacks,
            ),
        ).fit()
    # The results have the order of `configs`.
    known = history.get_meta(CONFIRMED, {})
    for number in range(len(configs)):
        result = results[number]
        value = None if result.error else (result.metrics or {}).get(history.metric)
        values = known.setdefault(trials[number // repeats].trial_id, [])
        if isinstance(value, int | float) and math.isfinite(value):
            values.append(float(value))
    history.set_meta(CONFIRMED, known)
    if record_exists(record_at(path)):
        with closing(open_record(path, history, history.space)) as live:
            live.set_meta(CONFIRMED, known)


def chosen(history: History, k: int, repeats: int, seed_key: str | None) -> list[Trial]:
    """Return the `k` best trials that completed and satisfy the outcome constraints."""
    for name, number in (("k", k), ("repeats", repeats)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"{name} is {number!r}; it must be a whole number of at least 1")
    if seed_key in {column.path[0] for column in history.space.columns}:
        raise SettingError(
            f"seed_key is {seed_key!r}, a hyperparameter of the search; name the key from which the"
            " training function takes its seed"
        )
    found = [
        trial
        for trial in history.ranked
        if trial.state is TrialState.COMPLETED and history.is_feasible(trial)
    ]
    if not found:
        raise HistoryError("the study has no completed trial to confirm")
    return found[:k]


class ListedConfigs(Searcher):
    """Hands out configurations in order; they may repeat."""

    def __init__(self, configs: Sequence[Config]) -> None:
        super().__init__(metric="_", mode="max")
        self._left = list(reversed(configs))

    def suggest(self, trial_id: str) -> Config | str:  # type: ignore[override]  # FINISHED
        """Return the next configuration."""
        finished: str = Searcher.FINISHED
        return self._left.pop() if self._left else finished

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        """Learn nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: an interrupted confirmation starts again."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

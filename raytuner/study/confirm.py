"""Whether the best of a study is good or was lucky: its best few, trained again."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from ray import tune as ray_tune
from ray.tune import Callback
from ray.tune.search import Searcher

from raytuner.errors import HistoryError, RaytunerWarning, SettingError
from raytuner.folders import Folder, location
from raytuner.history import History, Trial, TrialState, record_exists
from raytuner.placement.request import Resources
from raytuner.search.restore import open_record, record_at
from raytuner.space import Config
from raytuner.study.arguments import Trainable, check_trainable, with_resources
from raytuner.study.callbacks import guarded
from raytuner.study.confirmed import CONFIRMED, Confirmed, confirmed
from raytuner.study.placeable import require_room
from raytuner.study.provenance import known_resources
from raytuner.study.run import ray_session


class Listed(Searcher):
    """Hands out configurations in order.

    Args:
        configs: The configurations, which may repeat.
    """

    def __init__(self, configs: Sequence[Config]) -> None:
        super().__init__(metric="_", mode="max")
        self._left = list(reversed(configs))

    def suggest(self, trial_id: str) -> Config | str:  # type: ignore[override]  # FINISHED
        """The next one."""
        finished: str = Searcher.FINISHED
        return self._left.pop() if self._left else finished

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learned."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: what is cut short is begun again."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""


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
    max_concurrent: int | None,
) -> tuple[Confirmed, ...]:
    """Train a study's best few again; see :meth:`Study.confirm`.

    ``path`` is the study's folder, ``history`` its record.
    """
    check_trainable(trainable)
    trials = chosen(history, k, repeats, seed_key)
    if resources is None:
        resources = known_resources(
            history.get_meta("settings") or {}, "study.confirm(resources=...)"
        )
    runnable = with_resources(trainable, resources)
    callbacks = guarded()
    with ray_session():
        require_room(runnable)
        configs = repeated(trials, repeats, seed_key, seed)
        values = _run_again(path, history, runnable, configs, max_concurrent, callbacks)
    note(history, trials, values)
    if record_exists(record_at(path)):
        with closing(open_record(path, history, history.space)) as live:
            live.set_meta(CONFIRMED, history.get_meta(CONFIRMED))
    return confirmed(history)


def chosen(history: History, k: int, repeats: int, seed_key: str | None) -> list[Trial]:
    """The trials to confirm: the ``k`` best that completed and keep the outcome constraints.

    Raises:
        SettingError: A number is below 1, or ``seed_key`` is searched.
        HistoryError: No trial has completed.
    """
    for name, number in (("k", k), ("repeats", repeats)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"{name} is {number!r}; it must be a whole number of at least 1")
    if seed_key in {column.path[0] for column in history.space.columns}:
        raise SettingError(
            f"seed_key is {seed_key!r}, which is a hyperparameter that is searched; name the key"
            " that the training function takes its seed from"
        )
    found = [
        trial
        for trial in history.ranked()
        if trial.state is TrialState.COMPLETED and history.is_feasible(trial)
    ]
    if not found:
        raise HistoryError("the study has no trial that completed: there is none to confirm")
    return found[:k]


def repeated(
    trials: Sequence[Trial], repeats: int, seed_key: str | None, seed: int | None
) -> list[Config]:
    """Each configuration ``repeats`` times, the seeds being the same for all of them."""
    seeds = np.random.default_rng(seed).integers(2**31, size=repeats).tolist()
    return [
        trial.config if seed_key is None else {**trial.config, seed_key: number}
        for trial in trials
        for number in seeds
    ]


def _run_again(
    path: Folder,
    history: History,
    runnable: Any,
    configs: Sequence[Config],
    max_concurrent: int | None,
    callbacks: list[Callback],
) -> list[float]:
    """Train each configuration in full, in an experiment of Ray's own beside the study's.

    Returns:
        The metric at the end of each; NaN where there is none.
    """
    searcher = Listed(configs)
    stop = None if history.max_t is None else {history.time_attr: history.max_t}
    grid = ray_tune.Tuner(
        runnable,
        tune_config=ray_tune.TuneConfig(
            num_samples=len(configs), search_alg=searcher, max_concurrent_trials=max_concurrent
        ),
        run_config=ray_tune.RunConfig(
            name=f"confirm_{time.strftime('%Y-%m-%d_%H-%M-%S')}",
            storage_path=location(path),
            verbose=0,
            stop=stop,
            callbacks=callbacks,
        ),
    ).fit()
    # In the order in which the trials were made, which is that of the configurations.
    results = [grid[i] for i in range(len(grid))]
    found = [None if r.error else (r.metrics or {}).get(history.metric) for r in results]
    return [float(v) if isinstance(v, int | float) else math.nan for v in found]


def note(history: History, trials: Sequence[Trial], values: Sequence[float]) -> None:
    """Keep the repeats of trials, beside those that are there already."""
    known = history.get_meta(CONFIRMED, {})
    repeats = len(values) // len(trials)
    for number, trial in enumerate(trials):
        new = [v for v in values[number * repeats : (number + 1) * repeats] if math.isfinite(v)]
        if len(new) > 1 and len(set(new)) == 1:
            warnings.warn(
                f"all repeats of trial {trial.number} gave {new[0]:g}: does the training set"
                " its own seed? Name the key it is taken from: study.confirm(seed_key=...)",
                RaytunerWarning,
                stacklevel=3,
            )
        known[trial.trial_id] = [*known.get(trial.trial_id, []), *new]
    history.set_meta(CONFIRMED, known)

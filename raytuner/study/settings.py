"""The settings of a study, each defined once.

The fields of `StudySettings` define the arguments of `raytuner.tune`, the keys of the TOML file,
the command line options, the settings in the record, and the settings that `Study.extend` may
change.
"""

# ruff: noqa: RUF009  `_set` returns a field
from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields
from enum import Flag, auto
from typing import TYPE_CHECKING, Any

from raytuner.errors import HistoryError, RaytunerError, SettingError
from raytuner.study import parsing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from ray.tune import Callback
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

    from raytuner.folders import Folder
    from raytuner.history import History
    from raytuner.placement.request import Resources
    from raytuner.placement.silence import Rule as SilenceRule
    from raytuner.search.priors import Near
    from raytuner.space import Config, Rule, Space
    from raytuner.study.study import Study
    from raytuner.study.trainable import Trainable


class Use(Flag):
    """The uses of a setting beyond the run that it is given to."""

    NONE = 0
    SEARCH = auto()  # an argument of BoTorchSearch: not allowed together with a searcher
    KEEP = auto()  # the record keeps it
    CHANGE = auto()  # `Study.extend` may change it
    RUN = KEEP | CHANGE
    OPTION = auto()  # the command line has an option for it


def _set(
    default: Any = MISSING, use: Use = Use.NONE, parse: Callable[[Any], Any] | None = None
) -> Any:
    """Return a field; `parse` converts the value from TOML or the command line."""
    return field(default=default, metadata={"use": use, "parse": parse})


@dataclass(frozen=True)
class StudySettings:
    """All settings of a study; `raytuner.tune` takes the fields as arguments.

    Args:
        trainable: A function `f(config)` that calls `ray.tune.report({metric: ...})` after each
            unit of training, a `ray.tune.Trainable` class, or the name of a registered trainable.
            Or a trainer of Ray Train: each trial runs a copy of it, whose `train_loop_config` also
            has the trial's configuration.
        param_space: The search space: a nested dict of Ray Tune domains and constants, or a
            `raytuner.space.Space`. A constant that looks like a hyperparameter causes a warning.
        metric: Name of the objective in the reports. With a list of several names, the study has a
            Pareto front (`Study.pareto`). None: the single number that the training function
            returns.
        mode: "min" or "max", or a list with one mode for each metric.
        num_samples: Number of trials; -1 for as many as a budget allows.
        max_t: Full resource of a trial, in units of `time_attr`. A trial that reaches it is
            complete. The scheduler stops bad trials before. None runs every trial until it
            finishes.
        grace_period: Resource that a trial spends before it can be stopped.
        reduction_factor: About one in this many trials continues at each rung of "asha",
            "promotion" and "hyperband". None: 3.
        scheduler: Stops or pauses trials early: "predictive-termination", "freeze-thaw", "asha",
            "promotion", "hyperband", or any Ray Tune scheduler. None, with a `max_t`: "asha" with a
            `reduction_factor`, with `outcome_constraints` or for several metrics without
            `weights`; otherwise "predictive-termination".
        strategy: Search strategy: "bayes", "hedge", "evolution", "random", "grid" and others; see
            `BoTorchSearch`.
        time_budget_s: Seconds after which the study ends. Files and options also accept text such
            as "1h 30min".
        budget: What the study may spend, such as `{"usd": 200, "gpu_hours": 50}`. Dollars need the
            nodes' prices; see `prices`. A running trial uses the GPUs that it and its trainer
            request.
        prices: US dollars per hour of each node type, such as `{"head": 0.1, "spot": 1.2}`, or one
            number for every node. All nodes of the cluster cost their price while they are up,
            also idle ones. None: the nodes' labels "usd-per-hour".
        stop_after_failures: The study stops with an error once this many trials have failed for the
            same cause and none has succeeded. 0 runs all trials.
        max_silence_s: Seconds without a report after which `on_silence` applies. None only warns,
            after ten times the longest wait so far and at least ten minutes.
        on_silence: "retry" kills the process of a silent trial and continues once from its last
            checkpoint. "fail" ends the trial as failed. "warn" only warns.
        curves: Names of further metrics to keep at every report, in `trial.others[name]`. Of all
            other numbers, `trial.metrics` has the last value.
        resources: Resources of one trial, such as `{"cpu": 2, "gpu": 0.5}` (see
            `raytuner.placement.ResourceRequest.of`), or a function of the configuration that
            returns them. `{"gpu": "fit"}` measures how many trials fit into a GPU's memory. None:
            the request of the trainable, or one CPU.
        max_concurrent_trials: Largest number of trials that run at the same time. None: as many as
            fit into the cluster.
        storage_path: Folder for the study's own folder, or its URI, such as `s3://bucket/runs`.
            Default `~/raytuner_results`.
        name: Name of the study's own folder. Default: the function's name and the time.
        seed: Makes proposals reproducible if results arrive in the same order.
        points_to_evaluate: Configurations to try first. The search proposes values for missing
            hyperparameters.
        evaluated_rewards: The metric's value for each of `points_to_evaluate`, if they were
            evaluated before. For several metrics, a dict by name. These points do not run again.
        parameter_constraints: Constraints on every configuration, such as
            `"layers * units <= 1024"`; see `BoTorchSearch`.
        outcome_constraints: Bounds on metrics, such as `"latency_ms <= 20"`. The best trial is the
            best that satisfies them.
        weights: A number above 0 for each of several metrics. The objective is then their weighted
            sum; see `BoTorchSearch`.
        cost: Key in the report for a trial's cost so far, such as "time_total_s". Proposals then
            maximise the expected improvement per cost.
        standard_error: Key in the report for the metric's standard error; see `BoTorchSearch`.
        earlier: Earlier studies to learn from: studies, tables, folders of studies, or one folder
            with many studies; see `BoTorchSearch`.
        priors: Where you expect the optimum, by hyperparameter; see `BoTorchSearch`.
        searcher: A `BoTorchSearch`, or another Ray searcher without a search space, such as
            `OptunaSearch()`. None creates a BoTorchSearch. `Study.extend` always continues with a
            BoTorchSearch.
        time_attr: Key in the report for the resource that a trial has spent.
        reuse_actors: Reuse a trial's process for the next trial. This saves seconds per trial. The
            training function must then return promptly when stopped and keep no global state.
        callbacks: Ray Tune callbacks, such as loggers. Errors of a callback are logged once and do
            not end the study, except KeyboardInterrupt, SystemExit and RaytunerError.
        progress: Show progress while the study runs.

    Raises:
        SettingError, TrainableError: A value is not valid.
    """

    trainable: Trainable = _set()
    param_space: Mapping[str, Any] | Space = _set(use=Use.CHANGE, parse=parsing.space)
    _: KW_ONLY
    metric: str | Sequence[str] | None = _set(None, Use.OPTION)
    mode: str | Sequence[str] = _set(use=Use.OPTION)
    num_samples: int = _set(use=Use.OPTION | Use.KEEP)
    max_t: float | None = _set(None, Use.OPTION | Use.RUN)
    grace_period: float = _set(1, Use.OPTION | Use.RUN)
    reduction_factor: int | None = _set(None, Use.OPTION | Use.RUN)
    scheduler: str | TrialScheduler | None = _set(None, Use.OPTION | Use.RUN)
    strategy: str = _set("bayes", Use.OPTION | Use.SEARCH | Use.KEEP)
    time_budget_s: float | None = _set(None, Use.OPTION | Use.RUN, parsing.seconds)
    budget: Mapping[str, float] | None = _set(None, Use.OPTION | Use.RUN, parsing.amounts)
    prices: float | Mapping[str, float] | None = _set(None, Use.OPTION | Use.RUN, parsing.amounts)
    stop_after_failures: int = _set(5, Use.OPTION | Use.RUN)
    max_silence_s: float | None = _set(None, Use.OPTION | Use.RUN, parsing.seconds)
    on_silence: SilenceRule = _set("retry", Use.OPTION | Use.RUN)
    curves: Sequence[str] = _set((), Use.OPTION | Use.SEARCH)
    resources: Resources | None = _set(None, Use.RUN, parsing.resources)
    max_concurrent_trials: int | None = _set(None, Use.OPTION | Use.RUN)
    storage_path: str | Folder | None = _set(None, Use.OPTION)
    name: str | None = _set(None, Use.OPTION)
    seed: int | None = _set(None, Use.OPTION | Use.KEEP)
    points_to_evaluate: Sequence[Config] | None = _set(None, Use.SEARCH)
    evaluated_rewards: Sequence[float | Mapping[str, float]] | None = _set(None, Use.SEARCH)
    parameter_constraints: Sequence[Rule] = _set((), Use.SEARCH | Use.CHANGE)
    outcome_constraints: Sequence[str] = _set((), Use.SEARCH)
    weights: Sequence[float] | None = _set(None, Use.SEARCH)
    cost: str | None = _set(None, Use.SEARCH)
    standard_error: str | None = _set(None, Use.SEARCH)
    earlier: Sequence[str | Path | Folder | Study | pd.DataFrame] | str | Path | Folder = _set(
        (), Use.OPTION | Use.SEARCH
    )
    priors: Mapping[str, Near | Mapping[Any, float] | Any] | None = _set(
        None, Use.SEARCH, parsing.priors
    )
    searcher: Searcher | None = _set(None)
    time_attr: str = _set("training_iteration", Use.KEEP)
    reuse_actors: bool = _set(False, Use.RUN)
    callbacks: Sequence[Callback] = _set((), Use.CHANGE)
    progress: bool = _set(True, Use.CHANGE)

    def __post_init__(self) -> None:
        from raytuner.placement.silence import Silence
        from raytuner.study.budget import check_budget
        from raytuner.study.trainable import check_trainable

        check_trainable(self.trainable)
        for name, kind, least, valid in (
            ("num_samples", int, -1, "at least 1, or -1 for no limit"),
            ("max_concurrent_trials", int, 1, "at least 1"),
            ("stop_after_failures", int, 0, "a whole number: at least 1, or 0 to run all trials"),
            ("time_budget_s", int | float, 0, "a number above 0"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            is_zero = value == 0 and name != "stop_after_failures"
            if value is not None and (not is_number or value < least or is_zero):
                raise SettingError(f"{name} is {value!r}; it must be {valid}")
        check_budget(self.budget, self.prices)
        if self.num_samples == -1 and self.time_budget_s is None and self.budget is None:
            raise SettingError(
                "num_samples is -1 (no limit), so nothing ends the study; give time_budget_s or"
                " budget too"
            )
        Silence(self.max_silence_s, self.on_silence)  # checks both
        for name in names(Use.SEARCH):
            if self.searcher is not None and getattr(self, name) is not SETTINGS[name].default:
                raise SettingError(
                    f"{name} was given together with a searcher; give it to the searcher"
                )

    def some(self, *names: str) -> dict[str, Any]:
        """Return some of the settings by name."""
        return {name: getattr(self, name) for name in names}

    @property
    def scheduler_name(self) -> str | None:
        """The scheduler's name; for a scheduler object, the name of its class."""
        given = self.scheduler
        return given if isinstance(given, str | None) else type(given).__name__

    def keep(self, history: History, **known: Any) -> None:
        """Write the settings to the record; `known` replaces some of them.

        Values that JSON cannot hold become text.
        """
        from raytuner.placement.request import recorded

        kept = self.some(*names(Use.KEEP)) | {"scheduler": self.scheduler_name}
        kept |= {"resources": recorded(self.resources), **known}
        history.set_meta("settings", {name: _as_json(value) for name, value in kept.items()})

    @classmethod
    def kept(
        cls, history: History, trainable: Trainable, num_samples: int, **changes: Any
    ) -> StudySettings:
        """Return the settings of a study's next run: the recorded ones with the changes.

        A change of None keeps the recorded value.

        Raises:
            HistoryError: The record has no settings.
            SettingError: A setting has to be given again, or a value is not valid.
            TypeError: `extend` cannot change a setting of this name.
        """
        from raytuner.schedulers.named import recorded_scheduler

        changes = {name: value for name, value in changes.items() if value is not None}
        check_names("extend", changes, names(Use.CHANGE))
        known = history.get_meta("settings")
        if known is None:
            raise HistoryError(
                "the study was not run by raytuner.tune, so its record has no settings to continue"
                " with. Run a new Tuner, and give this study to its BoTorchSearch as `earlier`"
            )
        once = ("num_samples", "time_budget_s", "budget", *changes)
        known = {**known, "scheduler": recorded_scheduler(known)}
        kept = {n: known[n] for n in names(Use.KEEP) if n in known and n not in once}
        if "resources" in kept:
            kept["resources"] = kept_resources(history, None, "study.extend")
        space = changes.pop("param_space", history.space)
        return cls(trainable, space, mode=history.mode, num_samples=num_samples, **kept, **changes)


SETTINGS: dict[str, Field[Any]] = {one.name: one for one in fields(StudySettings)}
"""The settings by name."""

# Python 3.13 and newer remove the indentation of docstrings themselves.
ARGUMENTS = inspect.cleandoc(StudySettings.__doc__ or "").partition("Args:\n")[2].split("\n\n")[0]
"""The arguments in the docstring of `StudySettings`, indented by four spaces."""

TEXTS = {
    name: " ".join(text.split())
    for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", ARGUMENTS, re.MULTILINE)
}
"""The description of each setting, by name."""


def names(use: Use) -> list[str]:
    """Return the names of the settings that have a use."""
    return [name for name, setting in SETTINGS.items() if use in setting.metadata["use"]]


def parsed(name: str, value: Any, where: str) -> Any:
    """Return the value of a setting, given its value in TOML or on the command line."""
    parse = SETTINGS[name].metadata["parse"]
    try:
        return value if parse is None else parse(value)
    except RaytunerError as error:
        raise type(error)(f"{where}: {error}") from error


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a TypeError if an argument's name is unknown."""
    from raytuner.space.template import known_names

    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(
                f"{function}() takes no argument {name!r}; it takes {known_names(name, known)}"
            )


def kept_resources(history: History, given: Resources | None, call: str) -> Resources | None:
    """Return the resources of a trial: the given ones or else the recorded ones."""
    kept = (history.get_meta("settings") or {}).get("resources")
    if given is None and isinstance(kept, str):
        raise SettingError(
            f"the study was run with resources={kept}, which cannot be saved in the record; pass"
            f" them again: {call}(resources=...)"
        )
    return kept if given is None else given


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)

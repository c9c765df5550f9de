"""The settings of a study, each defined once.

`raytuner.tune`, the TOML file, the options of the command line, what the record keeps, and what
`Study.extend` may change all derive from the fields of `StudySettings`.
"""

# ruff: noqa: RUF009  `_set` returns a field
from __future__ import annotations

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
    """The uses of a setting, besides the run that it is given to."""

    NONE = 0
    SEARCH = auto()  # an argument of BoTorchSearch: not together with a searcher
    KEEP = auto()  # the record keeps it
    CHANGE = auto()  # `Study.extend` may change it
    RUN = KEEP | CHANGE
    OPTION = auto()  # the command line has an option for it


def _set(
    default: Any = MISSING, use: Use = Use.NONE, parse: Callable[[Any], Any] | None = None
) -> Any:
    """Return a field; `parse` makes its value from what TOML or the command line has."""
    return field(default=default, metadata={"use": use, "parse": parse})


@dataclass(frozen=True)
class StudySettings:
    """Everything that a study is asked to do; `raytuner.tune` takes the fields as arguments.

    Args:
        trainable: A function `f(config)` that calls `ray.tune.report({metric: ...})` after each
            unit of training, a `ray.tune.Trainable` class, or the name of a registered one.
        param_space: The search space: Ray Tune domains and constants, nested as you like, or a
            `raytuner.space.Space`. A constant that looks like a hyperparameter causes a warning.
        metric: Name of the objective in the reports, or a list of several; the study then has a
            Pareto front (`Study.pareto`). None: the one number that the training function returns.
        mode: "min" or "max", or a list with one for each metric.
        num_samples: Number of trials; -1 for as many as a budget allows.
        max_t: Full resource of a trial, in units of `time_attr`. A trial that reaches it is
            complete; the scheduler stops bad trials before. None runs every trial to its own end.
        grace_period: No trial is stopped before it has spent this much resource.
        reduction_factor: About one in this many trials continues at each rung of "asha",
            "promotion" and "hyperband". None: 3.
        scheduler: Stops or pauses trials early: "predictive-termination", "freeze-thaw", "asha",
            "promotion", "hyperband", or any Ray Tune scheduler. None, with a `max_t`:
            "predictive-termination"; "asha" for several metrics without `weights`, with
            `outcome_constraints` or with a `reduction_factor`.
        strategy: How to search: "bayes", "hedge", "evolution", "random", "grid" and others; see
            `BoTorchSearch`.
        time_budget_s: Seconds after which the study ends; in a file or an option also "1h 30min".
        gpu_hours: The study ends when its trials have held GPUs for this many hours, by what they
            request in `resources`.
        stop_after_failures: The study stops with an error once this many trials have failed for one
            cause and none has succeeded. 0 runs all trials.
        max_silence_s: Seconds without a report after which `on_silence` ends a trial. None only
            warns, after ten times the longest wait so far and at least ten minutes.
        on_silence: "retry" kills a silent trial's process and continues from its last checkpoint,
            once; "fail" ends the trial as failed; "warn" only warns.
        curves: Further metrics whose value at each report is kept, in `trial.others[name]`. Of all
            other numbers that a trial reports, `trial.metrics` has the last value.
        resources: What one trial needs, such as `{"cpu": 2, "gpu": 0.5}` (see
            `raytuner.placement.ResourceRequest.of`), or a function of the configuration that
            returns it. `{"gpu": "fit"}` measures how many trials fit into a GPU's memory. None:
            what the trainable itself requests, or one CPU.
        max_concurrent_trials: The most trials at a time; None: as many as the cluster holds.
        storage_path: Folder that the study's own folder is made in, or its URI, such as
            `s3://bucket/runs`; default `~/raytuner_results`.
        name: Name of the study's own folder; default: the function's name and the time.
        seed: Makes proposals repeatable for the same order of results.
        points_to_evaluate: Configurations to try first. The search proposes what they leave out.
        evaluated_rewards: The metric's value for each of `points_to_evaluate`, if they have been
            evaluated already (of several metrics, a dict by name). They are not tried again.
        parameter_constraints: What every configuration must satisfy, such as
            `"layers * units <= 1024"`; see `BoTorchSearch`.
        outcome_constraints: Bounds on metrics, such as `"latency_ms <= 20"`: the best trial is the
            best that satisfies them.
        weights: One number above 0 for each of several metrics, whose weighted sum is then the one
            objective; see `BoTorchSearch`.
        cost: Key of a report that says what a trial has cost so far ("time_total_s"): proposals
            then promise the largest improvement per cost.
        standard_error: Key of a report that says the metric's standard error; see `BoTorchSearch`.
        earlier: Earlier studies to learn from: studies, tables, folders of studies, or one folder
            that has many; see `BoTorchSearch`.
        priors: Where you expect the optimum, by hyperparameter; see `BoTorchSearch`.
        searcher: A `BoTorchSearch` with settings of its own, or another Ray searcher, such as
            `OptunaSearch()`, that takes its space from `param_space`. None makes a BoTorchSearch.
            `Study.extend` continues with a BoTorchSearch in any case.
        time_attr: Key of a report that says what resource a trial has spent.
        reuse_actors: Keep a trial's process for the next trial. Saves seconds for each trial; the
            training function must then return promptly when stopped and keep no state in globals.
        callbacks: Ray Tune callbacks, such as loggers. An error that one raises is logged once and
            does not end the study; KeyboardInterrupt, SystemExit and a RaytunerError do.
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
    gpu_hours: float | None = _set(None, Use.OPTION | Use.RUN)
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
        from raytuner.study.trainable import check_trainable

        check_trainable(self.trainable)
        for name, kind, least, valid in (
            ("num_samples", int, -1, "at least 1, or -1 for no limit"),
            ("max_concurrent_trials", int, 1, "at least 1"),
            ("stop_after_failures", int, 0, "a whole number: at least 1, or 0 to run all trials"),
            ("time_budget_s", int | float, 0, "a number above 0"),
            ("gpu_hours", int | float, 0, "a number above 0"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            is_zero = value == 0 and name != "stop_after_failures"
            if value is not None and (not is_number or value < least or is_zero):
                raise SettingError(f"{name} is {value!r}; it must be {valid}")
        if self.num_samples == -1 and self.time_budget_s is None and self.gpu_hours is None:
            raise SettingError(
                "num_samples is -1 (no limit) and there is no time_budget_s or gpu_hours to end the"
                " study"
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
        """The scheduler's name; the class of one that was given as an object."""
        given = self.scheduler
        return given if isinstance(given, str | None) else type(given).__name__

    def keep(self, history: History, **known: Any) -> None:
        """Write the settings to the record, with `known` in place of some.

        Values that JSON cannot hold are kept as text.
        """
        from raytuner.placement.request import recorded

        kept = self.some(*names(Use.KEEP)) | {"scheduler": self.scheduler_name}
        kept |= {"resources": recorded(self.resources), **known}
        history.set_meta("settings", {name: _as_json(value) for name, value in kept.items()})

    @classmethod
    def kept(
        cls, history: History, trainable: Trainable, num_samples: int, **changes: Any
    ) -> StudySettings:
        """Return the settings of a study's next run: what the record keeps, and the changes.

        A change that is None leaves a setting as it was.

        Raises:
            HistoryError: The record keeps no settings.
            SettingError: A setting has to be given again, or a value is not valid.
            TypeError: `extend` does not change such a setting.
        """
        from raytuner.schedulers.named import recorded_scheduler

        changes = {name: value for name, value in changes.items() if value is not None}
        check_names("extend", changes, names(Use.CHANGE))
        known = history.get_meta("settings")
        if known is None:
            raise HistoryError(
                "the study was not run by raytuner.tune: its record does not keep the settings to"
                " continue with. Run a new Tuner, and give this study to its BoTorchSearch as"
                " `earlier`"
            )
        once = ("num_samples", "time_budget_s", "gpu_hours", *changes)
        known = {**known, "scheduler": recorded_scheduler(known)}
        kept = {n: known[n] for n in names(Use.KEEP) if n in known and n not in once}
        if "resources" in kept:
            kept["resources"] = kept_resources(history, None, "study.extend")
        space = changes.pop("param_space", history.space)
        return cls(trainable, space, mode=history.mode, num_samples=num_samples, **kept, **changes)


SETTINGS: dict[str, Field[Any]] = {one.name: one for one in fields(StudySettings)}
"""The settings by name."""

_ARGS = (StudySettings.__doc__ or "").partition("    Args:\n")[2].partition("\n\n")[0]
TEXTS = {
    name: " ".join(text.split())
    for name, text in re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", _ARGS, re.MULTILINE)
}
"""The text on each setting, by name."""


def names(use: Use) -> list[str]:
    """Return the names of the settings with a use."""
    return [name for name, setting in SETTINGS.items() if use in setting.metadata["use"]]


def parsed(name: str, value: Any, where: str) -> Any:
    """Return a setting from what TOML or the command line has for it."""
    parse = SETTINGS[name].metadata["parse"]
    try:
        return value if parse is None else parse(value)
    except RaytunerError as error:
        raise type(error)(f"{where}: {error}") from error


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check the names of arguments."""
    from raytuner.space.template import known_names

    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(
                f"{function}() takes no argument {name!r}; it takes {known_names(name, known)}"
            )


def kept_resources(history: History, given: Resources | None, call: str) -> Resources | None:
    """Return what a trial needs: what is given or, without that, what the record says."""
    kept = (history.get_meta("settings") or {}).get("resources")
    if given is None and isinstance(kept, str):
        raise SettingError(
            f"the study was run with resources={kept}, which the record cannot hold; pass them"
            f" again: {call}(resources=...)"
        )
    return kept if given is None else given


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)

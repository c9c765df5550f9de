"""The settings of a search, checked when they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ray.tune.result import DEFAULT_METRIC

from raytuner.bayes.strategies import STRATEGIES, check_goal
from raytuner.bayes.strategies import strategy as find_strategy
from raytuner.errors import MetricError, SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of, is_uri
from raytuner.history import Goal
from raytuner.history.goal import names_of
from raytuner.search.background import StartProcess
from raytuner.search.initial import InitialPoints
from raytuner.search.mirror import MakeProposer
from raytuner.search.transfer_source import check_sources
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Config, Rule, Space
from raytuner.space.choices import is_number

DEFAULT_STRATEGY = "bayes"

# The key under which Ray reports what a trial has cost so far, in seconds.
_RAYS_COST = "time_total_s"


@dataclass(frozen=True)
class SearchSettings:
    """All settings of a search.

    Each field is described where it is an argument of `raytuner.BoTorchSearch`. The last ones come
    later: from Ray or from a study.

    Raises:
        SpaceError, ConfigError, MetricError, SettingError: A value is invalid, or two contradict
            each other. The error names what was received and what is valid.

    Attributes:
        start_process: Starts the process that computes proposals. None: a Ray actor.
        max_concurrent: Bound on the trials that run at the same time; None: no bound.
        within: A space within the record's to propose from; None: the record's.
        again: Configurations to try first although the record has trials of them, and the number of
            trials that it had before.
    """

    space: Space | None = None
    metric: Any = None  # a name, or a list of several
    mode: Any = None
    outcome_constraints: Sequence[str] = ()
    weights: Sequence[float] | None = None
    cost: str | None = None
    standard_error: str | None = None
    points_to_evaluate: Sequence[Config] | None = None
    evaluated_rewards: Sequence[float | Mapping[str, float]] | None = None
    parameter_constraints: Sequence[Rule] = ()
    time_attr: str = "training_iteration"
    max_t: float | None = None
    background: bool = True
    background_gpus: float = 0.0
    seed: int | None = None
    n_initial: int | None = None
    record: Folder | None = None
    strategy: str = DEFAULT_STRATEGY
    proposer: MakeProposer | None = None
    earlier: Sequence[Any] = ()
    priors: Mapping[str, Any] | None = None
    curves: Sequence[str] = ()
    start_process: StartProcess | None = None
    max_concurrent: int | None = None
    within: Space | None = None
    again: tuple[Sequence[Config], int] = ((), 0)

    @classmethod
    def of(
        cls,
        space: Mapping[str, Any] | Space | None,
        *,
        metric: object,
        mode: object,
        record: str | Folder | None,
        curves: object,
        **others: Any,
    ) -> SearchSettings:
        """Return the settings that a user gives."""
        given = cls(
            metric=_listed("metric", metric),
            mode=_listed("mode", mode),
            record=None if record is None else record_place(record),
            curves=_checked_curves(curves),
            **others,
        )
        if space is not None:
            space = space if isinstance(space, Space) else space_from_tune(space)
            given = given.with_space(space)
        if (goal := given.goal) is not None:
            given.check(given.space, goal)
        return given

    def __post_init__(self) -> None:
        if not isinstance(self.background, bool):
            raise SettingError(f"background is {self.background!r}; it must be True or False")
        if not is_number(self.background_gpus) or self.background_gpus < 0:
            raise SettingError(
                f"background_gpus is {self.background_gpus!r}; it must be a share of a GPU, such as"
                " 0.25"
            )
        if not isinstance(self.time_attr, str) or not self.time_attr:
            raise MetricError(
                f"time_attr is {self.time_attr!r}; it must be the name of one key of a report"
            )
        if self.max_t is not None and not (is_number(self.max_t) and self.max_t > 0):
            raise SettingError(
                f"max_t is {self.max_t!r}; it must be above 0, in units of {self.time_attr!r}"
            )
        seed = self.seed
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise SettingError(f"seed is {seed!r}; it must be a whole number >= 0, or None")
        check_sources(self.earlier)
        InitialPoints(self.points_to_evaluate, self.evaluated_rewards)
        strategy = find_strategy(self.strategy)
        if self.proposer is not None and self.strategy != DEFAULT_STRATEGY:
            raise SettingError(
                f"a proposer and strategy={self.strategy!r} were given; give one of them"
            )
        if not strategy.has_model:  # it takes no time
            object.__setattr__(self, "background", False)
        if len(self.earlier) or self.priors:
            self._check_knowledge("earlier" if len(self.earlier) else "priors")

    def _check_knowledge(self, name: str) -> None:
        if self.proposer is not None:
            raise SettingError(
                f"{name} was given with a proposer; only raytuner's own learns from it"
            )
        if self.strategy != DEFAULT_STRATEGY:
            raise SettingError(
                f"{name} was given with strategy={self.strategy!r}; {DEFAULT_STRATEGY!r} learns"
                " from it"
            )

    @property
    def goal(self) -> Goal | None:
        """The goal of the search; None while metric or mode is unknown."""
        if self.metric is None or self.mode is None:
            return None
        goal = Goal.of(
            self.metric,
            self.mode,
            outcome_constraints=self.outcome_constraints,
            weights=self.weights,
            cost=self.cost,
            standard_error=self.standard_error,
        )
        is_cheaper = self.space is not None and self.space.fidelities
        return goal.with_cost(_RAYS_COST) if is_cheaper else goal

    def with_space(self, space: Space) -> SearchSettings:
        """Return the settings with a search space."""
        return replace(self, space=space.constrained(self.parameter_constraints))

    def with_tuner(self, metric: object, mode: object) -> SearchSettings:
        """Return the settings with the Tuner's metric and mode.

        Raises:
            MetricError: They contradict the searcher's own.
        """
        return replace(
            self,
            metric=_agreed("metric", self.metric, _listed("metric", metric)),
            mode=_agreed("mode", self.mode, _listed("mode", mode)),
        ).with_default_metric()

    def with_default_metric(self) -> SearchSettings:
        """Return the settings with Ray's name for the one number that a function returns.

        Call this only once no metric can come from the Tuner any more.
        """
        if self.metric is None and isinstance(self.mode, str):
            return replace(self, metric=DEFAULT_METRIC)
        return self

    def check(self, space: Space | None, goal: Goal) -> None:
        """Check that the strategy fits the goal, and the other settings the fidelities.

        Raises:
            SettingError, MetricError: It does not.
        """
        if space is not None and space.fidelities:
            self._check_fidelities(space, goal)
        check_goal(self.strategy, goal)

    def _check_fidelities(self, space: Space, goal: Goal) -> None:
        names = [space.columns[j].name for j in space.fidelities]
        what = f"{', '.join(names)} {'is a fidelity' if len(names) == 1 else 'are fidelities'}"
        if goal.n_objectives > 1:
            raise SettingError(
                f"{what}, and there are several objectives"
                f" ({', '.join(o.metric for o in goal.objectives)}); give one, or weights, which"
                " make one of them"
            )
        if self.proposer is None and not find_strategy(self.strategy).costs:
            able = ", ".join(name for name, known in STRATEGIES.items() if known.costs)
            raise SettingError(
                f"{what}, which strategy {self.strategy!r} cannot choose; use one of {able}, or"
                " leave raytuner.fidelity out"
            )
        if len(self.earlier):
            raise SettingError(
                f"{what}, and earlier studies were given, whose values are of one fidelity; leave"
                " one of them out"
            )
        if believed := [name for name in self.priors or {} if name in names]:
            raise SettingError(
                f"priors names {', '.join(believed)}: {what}, and the best is looked for at the"
                " full one; a prior says where among the others the optimum lies"
            )


def record_place(record: str | Folder) -> Folder:
    """Return where a record is kept: a path as it is, or the file behind a URI."""
    return folder_of(record) if isinstance(record, RemoteFolder) or is_uri(record) else Path(record)


def max_t_of(stop: object, time_attr: str) -> float | None:
    """Return `max_t` if the experiment stops each trial at a given `time_attr`."""
    level: Any = stop.get(time_attr) if isinstance(stop, Mapping) else None
    return float(level) if is_number(level) else None


def _listed(what: Literal["metric", "mode"], given: object) -> Any:
    """Return one name as it is, several as a list, checked."""
    if given is None:
        return None
    return names_alone(names_of(what, given))


def names_alone(names: Sequence[str]) -> Any:
    """Return one name as it is, several as a list, as Ray keeps a searcher's metric and mode."""
    return names[0] if len(names) == 1 else list(names)


def _checked_curves(curves: object) -> tuple[str, ...]:
    if isinstance(curves, str):
        return (curves,)
    if not isinstance(curves, list | tuple) or not all(isinstance(c, str) and c for c in curves):
        raise MetricError(f"curves is {curves!r}; it must be a list of names of metrics")
    return tuple(curves)


def _agreed(what: str, own: Any, tuners: Any) -> Any:
    """Return the one value that the searcher and the Tuner give together."""
    if own is not None and tuners is not None and own != tuners:
        raise MetricError(
            f"BoTorchSearch was given {what}={own!r} and the Tuner {what}={tuners!r}; give it once"
        )
    return own if own is not None else tuners

"""The settings of a search, checked on creation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from raytuner.bayes.strategies import STRATEGIES, check_goal
from raytuner.bayes.strategies import strategy as find_strategy
from raytuner.errors import MetricError, SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of, is_uri
from raytuner.history import Goal
from raytuner.history.goal import names_of
from raytuner.search.background import StartProcess
from raytuner.search.process import MakeProposer
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Config, Rule, Space
from raytuner.space.choices import is_number

DEFAULT_STRATEGY = "bayes"

# The key under which Ray reports what a trial has cost so far, in seconds.
_RAYS_COST = "time_total_s"


@dataclass(frozen=True)
class SearchSettings:
    """All settings of a search.

    `raytuner.BoTorchSearch` describes the fields that are its arguments. The last fields are set
    later, by Ray or a study.

    Raises:
        MetricError, SettingError: A value is invalid, or two contradict each other.

    Attributes:
        start_process: Starts the process that computes proposals. None: a Ray actor.
        max_concurrent: Largest number of trials that run at the same time; None: no bound.
        within: A space within the record's space to propose from; None: the record's space.
        again: Configurations to try first although the record has trials with them, and the number
            of trials that the record had before.
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
    seed: int | None = None
    n_initial: int | None = None
    record: str | Folder | None = None
    strategy: str = DEFAULT_STRATEGY
    proposer: MakeProposer | None = None
    earlier: Any = ()  # a folder alone becomes a list
    priors: Mapping[str, Any] | None = None
    curves: Sequence[str] = ()
    start_process: StartProcess | None = None
    max_concurrent: int | None = None
    within: Space | None = None
    again: tuple[Sequence[Config], int] = ((), 0)

    def __post_init__(self) -> None:
        self._set("metric", _named("metric", self.metric))
        self._set("mode", _named("mode", self.mode))
        self._set("curves", (self.curves,) if isinstance(self.curves, str) else self.curves)
        _check("curves", self.curves, _are_names(self.curves), "a list of names of metrics")
        _check("background", self.background, isinstance(self.background, bool), "True or False")
        is_key = isinstance(self.time_attr, str) and self.time_attr
        _check("time_attr", self.time_attr, is_key, "the name of one key of a report", MetricError)
        is_amount = self.max_t is None or (is_number(self.max_t) and self.max_t > 0)
        _check("max_t", self.max_t, is_amount, f"above 0, in units of {self.time_attr!r}")
        is_whole = isinstance(self.seed, int) and not isinstance(self.seed, bool) and self.seed >= 0
        _check("seed", self.seed, self.seed is None or is_whole, "a whole number >= 0, or None")
        if isinstance(self.earlier, str | Path | RemoteFolder):
            self._set("earlier", (self.earlier,))
        if not isinstance(self.earlier, list | tuple):
            raise SettingError(
                f"earlier is {type(self.earlier).__name__}; it must be a folder, or a list of"
                " studies, folders or tables"
            )
        n, points = self.evaluated_rewards, self.points_to_evaluate or ()
        if n is not None and len(n) != len(points):
            raise SettingError(
                f"evaluated_rewards has {len(n)} values and points_to_evaluate {len(points)}; give"
                " one value for each point"
            )
        strategy, is_default = find_strategy(self.strategy), self.strategy == DEFAULT_STRATEGY
        if self.proposer is not None and not is_default:
            raise SettingError(
                f"both a proposer and strategy={self.strategy!r} were given; give only one of them"
            )
        if (len(self.earlier) or self.priors) and (self.proposer is not None or not is_default):
            name = "earlier" if len(self.earlier) else "priors"
            what = f"strategy={self.strategy!r}" if self.proposer is None else "a proposer"
            raise SettingError(
                f"{name} was given with {what}, but only the strategy {DEFAULT_STRATEGY!r} uses it"
            )
        if not strategy.has_model:  # it takes no time
            self._set("background", False)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

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

    def with_space(self, space: Mapping[str, Any] | Space) -> SearchSettings:
        """Return the settings with a search space: a `Space` or a Tuner's `param_space`."""
        space = space if isinstance(space, Space) else space_from_tune(space)
        return replace(self, space=space.constrained(self.parameter_constraints))

    def with_tuner(self, metric: object, mode: object) -> SearchSettings:
        """Return the settings with the Tuner's metric and mode.

        Raises:
            MetricError: They contradict the searcher's own.
        """
        given = {"metric": _named("metric", metric), "mode": _named("mode", mode)}
        for name, tuners in given.items():
            own = getattr(self, name)
            if None not in (own, tuners) and own != tuners:
                raise MetricError(
                    f"BoTorchSearch was given {name}={own!r} and the Tuner {name}={tuners!r}; give"
                    " it once"
                )
            given[name] = tuners if own is None else own
        return replace(self, **given)

    def check(self, space: Space, goal: Goal) -> None:
        """Raise an error if the strategy does not fit the goal, or a setting the fidelities."""
        names = [space.columns[j].name for j in space.fidelities]
        costs = self.proposer is not None or find_strategy(self.strategy).costs
        able = ", ".join(name for name, known in STRATEGIES.items() if known.costs)
        for is_so, problem in (
            (goal.n_objectives > 1, "there are several objectives; give one, or weights"),
            (not costs, f"the strategy {self.strategy!r} cannot choose it; use one of {able}"),
            (len(self.earlier), "earlier studies cannot be combined with it; leave them out"),
            ({*names} & {*(self.priors or ())}, "a fidelity cannot have a prior"),
        ):
            if names and is_so:
                raise SettingError(f"{', '.join(names)} is a raytuner.fidelity, and {problem}")
        check_goal(self.strategy, goal)


def record_place(record: str | Folder | None) -> Folder | None:
    """Return the location of a record: a path unchanged, or the file at a URI."""
    if record is None:
        return None
    return folder_of(record) if isinstance(record, RemoteFolder) or is_uri(record) else Path(record)


def names_alone(names: Sequence[str]) -> Any:
    """Return a single name as text, several as a list, as Ray keeps metric and mode."""
    return names[0] if len(names) == 1 else list(names)


def _named(what: Literal["metric", "mode"], given: object) -> Any:
    return None if given is None else names_alone(names_of(what, given))


def _are_names(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(c, str) and c for c in given)


def _check(
    name: str,
    value: object,
    is_valid: object,
    expected: str,
    error: type[MetricError | SettingError] = SettingError,
) -> None:
    if not is_valid:
        raise error(f"{name} is {value!r}; it must be {expected}")

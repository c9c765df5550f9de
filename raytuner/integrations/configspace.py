"""ConfigSpace's spaces as a search space of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ConfigSpace import AndConjunction, ConfigurationSpace, OrConjunction
from ConfigSpace import hyperparameters as kinds
from ConfigSpace.types import NotSet

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Translated
from raytuner.space import Categorical, Config, Float, Integer, Space, when

_COUNTABLE = 1000  # values of a whole number that conditions are written out for


def space_from_configspace(given: ConfigurationSpace) -> Translated:
    """The search space of a ``ConfigurationSpace``.

    Its ``params`` gives the dict of a ``Configuration``. What is there under conditions is so in
    ours too (:func:`raytuner.when`), where these are on values that can be counted; under one on a
    float, or where one of several on different hyperparameters is enough, it is there in ours all
    the same, without effect. Forbidden clauses are parameter constraints. Of a normal or beta law,
    and of a choice's weights, the values are kept and the law is not.

    Raises:
        SpaceError: A hyperparameter is of an unknown kind, or everything is forbidden.

    Example:
        >>> ours = space_from_configspace(ConfigurationSpace({"lr": (0.1, 1.0), "k": ["a", "b"]}))
        >>> ours.params({"lr": 0.5, "k": "b"})
        {'k': 'b', 'lr': 0.5}
    """
    template: dict[str, Any] = {}
    back: dict[str, Callable[[Any], Any]] = {}
    never: set[str] = set()  # what no condition ever turns on
    for name, parameter in given.items():  # parents come first
        if isinstance(parameter, kinds.Constant):
            continue  # ConfigSpace itself fills it in
        needs = _needed(given.parent_conditions_of[name])
        if any(parent in never or not values for parent, values in needs.items()):
            never.add(name)
            continue
        if isinstance(parameter, kinds.FloatHyperparameter):
            template[name] = Float(parameter.lower, parameter.upper, log=parameter.log)
        elif isinstance(parameter, kinds.IntegerHyperparameter):
            template[name] = Integer(parameter.lower, parameter.upper, log=parameter.log)
        elif isinstance(parameter, kinds.CategoricalHyperparameter):
            template[name] = Categorical(list(parameter.choices))
        elif isinstance(parameter, kinds.OrdinalHyperparameter):
            # Whatever the values are: their order is what counts.
            template[name] = Integer(0, len(parameter.sequence) - 1)
            back[name] = list(parameter.sequence).__getitem__
        else:
            raise SpaceError(f"{name}: received {parameter!r}, of a kind that is unknown here")
        if needs:
            template[name] = when(template[name], **needs)
    active = _Active(given, back)
    constraints = [_Allowed(active)] if given.forbidden_clauses else []
    return Translated(Space(template, constraints), active)


def _needed(conditions: Sequence[Any]) -> dict[str, list[Any]]:
    """By parent, the values of ours that it must have for all conditions to hold, where known."""
    needed: dict[str, list[Any]] = {}
    for condition in conditions:
        if isinstance(condition, AndConjunction):
            found = _needed(condition.components)
        elif isinstance(condition, OrConjunction):
            found = _enough([_needed([one]) for one in condition.components])
        else:
            found = _values(condition)
        for parent, values in found.items():
            needed[parent] = [v for v in needed.get(parent, values) if v in values]
    return needed


def _enough(ways: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """What all of these have in common."""
    common = [parent for parent in ways[0] if all(parent in way for way in ways)]
    return {
        parent: list(dict.fromkeys(v for way in ways for v in way[parent])) for parent in common
    }


def _values(condition: Any) -> dict[str, list[Any]]:
    """The values of ours that a single condition allows its parent; none if they are no few."""
    parent = condition.parent
    if isinstance(parent, kinds.CategoricalHyperparameter):
        values = {value: value for value in parent.choices}
    elif isinstance(parent, kinds.OrdinalHyperparameter):
        values = dict(enumerate(parent.sequence))
    elif isinstance(parent, kinds.IntegerHyperparameter) and parent.size <= _COUNTABLE:
        values = {value: value for value in range(parent.lower, parent.upper + 1)}
    else:
        return {}
    held = [
        v for v, theirs in values.items() if condition.satisfied_by_value({parent.name: theirs})
    ]
    if len(values) == len(held) == 1:
        return {}  # a constant of ours
    return {parent.name: held}


@dataclass(frozen=True)
class _Active:
    """The hyperparameters that are active in a configuration."""

    space: ConfigurationSpace
    back: Mapping[str, Callable[[Any], Any]]

    def __call__(self, config: Config) -> dict[str, Any]:
        # Not by ConfigSpace's own functions: they refuse what two parents turn off of which one is
        # itself off, and leave it in.
        known: dict[str, Any] = dict.fromkeys(self.space, NotSet)
        for name, parameter in self.space.items():  # parents come first
            conditions = self.space.parent_conditions_of[name]
            if not all(condition.satisfied_by_value(known) for condition in conditions):
                continue
            if isinstance(parameter, kinds.Constant):
                known[name] = parameter.value
            else:
                known[name] = self.back[name](config[name]) if name in self.back else config[name]
        return {name: value for name, value in known.items() if value is not NotSet}


class _Allowed:
    """A constraint: the configuration is none that a clause forbids."""

    def __init__(self, active: _Active) -> None:
        self._active = active

    def __repr__(self) -> str:  # what it is called in messages
        return f"not ({'; '.join(map(str, self._active.space.forbidden_clauses))})"

    def __call__(self, config: Config) -> bool:
        values = self._active(config)
        clauses = self._active.space.forbidden_clauses
        return not any(clause.is_forbidden_value(values) for clause in clauses)

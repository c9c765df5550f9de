"""Translate ConfigSpace's spaces to a search space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ConfigSpace import AndConjunction, ConfigurationSpace
from ConfigSpace import hyperparameters as kinds
from ConfigSpace.conditions import Conjunction
from ConfigSpace.types import NotSet

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Decoder, Translated
from raytuner.space import Categorical, Config, Domain, Float, Integer, Space, when

_MOST_VALUES = 1000  # values of an integer on which others depend


def space_from_configspace(given: ConfigurationSpace) -> Translated:
    """Translate a `ConfigurationSpace` to a search space.

    Conditions become `raytuner.when`. A condition on a float, or on either of two hyperparameters,
    has no equivalent. The dependent hyperparameter is then always in the configuration, and
    `params` removes it if ConfigSpace would. Forbidden clauses become parameter constraints. Of
    normal and beta distributions and of weighted choices, only the values are kept.

    Args:
        given: The `ConfigurationSpace`.

    Returns:
        The translated space. Its `params` returns the dict of a `Configuration`.

    Raises:
        SpaceError: A hyperparameter has an unknown kind, or everything is forbidden.

    Examples:
        >>> ours = space_from_configspace(ConfigurationSpace({"lr": (0.1, 1.0), "k": ["a", "b"]}))
        >>> ours.params({"lr": 0.5, "k": "b"})
        {'k': 'b', 'lr': 0.5}
    """
    template: dict[str, Any] = {}
    decoders: dict[str, Decoder] = {}
    never: set[str] = set()  # hyperparameters whose conditions cannot hold
    for name, parameter in given.items():  # parents come first
        if isinstance(parameter, kinds.Constant):
            continue
        needs = _conditions(given.parent_conditions_of[name])
        if any(parent in never or not values for parent, values in needs.items()):
            never.add(name)
            continue
        domain = _domain(parameter)
        template[name] = when(domain, **needs) if needs else domain
        if isinstance(parameter, kinds.OrdinalHyperparameter):
            decoders[name] = list(parameter.sequence).__getitem__
    ours = Translated(Space(template), decoders, partial(_active, given))
    rules = [_Allowed(given.forbidden_clauses, ours.params)] if given.forbidden_clauses else []
    return replace(ours, space=Space(template, rules))


def _domain(parameter: Any) -> Domain:
    match parameter:
        case kinds.FloatHyperparameter():
            return Float(parameter.lower, parameter.upper, log=parameter.log)
        case kinds.IntegerHyperparameter():
            return Integer(parameter.lower, parameter.upper, log=parameter.log)
        case kinds.CategoricalHyperparameter():
            return Categorical(list(parameter.choices))
        case kinds.OrdinalHyperparameter():  # the positions: only the order of the values counts
            return Integer(0, len(parameter.sequence) - 1)
    raise SpaceError(
        f"{parameter.name}: received {parameter!r}, a kind of hyperparameter that is not supported"
    )


def _conditions(given: Iterable[Any]) -> dict[str, list[Any]]:
    """Return, for each parent, its values for which all conditions on it alone hold."""
    needs: dict[str, list[Any]] = {}
    todo = list(given)
    for condition in todo:
        if isinstance(condition, AndConjunction):
            todo += condition.components
            continue
        parts = condition.dlcs if isinstance(condition, Conjunction) else [condition]
        parents = {part.parent.name: part.parent for part in parts}
        [(name, parent), *others] = parents.items()
        values = _values(parent)  # a single value is a constant of our space
        if others or len(values) < 2:
            continue
        needs[name] = [
            value
            for value in needs.get(name, values)
            if condition.satisfied_by_value({name: values[value]})
        ]
    return needs


def _values(parent: Any) -> dict[Any, Any]:
    """Return ConfigSpace's value for each value in the search space; empty if too many."""
    if isinstance(parent, kinds.CategoricalHyperparameter):
        return {value: value for value in parent.choices}
    if isinstance(parent, kinds.OrdinalHyperparameter):
        return dict(enumerate(parent.sequence))
    if isinstance(parent, kinds.IntegerHyperparameter) and parent.size <= _MOST_VALUES:
        return {value: value for value in range(parent.lower, parent.upper + 1)}
    return {}


def _active(space: ConfigurationSpace, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the active hyperparameters, constants included."""
    # ConfigSpace's own functions reject a child of two parents if one of these is inactive.
    active: dict[str, Any] = dict.fromkeys(space, NotSet)
    for name, parameter in space.items():  # parents come first
        conditions = space.parent_conditions_of[name]
        if all(condition.satisfied_by_value(active) for condition in conditions):
            is_constant = isinstance(parameter, kinds.Constant)
            active[name] = parameter.value if is_constant else values[name]
    return {name: value for name, value in active.items() if value is not NotSet}


@dataclass(frozen=True)
class _Allowed:
    """A constraint: no clause forbids the configuration."""

    clauses: Sequence[Any]
    params: Callable[[Config], dict[str, Any]]

    def __repr__(self) -> str:  # shown in messages
        return f"not ({'; '.join(map(str, self.clauses))})"

    def __call__(self, config: Config) -> bool:
        values = self.params(config)
        return not any(clause.is_forbidden_value(values) for clause in self.clauses)

"""Translate Optuna's distributions to a search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raytuner.errors import SpaceError
from raytuner.space import LISTABLE_LEVELS, Categorical, Domain, Float, Integer, Ordinal, Space
from raytuner.space.template import named


def space_from_optuna(distributions: Mapping[str, Any]) -> Space:
    """Translate Optuna's distributions to a search space with the same values.

    A range with a step becomes a list of its values, all equally likely, if it has floats, or
    integers that are not multiples of the step.

    Args:
        distributions: Optuna's distributions by name, such as `trial.distributions`.

    Returns:
        The search space.

    Raises:
        SpaceError: A parameter is not an Optuna distribution, or has too many steps to list. The
            message names it.

    Examples:
        >>> from optuna.distributions import FloatDistribution, IntDistribution
        >>> space_from_optuna(
        ...     {"lr": FloatDistribution(1e-4, 0.1, log=True), "n": IntDistribution(1, 7, step=3)}
        ... )
        Space({'lr': Float(low=0.0001, high=0.1, log=True, step=None), \
'n': Ordinal(values=(1, 4, 7))})
    """
    domains = {}
    for name, distribution in distributions.items():
        with named(name):
            domains[name] = domain_from_optuna(distribution)
    return Space(domains)


def domain_from_optuna(given: Any) -> Domain:
    """Return the domain of one distribution; see `space_from_optuna`."""
    match given:
        case CategoricalDistribution():
            return Categorical(list(given.choices))
        case FloatDistribution(step=None):
            return Float(given.low, given.high, log=given.log)
        case IntDistribution(step=1):
            return Integer(given.low, given.high, log=given.log)
        case IntDistribution() if given.low % given.step == 0 and given.low < given.high:
            return Integer(given.low, given.high, step=given.step)
        case FloatDistribution() | IntDistribution():
            count = round((given.high - given.low) / given.step) + 1
            if count > LISTABLE_LEVELS:
                raise SpaceError(f"{given!r} has {count} steps; the limit is {LISTABLE_LEVELS}")
            # Rounding must not pass the upper bound.
            values = [min(given.low + k * given.step, given.high) for k in range(count)]
            return Ordinal(values) if count > 1 else Categorical(values)
    raise SpaceError(
        f"received {given!r} ({type(given).__name__}); give one of Optuna's"
        " FloatDistribution, IntDistribution and CategoricalDistribution"
    )

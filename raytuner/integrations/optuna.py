"""Optuna's distributions as a search space of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import distributions as law

from raytuner.errors import SpaceError
from raytuner.space import Categorical, Domain, Float, Integer, Ordinal, Space
from raytuner.space.domains import LISTABLE_LEVELS


def space_from_optuna(distributions: Mapping[str, Any]) -> Space:
    """The search space of some distributions, of ``trial.distributions`` say.

    Each value of the one is a value of the other. A range with a step is a list of its values
    where they are no multiples of the step, and for floats always: they are equally likely.

    Args:
        distributions: By name, Optuna's distributions.

    Raises:
        SpaceError: Naming the parameter: it is none of Optuna's, or has more steps than can be
            listed.

    Example:
        >>> from optuna.distributions import FloatDistribution, IntDistribution
        >>> space_from_optuna(
        ...     {"lr": FloatDistribution(1e-4, 0.1, log=True), "n": IntDistribution(1, 7, step=3)}
        ... )
        Space({'lr': Float(low=0.0001, high=0.1, log=True, step=None), \
'n': Ordinal(values=(1, 4, 7))})
    """
    domains = {}
    for name, given in distributions.items():
        try:
            domains[name] = domain_from_optuna(given)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
    return Space(domains)


def domain_from_optuna(given: Any) -> Domain:
    """Return the domain of one distribution; see :func:`space_from_optuna`."""
    if isinstance(given, law.CategoricalDistribution):
        return Categorical(list(given.choices))
    if isinstance(given, law.FloatDistribution):
        if given.step is None:
            return Float(given.low, given.high, log=given.log)
        return _steps(given)
    if isinstance(given, law.IntDistribution):
        if given.step == 1:
            return Integer(given.low, given.high, log=given.log)
        if given.low % given.step == 0 and given.low < given.high:
            return Integer(given.low, given.high, step=given.step)
        return _steps(given)
    raise SpaceError(
        f"received {given!r} ({type(given).__name__}); give one of Optuna's"
        " FloatDistribution, IntDistribution and CategoricalDistribution"
    )


def _steps(given: Any) -> Domain:
    count = round((given.high - given.low) / given.step) + 1
    if count > LISTABLE_LEVELS:
        raise SpaceError(f"{given!r} has {count} steps, at most {LISTABLE_LEVELS} can be")
    # Rounding must not pass the upper bound.
    values = [min(given.low + step * given.step, given.high) for step in range(count)]
    return Ordinal(values) if count > 1 else Categorical(values)

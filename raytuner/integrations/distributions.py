"""Search spaces in scikit-learn's and scikit-optimize's forms, translated to raytuner's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search import sample
from scipy import stats

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Translated
from raytuner.search.tune_space import template_from_tune
from raytuner.space import (
    LISTABLE_LEVELS,
    Categorical,
    Config,
    Domain,
    Float,
    Integer,
    Normal,
    Space,
)
from raytuner.space.choices import is_number, is_primitive, unwrap

# How close to 0 and 1 the quantiles lie that a law without a domain of ours is drawn at: such a
# law may have no bounds.
_TAIL = 1e-6

_LOG = ("log-uniform", "log_uniform", "reciprocal")
_PRIORS = ("uniform", *_LOG)
_RANGE = 2  # the bounds; scikit-optimize allows a prior and the base of its logarithm after them

Back = Callable[[Any], Any]


def translated(distributions: Mapping[str, Any]) -> Translated:
    """Return the search space that a ``param_distributions`` describes.

    Args:
        distributions: For each parameter a list of values, a frozen distribution of
            ``scipy.stats`` (or anything with ``ppf``), a dimension of scikit-optimize, a
            distribution of Optuna, a domain of Ray Tune or of raytuner, or a tuple. A tuple is
            read as in scikit-optimize: ``(low, high)`` is a range, of integers if both are
            integers and of floats otherwise, both bounds included; ``(low, high, "log-uniform")``
            searches it on a log scale; any other tuple is a list of values.

    Raises:
        SpaceError: A parameter has none of these (the message names it), or nothing varies.

    Example:
        >>> from scipy.stats import loguniform
        >>> translated({"C": loguniform(0.01, 1), "p": [1, 2]}).space
        Space({'C': Float(low=0.01, high=1.0, log=True, step=None), \
'p': Categorical(choices=(1, 2))})
    """
    found = _domains(distributions)
    back = {name: way_back for name, (_, way_back) in found.items() if way_back is not None}
    return Translated(Space({name: domain for name, (domain, _) in found.items()}), _Back(back))


def levels(distributions: Mapping[str, Any], most: int) -> dict[str, list[Any]] | None:
    """Return every value of each parameter if they make at most ``most`` combinations.

    Args:
        distributions: As for :func:`translated`, but it is no error if nothing varies.
        most: The largest number of combinations.

    Returns:
        The values by parameter; None if there are more combinations.

    Raises:
        SpaceError: As for :func:`translated`.

    >>> levels({"C": [1, 2], "degree": (1, 3)}, 6)
    {'C': [1, 2], 'degree': [1, 2, 3]}
    """
    found = _domains(distributions)
    if math.prod(domain.n_levels or math.inf for domain, _ in found.values()) > min(
        most, LISTABLE_LEVELS
    ):
        return None
    values = {name: domain.from_units(domain.level_units()) for name, (domain, _) in found.items()}
    return {
        name: values[name] if back is None else [back(value) for value in values[name]]
        for name, (_, back) in found.items()
    }


def _domains(distributions: Mapping[str, Any]) -> dict[str, tuple[Domain, Back | None]]:
    found = {}
    for name, given in distributions.items():
        if not isinstance(name, str):
            raise SpaceError(f"received the parameter {name!r}; its name must be a string")
        try:
            found[name] = _domain(given)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
    return found


def _domain(given: Any) -> tuple[Domain, Back | None]:
    if isinstance(given, Domain):
        return given, None
    if isinstance(given, sample.Domain) or (isinstance(given, Mapping) and "grid_search" in given):
        return _of_tune(given), None
    if hasattr(given, "ppf"):
        return _of_scipy(given)
    if type(given).__module__.split(".")[0] == "optuna":
        from raytuner.integrations.optuna import domain_from_optuna

        return domain_from_optuna(given), None
    if isinstance(given, tuple) and len(given) >= _RANGE and _are_bounds(*given[:_RANGE]):
        domain = _range(*given)
        if domain is not None:
            return domain, None
    if hasattr(given, "prior") and (hasattr(given, "categories") or hasattr(given, "low")):
        return _of_skopt(given)
    if hasattr(given, "tolist") and getattr(given, "ndim", 1) == 1:  # of NumPy, pandas, array
        given = given.tolist()
    if isinstance(given, Sequence) and not isinstance(given, str | bytes) and len(given):
        return _choice(list(given))
    raise SpaceError(
        f"received {given!r} ({type(given).__name__}); give a list of values, a frozen"
        " distribution of scipy.stats, or a domain such as tune.loguniform(1e-4, 1)"
    )


def _are_bounds(low: Any, high: Any) -> bool:
    return is_number(unwrap(low)) and is_number(unwrap(high))


def _range(low: Any, high: Any, *more: Any) -> Domain | None:
    """Return the range that a tuple of scikit-optimize describes; None for a list of values."""
    low, high = unwrap(low), unwrap(high)
    if more and not isinstance(more[0], str):
        return None  # three numbers or more
    if more and (more[0] not in _PRIORS or len(more) > _RANGE):
        raise SpaceError(
            f"received {(low, high, *more)!r}; a range is (low, high) or (low, high, prior) with"
            ' the prior "uniform" or "log-uniform"; give a list if these are values'
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return (Integer if whole else Float)(low, high, log=bool(more) and more[0] in _LOG)


def _of_tune(domain: Any) -> Domain:
    found = template_from_tune({"": domain})[""]
    if not isinstance(found, Domain):
        raise SpaceError(f"received {domain!r}; give each parameter one domain, without conditions")
    return found


def _choice(values: list[Any]) -> tuple[Domain, Back | None]:
    """Values that are no plain ones, estimators say, stay out of the record: their numbers go in.

    So do values that are given twice, which Python holds to be equal, 1 and 1.0 say.
    """
    plain = all(is_primitive(value) for value in values)
    if plain and len({(type(value), value) for value in values}) == len(values):
        return _of_tune(sample.Categorical(values)), None
    return Categorical(list(range(len(values)))), values.__getitem__


def _of_skopt(given: Any) -> tuple[Domain, Back | None]:
    """A dimension of scikit-optimize, by what it has: the library itself is not needed."""
    if hasattr(given, "categories"):
        return _choice(list(given.categories))
    whole = type(given).__name__ == "Integer"
    return (Integer if whole else Float)(given.low, given.high, log=given.prior in _LOG), None


def _of_scipy(given: Any) -> tuple[Domain, Back | None]:
    """A frozen distribution: as a domain of ours with the same law, else by its quantiles."""
    kind = getattr(getattr(given, "dist", None), "name", "")
    shapes, loc, scale = _parameters(given)
    plain = loc == 0 and scale == 1
    if kind == "uniform":
        return Float(loc, loc + scale), None
    if kind in ("loguniform", "reciprocal") and loc == 0:
        return Float(shapes[0] * scale, shapes[1] * scale, log=True), None
    if kind == "norm":
        return Normal(loc, scale), None
    if kind == "randint" and float(loc).is_integer():
        return Integer(int(shapes[0] + loc), int(shapes[1] + loc) - 1), None
    if kind == "bernoulli" and plain:
        return Categorical([0, 1]), None
    whole = isinstance(given.dist, stats.rv_discrete) if hasattr(given, "dist") else False
    return Float(_TAIL, 1 - _TAIL), _Quantile(given, whole)


def _parameters(given: Any) -> tuple[list[float], float, float]:
    if not hasattr(given, "dist"):
        return [], 0.0, 1.0
    found = given.dist._parse_args(*given.args, **given.kwds)  # public in name alone: no other way
    shapes, loc = [float(shape) for shape in found[0]], float(found[1])
    return shapes, loc, float(found[2]) if len(found) > 2 else 1.0


@dataclass(frozen=True)
class _Back:
    """The parameters of a configuration; ``back`` has what makes a value the user's own."""

    back: Mapping[str, Back]

    def __call__(self, config: Config) -> dict[str, Any]:
        return {
            name: self.back[name](value) if name in self.back else value
            for name, value in config.items()
        }


@dataclass(frozen=True)
class _Quantile:
    """The value of a distribution at a probability."""

    distribution: Any
    whole: bool

    def __call__(self, at: float) -> Any:
        value = self.distribution.ppf(at)
        return int(value) if self.whole else float(value)

"""Search spaces in the forms of scikit-learn and scikit-optimize, translated to ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Decoder, Translated, named
from raytuner.space import (
    LISTABLE_LEVELS,
    Categorical,
    Domain,
    Float,
    Integer,
    Normal,
    Space,
)
from raytuner.space.choices import is_number, is_primitive, unwrap
from raytuner.space.domains import choice

# Probabilities, as far from 0 and 1 as this, at which distributions without a domain of ours are
# evaluated: such a distribution may have no bounds.
_TAIL = 1e-6

_LOG_PRIORS = ("log-uniform", "log_uniform", "reciprocal")

_Translation = tuple[Domain, Decoder | None]


def translated(distributions: Mapping[str, Any]) -> Translated:
    """Return the search space that `param_distributions` describes.

    Args:
        distributions: For each parameter a list of values, a frozen distribution of `scipy.stats`
            (or anything with `ppf`), a dimension of scikit-optimize, a distribution of Optuna, a
            domain of Ray Tune or of raytuner, or a tuple. A tuple is read as in scikit-optimize:
            `(low, high)` is a range, of integers if both are integers and of floats otherwise, both
            bounds included; `(low, high, "log-uniform")` searches it on a log scale; any other
            tuple is a list of values.

    Raises:
        SpaceError: A parameter has none of these (the message names it), or nothing varies.

    Example:
        >>> from scipy.stats import loguniform
        >>> translated({"C": loguniform(0.01, 1), "p": [1, 2]}).space
        Space({'C': Float(low=0.01, high=1.0, log=True, step=None), \
'p': Categorical(choices=(1, 2))})
    """
    domains, decoders = _translate(distributions)
    return Translated(Space(domains), decoders)


def n_combinations(distributions: Mapping[str, Any]) -> float:
    """Return the number of combinations of values; infinity if they cannot be listed.

    Args:
        distributions: As for `translated`, but it is no error if nothing varies.

    Raises:
        SpaceError: As for `translated`.

    >>> n_combinations({"C": [1, 2], "degree": (1, 3)}), n_combinations({"C": (0.0, 1.0)})
    (6, inf)
    """
    domains, _ = _translate(distributions)
    found = math.prod(domain.n_levels or math.inf for domain in domains.values())
    return found if found <= LISTABLE_LEVELS else math.inf


def levels(distributions: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return all values of each parameter, if `n_combinations` is finite.

    >>> levels({"C": [1, 2], "degree": (1, 3)})
    {'C': [1, 2], 'degree': [1, 2, 3]}
    """
    domains, decoders = _translate(distributions)
    values = {name: domain.from_units(domain.level_units()) for name, domain in domains.items()}
    return {
        name: list(map(decoders[name], listed)) if name in decoders else listed
        for name, listed in values.items()
    }


def _translate(distributions: Mapping[str, Any]) -> tuple[dict[str, Domain], dict[str, Decoder]]:
    domains, decoders = {}, {}
    for name, given in distributions.items():
        if not isinstance(name, str):
            raise SpaceError(f"received the parameter {name!r}; its name must be a string")
        with named(name):
            domains[name], decoder = _domain(given)
        if decoder is not None:
            decoders[name] = decoder
    return domains, decoders


def _domain(given: Any) -> _Translation:
    if isinstance(given, Domain):
        return given, None
    # Other libraries are recognised by name, since importing one takes up to a second.
    libraries = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if "ray" in libraries or (isinstance(given, Mapping) and "grid_search" in given):
        return _of_tune(given), None
    if "optuna" in libraries:
        from raytuner.integrations.optuna import domain_from_optuna

        return domain_from_optuna(given), None
    if hasattr(given, "ppf"):
        return _of_scipy(given)
    if isinstance(given, tuple) and (domain := _range(*given)) is not None:
        return domain, None
    if hasattr(given, "prior"):  # a dimension of scikit-optimize, or anything like one
        if hasattr(given, "categories"):
            return _choice(list(given.categories))
        whole = type(given).__name__ == "Integer"
        log = given.prior in _LOG_PRIORS
        return (Integer if whole else Float)(given.low, given.high, log=log), None
    if hasattr(given, "tolist") and getattr(given, "ndim", 1) == 1:  # of NumPy, pandas, array
        given = given.tolist()
    if isinstance(given, Sequence) and not isinstance(given, str | bytes) and len(given):
        return _choice(list(given))
    raise SpaceError(
        f"received {given!r} ({type(given).__name__}); give a list of values, a frozen"
        " distribution of scipy.stats, or a domain such as tune.loguniform(1e-4, 1)"
    )


def _range(low: Any = None, high: Any = None, prior: Any = "uniform", *more: Any) -> Domain | None:
    """Return the range that a tuple of scikit-optimize describes; None for a list of values."""
    low, high = unwrap(low), unwrap(high)
    if not (is_number(low) and is_number(high) and isinstance(prior, str)):
        return None
    if prior not in ("uniform", *_LOG_PRIORS) or len(more) > 1:  # the base of the logarithm
        raise SpaceError(
            f"received {(low, high, prior, *more)!r}; a range is (low, high) or (low, high, prior)"
            ' with the prior "uniform" or "log-uniform"; give a list if these are values'
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return (Integer if whole else Float)(low, high, log=prior in _LOG_PRIORS)


def _of_tune(given: Any) -> Domain:
    from raytuner.search.tune_space import template_from_tune

    domain = template_from_tune({"": given})[""]
    if not isinstance(domain, Domain):
        raise SpaceError(f"received {given!r}; give each parameter one domain, without conditions")
    return domain


def _choice(values: list[Any]) -> _Translation:
    if all(map(is_primitive, values)) and len({(type(v), v) for v in values}) == len(values):
        return choice(values), None
    # Positions: the record cannot hold other objects, such as estimators, nor a value twice.
    return Categorical(list(range(len(values)))), values.__getitem__


def _of_scipy(given: Any) -> _Translation:
    """Return a domain with the same law if there is one, else probabilities and the quantiles."""
    if hasattr(given, "dist"):
        # Private, but the only way to shapes, location and scale as one tuple each.
        shapes, loc, *rest = given.dist._parse_args(*given.args, **given.kwds)
        scale = rest[0] if rest else 1
        match given.dist.name:
            case "uniform":
                return Float(float(loc), float(loc + scale)), None
            case "loguniform" | "reciprocal" if loc == 0:
                return Float(float(shapes[0] * scale), float(shapes[1] * scale), log=True), None
            case "norm":
                return Normal(float(loc), float(scale)), None
            case "randint" if float(loc).is_integer():
                return Integer(int(shapes[0] + loc), int(shapes[1] + loc) - 1), None
            case "bernoulli" if loc == 0:
                return Categorical([0, 1]), None
    is_discrete = isinstance(getattr(given, "dist", None), stats.rv_discrete)
    return Float(_TAIL, 1 - _TAIL), _Quantile(given, is_discrete)


@dataclass(frozen=True)
class _Quantile:
    """Returns the value of a distribution at a probability."""

    distribution: Any
    is_discrete: bool

    def __call__(self, probability: float) -> float:
        value = self.distribution.ppf(probability)
        return int(value) if self.is_discrete else float(value)

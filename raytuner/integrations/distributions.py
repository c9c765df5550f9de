"""Distributions as scikit-learn's searches take them, as a search space of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.search import sample
from scipy import stats

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Translated
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Categorical, Config, Domain, Float, Integer, Normal, Space
from raytuner.space.choices import is_primitive

# How close to 0 and 1 the quantiles lie that a law without a domain of ours is drawn at: such a
# law may have no bounds.
_TAIL = 1e-6

_LOG = ("log-uniform", "log_uniform", "reciprocal")
_PRIORS = ("uniform", *_LOG)

Back = Callable[[Any], Any]


def translated(distributions: Mapping[str, Any]) -> Translated:
    """The search space that a ``param_distributions`` describes.

    Args:
        distributions: For each parameter a list of values, a frozen distribution of
            ``scipy.stats`` (or anything with ``ppf``), a dimension of scikit-optimize, its tuple
            ``(low, high, prior)``, a domain of Ray Tune's or one of ours.

    Raises:
        SpaceError: Naming the parameter: what it got is none of these.

    Example:
        >>> from scipy.stats import loguniform
        >>> translated({"C": loguniform(0.01, 1), "p": [1, 2]}).space
        Space({'C': Float(low=0.01, high=1.0, log=True, step=None), \
'p': Categorical(choices=(1, 2))})
    """
    template: dict[str, Domain] = {}
    back: dict[str, Back] = {}
    for name, given in distributions.items():
        try:
            template[name], way_back = _domain(given)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
        if way_back is not None:
            back[name] = way_back
    return Translated(Space(template), _Back(back))


def _domain(given: Any) -> tuple[Domain, Back | None]:
    if isinstance(given, Domain):
        return given, None
    if isinstance(given, sample.Domain) or (isinstance(given, Mapping) and "grid_search" in given):
        return _of_tune(given), None
    if hasattr(given, "ppf"):
        return _of_scipy(given)
    if isinstance(given, tuple) and len(given) == 3 and given[2] in _PRIORS:
        low, high, prior = given
        whole = isinstance(low, int) and isinstance(high, int)
        return (Integer if whole else Float)(low, high, log=prior in _LOG), None
    if hasattr(given, "prior") and (hasattr(given, "categories") or hasattr(given, "low")):
        return _of_skopt(given)
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return _choice(list(given))
    raise SpaceError(
        f"received {given!r} ({type(given).__name__}); give a list of values, a frozen"
        " distribution of scipy.stats, or a domain such as tune.loguniform(1e-4, 1)"
    )


def _of_tune(domain: Any) -> Domain:
    [column] = space_from_tune({"": domain}).columns
    return column.domain


def _choice(values: list[Any]) -> tuple[Domain, Back | None]:
    """Values that are no plain ones, estimators say, stay out of the record: their numbers go in.

    So do values that are given twice, which Python holds to be equal, 1 and 1.0 say.
    """
    plain = all(is_primitive(value) for value in values)
    if plain and len({(type(value), value) for value in values}) == len(values):
        return (_of_tune(sample.Categorical(values)) if len(values) > 1 else Categorical(values)), (
            None
        )
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

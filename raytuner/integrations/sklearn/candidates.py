"""The candidates of a search: a grid, small finite spaces as a list, and spaces to search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
from scipy import stats
from sklearn.model_selection import ParameterGrid

from raytuner.errors import SettingError, SpaceError
from raytuner.integrations.sklearn.evaluation import Params
from raytuner.integrations.translated import Decoder, Translated
from raytuner.space import Categorical, Domain, Float, Integer, Normal, Space
from raytuner.space.choices import is_number, is_primitive, unwrap
from raytuner.space.domains import choice
from raytuner.space.template import named

POSITION = "candidate"
"""Name of the one hyperparameter, the position in the list, of a search through a list."""

# Probabilities, as far from 0 and 1 as this, at which distributions without a domain of ours are
# evaluated: such a distribution may have no bounds.
_TAIL = 1e-6

_LOG_PRIORS = ("log-uniform", "log_uniform", "reciprocal")


@dataclass(frozen=True)
class Part:
    """One of the searches that a search consists of: how many candidates to try of a space.

    They are `listed` if the space has only their positions.
    """

    space: Translated
    count: int
    listed: Sequence[Params] | None = None


def parts_of(grid: Any, distributions: Any, n_iter: int) -> list[Part]:
    """Return the searches to make one after the other.

    Args:
        grid: A dict or a list of dicts, as for `ParameterGrid`; None if there are distributions.
        distributions: A dict of parameters, or a list of such dicts and of pairs
            `(dict, number of candidates)`. The small finite ones come first, as one list.
        n_iter: Number of candidates that dicts without a number share.
    """
    if (grid is None) == (distributions is None):
        raise SettingError(
            f"got {'neither' if grid is None else 'both'} of param_distributions and param_grid;"
            " give exactly one: a grid tries all combinations, distributions try n_iter candidates"
        )
    if grid is not None:
        return [_part_of_list(list(ParameterGrid(grid)))]
    given = [distributions] if isinstance(distributions, Mapping) else distributions
    pairs = [_space_and_count(one) for one in given]
    spaces = [translate(one) for one, _ in pairs]
    sizes = [math.prod(d.n_levels or math.inf for d in space.values()) for space, _ in spaces]
    counts = [own or 0 for _, own in pairs]
    for _ in range(n_iter):
        room = [i for i, (_, own) in enumerate(pairs) if own is None and counts[i] < sizes[i]]
        if room:
            counts[min(room, key=counts.__getitem__)] += 1
    candidates: list[Params] = []
    searched = []
    for (domains, decoders), size, count in zip(spaces, sizes, counts, strict=True):
        if size <= count:
            every = {name: d.from_units(d.level_units()) for name, d in domains.items()}
            every |= {name: list(map(of, every[name])) for name, of in decoders.items()}
            candidates += ParameterGrid(every)
        elif count:
            searched.append(Part(Translated(Space(domains), decoders), count))
    if candidates:
        searched.insert(0, _part_of_list(candidates))
    if not searched:
        raise SettingError("param_distributions is empty, or gives every search space 0 candidates")
    return searched


def _part_of_list(candidates: Sequence[Params]) -> Part:
    """Return the search that tries each candidate; the record cannot hold every object of them."""
    decoders = {POSITION: candidates.__getitem__}
    positions = Space({POSITION: Integer(0, len(candidates))})
    space = Translated(positions, decoders, itemgetter(POSITION))
    return Part(space, len(candidates), candidates)


def _space_and_count(given: Any) -> tuple[Mapping[str, Any], int | None]:
    """Return a dict of parameters, and the number of candidates if `given` is a pair of them."""
    space, count = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    is_count = isinstance(count, int | np.integer) and not isinstance(count, bool) and count >= 0
    if not isinstance(space, Mapping) or not (count is None or is_count):
        raise SettingError(
            f"param_distributions holds {given!r}; it must be a dict of parameters, or a list of"
            " such dicts or of pairs (dict, number of candidates)"
        )
    return space, count


def translate(distributions: Mapping[str, Any]) -> tuple[dict[str, Domain], dict[str, Decoder]]:
    """Return the domains that `param_distributions` describes, and their values' decoders.

    Examples:
        >>> translate({"C": stats.loguniform(0.01, 1), "p": [1, 2]})[0]
        {'C': Float(low=0.01, high=1.0, log=True, step=None), 'p': Categorical(values=(1, 2))}
    """
    domains, decoders = {}, {}
    for name, given in distributions.items():
        with named(name):
            domains[name], decoder = _domain(given)
        if decoder is not None:
            decoders[name] = decoder
    return domains, decoders


def _domain(given: Any) -> tuple[Domain, Decoder | None]:
    if isinstance(given, Domain):
        return given, None
    # Other libraries are recognised by name, since importing one takes up to a second.
    libraries = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if "ray" in libraries or (isinstance(given, Mapping) and "grid_search" in given):
        from raytuner.search.tune_space import template_from_tune

        domain = template_from_tune({"": given})[""]
        if isinstance(domain, Domain):
            return domain, None
    elif "optuna" in libraries:
        from raytuner.integrations.optuna import domain_from_optuna

        return domain_from_optuna(given), None
    elif hasattr(given, "ppf"):
        return _of_scipy(given)
    elif isinstance(given, tuple) and (found := _range(*given)) is not None:
        return found, None
    elif hasattr(given, "prior"):  # a dimension of scikit-optimize, or anything like one
        if hasattr(given, "categories"):
            return _choice(list(given.categories))
        whole = type(given).__name__ == "Integer"
        log = given.prior in _LOG_PRIORS
        return (Integer if whole else Float)(given.low, given.high, log=log), None
    elif hasattr(given, "tolist") or (isinstance(given, Sequence) and not isinstance(given, str)):
        # `tolist` is of NumPy, pandas and array.
        return _choice(given.tolist() if hasattr(given, "tolist") else list(given))
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
            ' with the prior "uniform" or "log-uniform"; write a list if these are values'
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return (Integer if whole else Float)(low, high, log=prior in _LOG_PRIORS)


def _choice(values: list[Any]) -> tuple[Domain, Decoder | None]:
    if all(map(is_primitive, values)) and len({(type(v), v) for v in values}) == len(values):
        return choice(values), None
    # Positions: the record cannot hold other objects, such as estimators, nor a value twice.
    return Categorical(range(len(values))), values.__getitem__


def _of_scipy(given: Any) -> tuple[Domain, Decoder | None]:
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
    is_discrete = isinstance(getattr(given, "dist", None), stats.rv_discrete)
    return Float(_TAIL, 1 - _TAIL), partial(_quantile, given, int if is_discrete else float)


def _quantile(distribution: Any, to: Any, probability: float) -> Any:
    return to(distribution.ppf(probability))

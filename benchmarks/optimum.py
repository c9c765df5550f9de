"""The best value that a problem allows, found by a search that no budget limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.tune.search.sample import Categorical, Integer, LogUniform

Columns = dict[str, npt.NDArray[Any]]
Evaluate = Callable[[Columns], npt.NDArray[np.float64]]

_SEEDS = (0, 1)
_WIDTHS = (0.3, 0.1, 0.03, 0.01, 0.003)  # of a step, as a share of a range


def draw(space: Mapping[str, Any], n: int, seed: int) -> Columns:
    """Draw `n` random configurations: for each hyperparameter an array of its values."""
    rng = np.random.RandomState(seed)
    return {
        name: np.atleast_1d(domain.sample(size=n, random_state=rng))
        for name, domain in space.items()
    }


def best_found(
    space: Mapping[str, Any],
    evaluate: Evaluate,
    mode: str,
    *,
    first: int = 200_000,
    kept: int = 200,
    rounds: int = 60,
    children: int = 10,
) -> float:
    """Return the best value of many random configurations and of searches that start from them.

    The best `kept` of `first` random configurations are parents. In each round every parent has
    `children`: copies with steps in some hyperparameters. A child that is better replaces its
    parent. So each parent is a local search, and `kept` is the number of restarts. All of this is
    done twice, with different draws.

    Args:
        space: A `param_space` of Ray Tune: ranges and choices.
        evaluate: Returns the values of configurations; NaN is the worst.
        mode: "min" or "max".
        first: Random configurations.
        kept: Parents.
        rounds: Rounds.
        children: Children of a parent in a round.
    """
    sign = 1.0 if mode == "max" else -1.0

    def score(configs: Columns) -> npt.NDArray[np.float64]:
        return np.nan_to_num(sign * evaluate(configs), nan=-np.inf)

    return sign * max(_climb(space, score, seed, first, kept, rounds, children) for seed in _SEEDS)


def _climb(
    space: Mapping[str, Any],
    score: Evaluate,
    seed: int,
    first: int,
    kept: int,
    rounds: int,
    children: int,
) -> float:
    rng = np.random.default_rng(seed)
    configs = draw(space, first, seed)
    scores = score(configs)
    chosen = np.argsort(scores)[-kept:]
    parents = {name: column[chosen] for name, column in configs.items()}
    best = scores[chosen]
    for _ in range(rounds):
        for _ in range(children):
            moved = _steps(space, parents, rng)
            scores = score(moved)
            better = scores > best
            best = np.where(better, scores, best)
            parents = {n: np.where(better, moved[n], column) for n, column in parents.items()}
    return float(best.max())


def _steps(space: Mapping[str, Any], parents: Columns, rng: np.random.Generator) -> Columns:
    """Return a child of each parent."""
    n = len(next(iter(parents.values())))
    moving = rng.random((n, len(space))) < rng.choice([1 / len(space), 0.5], size=(n, 1))
    moving[np.arange(n), rng.integers(len(space), size=n)] = True
    widths = rng.choice(_WIDTHS, size=n)
    return {
        name: np.where(moving[:, i], _moved(domain, parents[name], widths, rng), parents[name])
        for i, (name, domain) in enumerate(space.items())
    }


def _moved(
    domain: Any, values: npt.NDArray[Any], widths: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Return values near these, within the domain."""
    if isinstance(domain, Categorical):
        return rng.choice(np.asarray(domain.categories), size=len(values))
    log = isinstance(domain.get_sampler(), LogUniform)
    is_whole = isinstance(domain, Integer)
    low, high = float(domain.lower), float(domain.upper - is_whole)  # Ray leaves the upper end out
    scale, unscale = (np.log, np.exp) if log else (np.asarray, np.asarray)
    span = scale(high) - scale(low)
    moved = unscale(scale(values) + span * widths * rng.standard_normal(len(values)))
    if is_whole:  # at least to the next whole number
        moved = np.rint(moved)
        moved = np.where(moved == values, values + rng.choice([-1, 1], size=len(values)), moved)
    return np.clip(moved, low, high).astype(values.dtype)

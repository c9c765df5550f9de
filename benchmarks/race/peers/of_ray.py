"""Peers that Ray itself has a searcher for."""

from __future__ import annotations

from typing import Any

from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.race.method import Contest


def random_search(contest: Contest) -> Any:
    """Ray's random search."""
    return BasicVariantGenerator(random_state=contest.seed)


def optuna_tpe(contest: Contest) -> Any:
    """TPE as Optuna advises for dependent hyperparameters and parallel trials."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=contest.seed)
    return OptunaSearch(sampler=sampler)


def optuna_gp(contest: Contest) -> Any:
    """Optuna's Gaussian process; it accounts for running trials by itself."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(sampler=optuna.samplers.GPSampler(seed=contest.seed))


def hyperopt(contest: Contest) -> Any:
    """HyperOpt's TPE."""
    from ray.tune.search.hyperopt import HyperOptSearch

    return HyperOptSearch(random_state_seed=contest.seed)


def hebo(contest: Contest) -> Any:
    """HEBO, as Ray documents it: a batch for all workers at once, and none before all have ended.

    Source: https://github.com/ray-project/ray/pull/14504.
    """
    from ray.tune.search.hebo import HEBOSearch

    return HEBOSearch(random_state_seed=contest.seed, max_concurrent=contest.workers)


def hebo_unbatched(contest: Contest) -> Any:
    """HEBO with batches that are never full, so that no worker waits for the others.

    Beside the trials that run, one more is pending at most.
    """
    from ray.tune.search.hebo import HEBOSearch

    return HEBOSearch(random_state_seed=contest.seed, max_concurrent=contest.workers + 2)

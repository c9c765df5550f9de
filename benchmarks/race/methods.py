"""The methods of the race, by name; each peer at its best documented setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.race import schedulers
from benchmarks.race.method import Contest, MakeSearcher, Method, Search
from benchmarks.race.topk import one_epoch_top_k
from raytuner import BoTorchSearch

MakeScheduler = Callable[[Contest], Any]

_RAY_ASHA = ("+ray-asha", " + Ray's ASHA", schedulers.ray_asha)
_OUR_ASHA = ("+asha", " + our ASHA", schedulers.our_asha)


def random_search(contest: Contest) -> Any:
    """Ray's random search."""
    return BasicVariantGenerator(random_state=contest.seed)


def ours(contest: Contest) -> Any:
    """raytuner, in the foreground: equal seeds give equal runs."""
    return BoTorchSearch(background=False, seed=contest.seed)


def optuna_tpe(contest: Contest) -> Any:
    """TPE as Optuna advises for dependent hyperparameters and parallel trials."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=contest.seed)
    return OptunaSearch(sampler=sampler)


def optuna_gp(contest: Contest) -> Any:
    """Optuna's Gaussian process; it accounts for running trials by itself."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(sampler=optuna.samplers.GPSampler(seed=contest.seed))


def hyperopt(contest: Contest) -> Any:
    """HyperOpt's TPE."""
    from ray.tune.search.hyperopt import HyperOptSearch

    return HyperOptSearch(random_state_seed=contest.seed)


def _with_schedulers(
    name: str,
    title: str,
    searcher: MakeSearcher,
    modules: tuple[str, ...] = (),
    also: tuple[tuple[str, str, MakeScheduler], ...] = (_RAY_ASHA,),
) -> list[Method]:
    """A searcher alone, and with each of the schedulers."""

    def pair(scheduler: MakeScheduler) -> Callable[[Contest], Search]:
        return lambda contest: Search(searcher(contest), scheduler(contest))

    return [
        Method(name + suffix, title + words, pair(scheduler), modules)
        for suffix, words, scheduler in (("", "", schedulers.none), *also)
    ]


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *_with_schedulers("ours", "raytuner", ours, also=(_OUR_ASHA, _RAY_ASHA)),
        *_with_schedulers("random", "random search", random_search),
        Method("one-epoch-top-k", "one epoch each, then the best in full", one_epoch_top_k),
        *_with_schedulers("optuna-gp", "Optuna GPSampler", optuna_gp, ("optuna", "torch")),
        *_with_schedulers("optuna-tpe", "Optuna TPE", optuna_tpe, ("optuna",)),
        *_with_schedulers("hyperopt", "HyperOpt", hyperopt, ("hyperopt",)),
    )
}

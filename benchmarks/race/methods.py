"""The methods of the race, by name; each peer at its best documented setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.race import schedulers
from benchmarks.race.method import Contest, MakeSearcher, Method, Search
from benchmarks.race.peers import ax, neps, of_ray, smac, syne_tune
from benchmarks.race.peers.vizier import VizierSearcher
from benchmarks.race.topk import one_epoch_top_k
from raytuner import BoTorchSearch

MakeScheduler = Callable[[Contest], Any]

_RAY_ASHA = ("+ray-asha", " + Ray's ASHA", schedulers.ray_asha)
_OUR_FORECASTS = ("+forecasts", " + predictive termination", schedulers.our_forecasts)
_OUR_FREEZE_THAW = ("+freeze-thaw", " + freeze-thaw", schedulers.our_freeze_thaw)
_OUR_ASHA = ("+asha", " + our ASHA", schedulers.our_asha)
_OUR_PROMOTION = ("+promotion", " + our ASHA, promotion", schedulers.our_promotion)
_OUR_HYPERBAND = ("+hyperband", " + our HyperBand", schedulers.our_hyperband)

_AX = ("ax:ax-platform",)
_NEPS = ("neps:neural-pipeline-search",)
_SYNE_TUNE = ("syne_tune:syne-tune",)
_VIZIER = ("vizier:google-vizier", "jax")


def ours(contest: Contest) -> Any:
    """raytuner, in the foreground: equal seeds give equal runs."""
    return BoTorchSearch(background=False, seed=contest.seed)


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


def _syne(name: str, baseline: str, *more: str) -> list[Method]:
    title, searcher = f"Syne Tune {baseline}", syne_tune.alone(baseline)
    return _with_schedulers(name, title, searcher, (*_SYNE_TUNE, *more))


def _syne_stopping(name: str, title: str, baseline: str, *more: str) -> Method:
    make = syne_tune.with_its_own_stopping(baseline)
    return Method(name, f"Syne Tune {title}", make, (*_SYNE_TUNE, *more))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *_with_schedulers(
            "ours",
            "raytuner",
            ours,
            also=(_OUR_FREEZE_THAW, _OUR_FORECASTS, _OUR_ASHA, _OUR_PROMOTION, _RAY_ASHA),
        ),
        *_with_schedulers(
            "random",
            "random search",
            of_ray.random_search,
            also=(_OUR_ASHA, _OUR_PROMOTION, _OUR_HYPERBAND, _RAY_ASHA),
        ),
        Method("one-epoch-top-k", "one epoch each, then the best in full", one_epoch_top_k),
        *_with_schedulers("optuna-gp", "Optuna GPSampler", of_ray.optuna_gp, ("optuna", "torch")),
        *_with_schedulers("optuna-tpe", "Optuna TPE", of_ray.optuna_tpe, ("optuna",)),
        *_with_schedulers("hyperopt", "HyperOpt", of_ray.hyperopt, ("hyperopt",)),
        *_with_schedulers("hebo", "HEBO", of_ray.hebo, ("hebo:HEBO",)),
        *_with_schedulers(
            "hebo-unbatched", "HEBO, unbatched", of_ray.hebo_unbatched, ("hebo:HEBO",)
        ),
        *_with_schedulers("ax", "Ax", ax.AxSearcher, _AX),
        Method("ax+early-stopping", "Ax + its early stopping", ax.with_early_stopping, _AX),
        *_with_schedulers("smac", "SMAC", smac.SmacSearcher, ("smac",)),
        Method("smac-multi-fidelity", "SMAC, multi-fidelity", smac.multi_fidelity, ("smac",)),
        Method("vizier", "Google Vizier", lambda c: Search(VizierSearcher(c)), _VIZIER),
        Method("neps-async-hyperband", "NePS async HyperBand", neps.async_hyperband, _NEPS),
        *_syne("syne-cqr", "CQR", "xgboost"),
        *_syne("syne-bore", "BORE", "xgboost"),
        _syne_stopping("syne-asha-cqr", "ASHA-CQR", "ASHACQR", "xgboost"),
        _syne_stopping("syne-bohb", "BOHB", "BOHB", "statsmodels"),
    )
}

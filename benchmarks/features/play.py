"""One run of a method on a problem."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Any, TypeVar

import numpy as np

from benchmarks.features.player import FeatureMethod, Player
from benchmarks.features.problem import Config, FeatureProblem, Outcomes
from benchmarks.race.method import versions
from benchmarks.race.runs import Run, Steps, brief, seed_everything, this_machine

_T = TypeVar("_T")


class _Clock:
    """Seconds of the processor that calls take."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, call: Callable[..., _T], *given: Any) -> _T:
        start = time.process_time()
        result = call(*given)
        self.seconds.append(time.process_time() - start)
        return result


def play(method: FeatureMethod, problem: FeatureProblem, seed: int) -> Run:
    """Run a method once: the oldest of the pending trials is evaluated next.

    A run's regrets are the problem's losses after each twentieth of the evaluations: ``final`` of
    what the method has to show, ``any`` of all that it has evaluated in full, which is the same but
    for problems with noise.
    """
    import torch

    torch.set_num_threads(1)
    seed_everything(seed)
    rng, budget = np.random.default_rng(seed), problem.evaluations
    asking, telling = _Clock(), _Clock()
    start = time.perf_counter()
    player = method.make(problem, seed)
    pending: deque[tuple[Any, Config]] = deque()
    evaluated: list[Outcomes] = []
    trials, spent = 0, 0.0
    final: Steps = []
    any_: Steps = []
    while spent < budget:
        while len(pending) < min(problem.pending, ceil(budget - spent)):
            pending.append(asking(player.ask))
        handle, config = pending.popleft()
        outcomes = problem.evaluate(config)
        telling(player.tell, handle, _told(outcomes, rng.normal(0.0, problem.noise_sd)))
        trials, spent = trials + 1, spent + problem.cost(config)
        if problem.is_full(config):
            evaluated.append(outcomes)
        upcoming = problem.cost(pending[0][1]) if pending else 1.0
        if _is_shown(spent, upcoming, budget):
            share = round(min(spent / budget, 1.0), 5)
            any_.append((share, round(problem.loss(evaluated), 5)))
            shown = _shown(player, problem) if problem.noise_sd else any_[-1][1]
            final.append((share, round(shown, 5)))
    return Run(
        method=method.name,
        problem=problem.name,
        seed=seed,
        workers=problem.pending,
        budget=float(problem.evaluations),
        final=final,
        any=any_,
        trials={"COMPLETED": trials},
        units=trials,
        utilisation=1.0,
        suggest_median_s=brief(float(np.median(asking.seconds))),
        suggest_worst_s=brief(max(asking.seconds)),
        suggest_total_s=brief(sum(asking.seconds)),
        suggestions=len(asking.seconds),
        hooks_s=brief(sum(telling.seconds)),
        scheduler_s=0.0,
        wall_s=brief(time.perf_counter() - start),
        versions=versions(method.modules),
        machine=this_machine(),
    )


def _told(outcomes: Outcomes, noise: float) -> Outcomes:
    return {name: value + noise for name, value in outcomes.items()} if noise else outcomes


def _shown(player: Player, problem: FeatureProblem) -> float:
    """The true loss of what the method says is best."""
    return problem.loss([problem.evaluate(player.best())])


def _is_shown(spent: float, upcoming: float, budget: float) -> bool:
    """Whether it is the last evaluation of a twentieth."""
    return ceil(20 * spent / budget) < ceil(20 * (spent + upcoming) / budget)

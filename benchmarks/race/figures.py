"""Figures out of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.race.runs import Run

MARKS = (0.05, 0.10, 0.20, 0.35, 0.50, 0.75, 1.00)  # shares of the budget

_DRAWS = 4_000
_LEVEL = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """What the runs of a method come to.

    Attributes:
        method: Its name.
        runs: How many there are.
        problems: On how many problems.
        final: Mean regret at each of `MARKS` of the best fully trained trial; NaN where not all
            runs got there.
        low: Lower ends of the 95 % bootstrap intervals of ``final``.
        high: Upper ends.
        any: Mean regret at each of `MARKS` of the best value reported by any trial at any time.
        rank: Mean rank at each of `MARKS`, 1 the best, over the contests that all methods with runs
            on every problem have run; NaN for a method that has not run on every problem.
        mean_s: Seconds of all calls to the searcher, for each trial: some peers do their thinking
            when they are told, and some propose several trials at once.
        median_s: Median over the runs of the median seconds of a call that asked for a proposal.
        worst_s: The slowest such call of all.
        busy: Mean share of the workers' time that was training.
    """

    method: str
    runs: int
    problems: int
    final: Floats
    low: Floats
    high: Floats
    any: Floats
    rank: Floats
    mean_s: float
    median_s: float
    worst_s: float
    busy: float


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """Each method's figures, the lowest regret at the end first; then those that have no end."""
    by_method = grouped(runs)
    ranks = mean_ranks(whole(by_method))
    none = np.full(len(MARKS), np.nan)
    found = [_summary(method, mine, ranks.get(method, none)) for method, mine in by_method.items()]
    return sorted(found, key=lambda summary: (np.isnan(summary.final[-1]), summary.final[-1]))


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each method."""
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    return by_method


def whole(by_method: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """As :func:`covering`, with runs to the end: their means compare at every mark."""
    every = _problems(run for mine in by_method.values() for run in mine)
    ended = {m: [run for run in mine if run.until == 1.0] for m, mine in by_method.items()}
    return {m: mine for m, mine in ended.items() if _problems(mine) == every}


def covering(by_method: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """The methods that have runs on every problem that any has."""
    every = _problems(run for mine in by_method.values() for run in mine)
    return {m: mine for m, mine in by_method.items() if _problems(mine) == every}


def _problems(runs: Iterable[Run]) -> set[str]:
    return {run.problem for run in runs}


def mean_over_problems(runs: Sequence[Run], values: npt.ArrayLike) -> Floats:
    """Mean of rows ``runs x ...``, each problem with the same weight however many seeds it has."""
    rows = np.asarray(values, dtype=np.float64)
    problems = np.array([run.problem for run in runs])
    means = [rows[problems == problem].mean(axis=0) for problem in np.unique(problems)]
    return np.mean(means, axis=0)


def regrets(runs: Sequence[Run], *, final: bool = True, marks: Sequence[float] = MARKS) -> Floats:
    """Regrets ``runs x marks``, none above 1: what is worse than the median is no answer yet.

    NaN beyond where a run was broken off.
    """
    table = [[run.regret(mark, final=final) for mark in marks] for run in runs]
    return np.minimum(np.array(table, dtype=np.float64).reshape(-1, len(marks)), 1.0)


def intervals(
    runs: Sequence[Run], draws: int = _DRAWS, marks: Sequence[float] = MARKS
) -> tuple[Floats, Floats]:
    """95 % percentile intervals of the mean regret at each mark.

    Problems are kept, seeds are resampled within each: the interval is about these problems.
    """
    rng = np.random.default_rng(0)
    values = regrets(runs, marks=marks)
    means = []
    problems = np.array([run.problem for run in runs])
    for problem in np.unique(problems):
        (rows,) = np.nonzero(problems == problem)
        means.append(values[rng.choice(rows, (draws, len(rows)))].mean(axis=1))
    low, high = np.quantile(np.mean(means, axis=0), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    return low, high


def mean_ranks(by_method: Mapping[str, Sequence[Run]]) -> dict[str, Floats]:
    """Each method's mean rank at each mark, over the contests that all these methods ran.

    Equal regrets share the mean of their ranks.
    """
    from scipy.stats import rankdata

    contests = {m: {(r.problem, r.seed, r.workers): r for r in rs} for m, rs in by_method.items()}
    common = sorted(set.intersection(*(set(c) for c in contests.values()))) if contests else []
    if not common:
        return {}
    table = np.stack([regrets([contests[m][c] for c in common]) for m in by_method])
    ranks = rankdata(table, axis=0).mean(axis=1)
    return dict(zip(by_method, ranks, strict=True))


def time_to_reach(mine: Sequence[Run], theirs: Sequence[Run]) -> float | None:
    """When my mean regret is first as low as theirs at the end.

    Returns:
        A share of the budget; None if it never is; NaN if runs were broken off before that
        can be told.
    """
    shares = sorted({share for run in mine for share, _ in run.final if share <= 1.0})
    target = mean_over_problems(theirs, regrets(theirs))[-1]
    if np.isnan(target):
        return math.nan
    for share in shares:
        if mean_over_problems(mine, regrets(mine, marks=(share,)))[0] <= target:
            return share
    return math.nan if any(run.until < 1 for run in mine) else None


def _summary(method: str, runs: Sequence[Run], rank: Floats) -> Summary:
    low, high = intervals(runs)
    trials = sum(sum(run.trials.values()) for run in runs)
    return Summary(
        method=method,
        runs=len(runs),
        problems=len({run.problem for run in runs}),
        final=mean_over_problems(runs, regrets(runs)),
        low=low,
        high=high,
        any=mean_over_problems(runs, regrets(runs, final=False)),
        rank=rank,
        mean_s=sum(run.suggest_total_s + run.hooks_s for run in runs) / max(1, trials),
        median_s=float(np.median([run.suggest_median_s for run in runs])),
        worst_s=max(run.suggest_worst_s for run in runs),
        busy=float(mean_over_problems(runs, [run.utilisation for run in runs])),
    )

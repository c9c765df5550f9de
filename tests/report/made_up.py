"""Made-up records for the report: any number of trials with learning curves, quickly."""

from __future__ import annotations

import heapq
import math
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np

from raytuner.history import History, Origin, TrialState
from raytuner.report.figures import Figures
from raytuner.report.page import render
from raytuner.space import Categorical, Float, Integer, Space

SPACE = Space(
    {
        "lr": Float(1e-5, 1e-1, log=True),
        "width": Integer(16, 512, log=True),
        "dropout": Float(0.0, 0.5),
        "optimizer": Categorical(["sgd", "adam", "lion"]),
        "net": {"norm": Categorical([True, False])},
    }
)
MAX_T = 27
RUNGS = (1, 3, 9)


def loss(config: dict[str, object], t: float) -> float:
    """What a trial reports: known, and best near lr = 3e-3 with adam."""
    lr, width = float(config["lr"]), float(config["width"])  # type: ignore[arg-type]
    worse = {"sgd": 0.35, "adam": 0.0, "lion": 0.1}[str(config["optimizer"])]
    end = 0.2 + 0.08 * (math.log10(lr) + 2.5) ** 2 + worse * abs(math.log10(lr) + 1.5) / 2
    end += 0.05 * abs(math.log2(width) - 7.5) / 2 + 0.2 * (float(config["dropout"]) - 0.15) ** 2  # type: ignore[arg-type]
    return end + 1.3 / (1 + t) ** 0.9


@cache
def figures(n: int) -> Figures:
    """The figures of ``study(n)``, made once: the model takes seconds."""
    return Figures(study(n))


def study(
    n: int, path: Path | None = None, *, slots: int = 8, seed: int = 0, live: int = 0
) -> History:
    """A record of ``n`` trials in ``slots`` slots, with ASHA's verdicts, failures and idle time.

    Args:
        n: Trials.
        path: File of the record.
        slots: Trials at a time.
        seed: Seed of all.
        live: So many trials at the end still run.
    """
    rng = np.random.default_rng(seed)
    configs = SPACE.sample(rng, n)
    with patch("raytuner.history.table.time.time") as clock:
        clock.return_value = 1.7e9
        history = History(SPACE, metric="loss", mode="min", max_t=MAX_T, path=path)
        history.set_meta("finished", live == 0)
        at_rung: dict[int, list[float]] = {rung: [] for rung in RUNGS}
        # (when, slot, trial number or -1 for a free slot, t)
        todo: list[tuple[float, int, int, int]] = [(1.7e9 + s, s, -1, 0) for s in range(slots)]
        heapq.heapify(todo)
        number = 0
        while todo:
            when, slot, trial, t = heapq.heappop(todo)
            clock.return_value = when
            if trial < 0:
                if number == n:
                    continue
                origin = Origin.SOBOL if number < 10 else Origin.BAYES
                history.add(f"t{number:05d}", configs[number], origin)
                heapq.heappush(todo, (when + rng.uniform(1.5, 4), slot, number, 1))
                number += 1
                continue
            name, config = f"t{trial:05d}", configs[trial]
            if config["lr"] > 0.05 and config["optimizer"] == "lion":
                reason = (
                    f"RuntimeError: loss is nan at step {trial}"
                    if trial % 3
                    else "OutOfMemoryError: CUDA out of memory"
                )
                history.end(name, TrialState.FAILED, reason)
                heapq.heappush(todo, (when + 1, slot, -1, 0))
                continue
            value = loss(config, t) + float(rng.normal(0, 0.01))
            history.report(name, t, value)
            if trial >= n - live:
                continue
            if t in at_rung:
                at_rung[t].append(value)
                rank = 1 + sum(v < value for v in at_rung[t])
                best = max(1, len(at_rung[t]) // 3)
                if rank > best:
                    reason = (
                        f"rank {rank} of {len(at_rung[t])} at rung {t}: the best {best} continue"
                    )
                    history.end(name, TrialState.STOPPED_EARLY, reason)
                    heapq.heappush(todo, (when + rng.exponential(0.6), slot, -1, 0))
                    continue
            if t == MAX_T:
                history.end(name, TrialState.COMPLETED)
                heapq.heappush(todo, (when + rng.exponential(0.6), slot, -1, 0))
            else:
                heapq.heappush(todo, (when + rng.uniform(0.8, 1.2), slot, trial, t + 1))
    return history


def html_of(history: History) -> str:
    """The report of a record, as of its end."""
    now = max((t.ended_at or t.proposed_at for t in history.trials), default=0.0)
    return render(Figures(history, now=now), Path("/studies/digits"))

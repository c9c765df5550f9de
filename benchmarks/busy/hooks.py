"""Seconds for which a searcher's hooks hold Ray's loop, with a real process beside it."""

from __future__ import annotations

import logging
import math
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune

from raytuner import BoTorchSearch

SPACE: dict[str, Any] = {
    **{f"x{i}": tune.uniform(0, 1) for i in range(6)},
    "lr": tune.loguniform(1e-5, 1e-1),
    "act": tune.choice(["relu", "tanh", "gelu"]),
}
_REPORTS = 3  # a trial


def measure(
    observations: int, slots: int, events: int, pause_s: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Play Ray's loop for a searcher with its defaults.

    Args:
        observations: Trials that have ended before anything is measured.
        slots: Trials that are live all the time.
        events: Trials that end while it is measured; each reports three times and is replaced.
        pause_s: Seconds between two events.

    Returns:
        Seconds of each call, by hook: by the clock, and of the processor's for the calling thread,
        which other work on the machine does not add to.
    """
    search = BoTorchSearch(SPACE, "loss", "min", seed=0)
    search.join_schedule(time_attr="training_iteration", max_t=_REPORTS)
    hooks = ("suggest", "result", "complete")
    seconds: dict[str, list[float]] = {name: [] for name in hooks}
    computed: dict[str, list[float]] = {name: [] for name in hooks}
    rng = random.Random(0)

    def timed(hook: str, function: Callable[..., Any], *args: Any) -> Any:
        busy, start = time.thread_time(), time.perf_counter()
        answer = function(*args)
        seconds[hook].append(time.perf_counter() - start)
        computed[hook].append(time.thread_time() - busy)
        return answer

    with tempfile.TemporaryDirectory() as folder:
        search.keep_record_in(Path(folder) / "record.sqlite")
        live: deque[str] = deque()
        for number in range(observations + slots + events):
            if number == observations + slots:
                while not search.proposal_counts["fresh"] > slots + 1:  # it is up
                    search.suggest(f"warm-up {len(search.history)}")
                    time.sleep(1.0)
                for calls in (*seconds.values(), *computed.values()):
                    calls.clear()
                before = search.proposal_counts
            if len(live) == slots:
                trial_id = live.popleft()
                value = sum(v for v in search.history[trial_id].config.values() if v != str(v))
                for t in range(1, _REPORTS + 1):
                    result = {"loss": value + rng.gauss(0, 0.1) / t, "training_iteration": t}
                    if t < _REPORTS:
                        timed("result", search.on_trial_result, trial_id, result)
                timed("complete", search.on_trial_complete, trial_id, result)
            trial_id = f"{number:08x}"
            timed("suggest", search.suggest, trial_id)
            live.append(trial_id)
            if number >= observations:
                time.sleep(pause_s)
        counts = {k: n - before[k] for k, n in search.proposal_counts.items()}
        search.close()
        search.history.close()
    print(f"proposals: {counts}")
    return (
        {hook: np.array(calls) for hook, calls in seconds.items()},
        {hook: np.array(calls) for hook, calls in computed.items()},
    )


def table(seconds: dict[str, np.ndarray]) -> str:
    """Percentiles in milliseconds, as Markdown."""
    lines = ["| hook | calls | median | 99 % | 99.9 % | longest |", "|---|---|---|---|---|---|"]
    for hook, calls in {**seconds, "all": np.concatenate(list(seconds.values()))}.items():
        ms = 1e3 * np.array([*np.quantile(calls, [0.5, 0.99, 0.999]), calls.max()])
        lines.append(f"| {hook} | {len(calls)} | " + " | ".join(f"{v:.2f}" for v in ms) + " |")
    return "\n".join(lines)


def draw(seconds: dict[str, np.ndarray], path: Path) -> None:
    """A histogram of the calls' milliseconds."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    longest = max(float(calls.max()) for calls in seconds.values())
    bins = np.geomspace(0.02, max(10.0, math.ceil(1e3 * longest)), 50).tolist()
    axes.hist([1e3 * c for c in seconds.values()], bins=bins, stacked=True, label=list(seconds))
    axes.axvline(5.0, color="black", linestyle="--", linewidth=1)
    axes.set(xscale="log", xlabel="milliseconds a call", ylabel="calls")
    axes.legend(frameon=False)
    figure.savefig(path)


def main(events: int, picture: Path) -> None:
    """Measure, print the table, draw the histogram."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
    seconds, computed = measure(observations=1000, slots=64, events=events, pause_s=0.25)
    print("By the clock:\n\n" + table(seconds))
    print("\nOf the processor's:\n\n" + table(computed))
    draw(seconds, picture)
    ray.shutdown()

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
from raytuner.history import Origin, TrialState

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
    rng, history = random.Random(0), search.history

    def reports(trial_id: str) -> list[dict[str, float]]:
        config = history.head(trial_id).config
        value = sum(v for v in config.values() if not isinstance(v, str))
        steps = range(1, _REPORTS + 1)
        return [{"loss": value + rng.gauss(0, 0.1) / t, "training_iteration": t} for t in steps]

    def timed(hook: str, function: Callable[..., Any], *args: Any) -> Any:
        busy, start = time.thread_time(), time.perf_counter()
        answer = function(*args)
        seconds[hook].append(time.perf_counter() - start)
        computed[hook].append(time.thread_time() - busy)
        return answer

    with tempfile.TemporaryDirectory() as folder:
        search.keep_record_in(Path(folder) / "record.sqlite")
        live: deque[str] = deque()
        configs = history.space.sample(np.random.default_rng(0), observations + slots)
        for number, config in enumerate(configs):
            history.add(f"before {number}", config, Origin.RANDOM)
            live.append(f"before {number}")
            if number < observations:
                trial_id = live.popleft()
                for result in reports(trial_id):
                    history.report(trial_id, result["training_iteration"], result["loss"])
                history.end(trial_id, TrialState.COMPLETED)
        while all(head.origin is not Origin.BAYES for head in history.heads()):
            search.suggest(f"warm-up {len(history)}")  # until the process is up
            time.sleep(1.0)
        before = search.proposal_counts
        for number in range(events):
            trial_id = live.popleft()
            *others, last = reports(trial_id)
            for result in others:
                timed("result", search.on_trial_result, trial_id, result)
            timed("complete", search.on_trial_complete, trial_id, last)
            trial_id = f"{number:08x}"
            timed("suggest", search.suggest, trial_id)
            live.append(trial_id)
            time.sleep(pause_s)
        counts = {k: n - before[k] for k, n in search.proposal_counts.items()}
        search.close()
        history.close()
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


def main(observations: int, slots: int, events: int, picture: Path | None) -> None:
    """Measure, print the table, draw the histogram."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
    seconds, computed = measure(observations, slots, events, pause_s=0.25)
    print("By the clock:\n\n" + table(seconds))
    print("\nOf the processor's:\n\n" + table(computed))
    if picture is not None:
        draw(seconds, picture)
    ray.shutdown()

"""Seconds for which a searcher's hooks hold Ray's loop, with a real process beside it."""

from __future__ import annotations

import logging
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.experiment import Trial

from raytuner import BoTorchSearch
from raytuner.history import Origin, TrialState

SPACE: dict[str, Any] = {
    **{f"x{i}": tune.uniform(0, 1) for i in range(6)},
    "lr": tune.loguniform(1e-5, 1e-1),
    "act": tune.choice(["relu", "tanh", "gelu"]),
}
_REPORTS = 3  # a trial


class Loop:
    """Plays Ray's loop for a searcher with its defaults, which takes it for Ray's controller.

    Args:
        observations: Trials that have ended before anything is measured.
        slots: Trials that are live all the time.

    Attributes:
        seconds: Of each call, by hook, by the clock.
        computed: The same of the processor's for the calling thread, which other work on the
            machine does not add to.
        search: The searcher.
    """

    def __init__(self, observations: int, slots: int, folder: Path) -> None:
        self.seconds: dict[str, list[float]] = {"suggest": [], "result": [], "complete": []}
        self.computed: dict[str, list[float]] = {name: [] for name in self.seconds}
        self.search = BoTorchSearch(SPACE, "loss", "min", seed=0)
        self.search.join_schedule(time_attr="training_iteration", max_t=_REPORTS)
        self.search.keep_record_in(folder / "record.sqlite")
        self.search_alg = SimpleNamespace(is_finished=lambda: False, total_samples=sys.maxsize)
        self._slots, self._count, self._rng = slots, 0, random.Random(0)
        self._live: dict[str, Any] = {}
        history = self.search.history
        configs = history.space.sample(np.random.default_rng(0), observations + slots)
        for number, config in enumerate(configs):
            history.add(f"before {number}", config, Origin.RANDOM)
            if number >= observations:
                self._enter(f"before {number}")
                continue
            for t, result in enumerate(self._reports(f"before {number}"), 1):
                history.report(f"before {number}", t, result["loss"])
            history.end(f"before {number}", TrialState.COMPLETED)

    # What the searcher asks of the controller:

    def slots(self) -> int:
        """Return how many trials could run."""
        return self._slots

    def get_live_trials(self) -> Collection[Any]:
        """Return the trials that run."""
        return self._live.values()

    def get_trials(self) -> list[Any]:
        """Return the trials; those that have ended count for nothing here."""
        return [*self._live.values()]

    def update_max_pending_trials(self, most: int) -> None:
        """Ask for no trial ahead of a free slot."""

    # The loop:

    def turn(self) -> None:
        """End the oldest trial, and ask for new ones as long as slots are free."""
        trial_id = next(iter(self._live))
        *others, last = self._reports(trial_id)
        for result in others:
            self._timed("result", self.search.on_trial_result, trial_id, result)
        del self._live[trial_id]
        self._timed("complete", self.search.on_trial_complete, trial_id, last)
        while len(self._live) < self._slots:
            trial_id = f"{self._count:08x}"
            if self._timed("suggest", self.search.suggest, trial_id) is None:
                return  # until the next turn
            self._count += 1
            self._enter(trial_id)

    def _enter(self, trial_id: str) -> None:
        self._live[trial_id] = SimpleNamespace(trial_id=trial_id, status=Trial.RUNNING)

    def _reports(self, trial_id: str) -> list[dict[str, float]]:
        config = self.search.history.head(trial_id).config
        value = sum(v for v in config.values() if not isinstance(v, str))
        steps, noise = range(1, _REPORTS + 1), self._rng.gauss
        return [{"loss": value + noise(0, 0.1) / t, "training_iteration": t} for t in steps]

    def _timed(self, hook: str, function: Callable[..., Any], *args: Any) -> Any:
        busy, start = time.thread_time(), time.perf_counter()
        answer = function(*args)
        self.seconds[hook].append(time.perf_counter() - start)
        self.computed[hook].append(time.thread_time() - busy)
        return answer


def measure(
    observations: int, slots: int, events: int, pause_s: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the seconds of each call by hook: by the clock, and of the processor's.

    Args:
        observations: See `Loop`.
        slots: See `Loop`.
        events: Trials that end while it is measured; each reports three times and is replaced.
        pause_s: Seconds between two events.
    """
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(observations, slots, Path(folder))
        search = loop.search
        is_up = {Origin.BAYES, Origin.STALE}
        while is_up.isdisjoint(head.origin for head in search.history.heads()):
            loop.turn()
            time.sleep(1.0)
        before = search.proposal_counts
        for calls in (*loop.seconds.values(), *loop.computed.values()):
            calls.clear()
        for _ in range(events):
            loop.turn()
            time.sleep(pause_s)
        counts = {k: n - before[k] for k, n in search.proposal_counts.items()}
        search.close()
        search.history.close()
    print(f"proposals: {counts}")
    return (
        {hook: np.array(calls) for hook, calls in loop.seconds.items()},
        {hook: np.array(calls) for hook, calls in loop.computed.items()},
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

"""The live figures as Ray metrics, for Ray's dashboard, Prometheus and Grafana."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ray.util.metrics import Gauge

from raytuner.history import TrialState
from raytuner.study.standing import Standing

# What each shows, and where it comes from; what is not known is not recorded.
_FIGURES: dict[str, tuple[str, Callable[[Standing], float | None]]] = {
    "raytuner_trials_done": ("Trials that ended.", lambda s: s.done),
    "raytuner_trials_asked": (
        "Trials that the study may have.",
        lambda s: s.num_samples if s.num_samples > 0 else None,
    ),
    "raytuner_slots": ("Trials that the cluster has room for.", lambda s: s.slots),
    "raytuner_slots_busy": ("Trials that run in a slot.", lambda s: s.busy or 0),
    "raytuner_slots_starting": ("Trials whose process is starting.", lambda s: s.starting),
    "raytuner_best": (
        "The objective of the best trial so far.",
        lambda s: None if s.best is None else s.best.value,
    ),
    "raytuner_best_age_seconds": (
        "Seconds since the best got better in this run.",
        lambda s: s.since_improved_s,
    ),
    "raytuner_elapsed_seconds": ("Seconds since this run began.", lambda s: s.elapsed_s),
    "raytuner_left_seconds": ("Seconds that are left, about.", lambda s: s.left_s),
}


class RayMetrics:
    """Gauges of a study, each with its name as the tag ``study``, percent-encoded if not ASCII.

    Ray exports them under these names with ``ray_`` before them, from the node that the study's
    driver runs on, where ``ray[default]`` is installed. ``raytuner_trials`` has a tag ``state``.

    Args:
        study: Name of the study.
        gauge: Makes a gauge; Ray's.
    """

    def __init__(self, study: str, gauge: Callable[..., Any] = Gauge) -> None:
        # Ray takes ASCII only. Percent-encoding, as in a URL, keeps other names apart and readable.
        tags = {"study": study if study.isascii() else quote(study, safe=" ")}
        self._gauges = {
            name: gauge(name, description=what, tag_keys=("study",)).set_default_tags(tags)
            for name, (what, _) in _FIGURES.items()
        }
        self._trials = gauge(
            "raytuner_trials", description="Trials in a state.", tag_keys=("study", "state")
        ).set_default_tags(tags)

    def tell(self, standing: Standing) -> None:
        """Record how the study stands."""
        for name, (_, figure) in _FIGURES.items():
            value = figure(standing)
            if value is not None:
                self._gauges[name].set(value)
        for state in TrialState:  # also those that no trial is in any more
            self._trials.set(standing.counts.get(state, 0), tags={"state": state.value})

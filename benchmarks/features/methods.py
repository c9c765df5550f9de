"""The methods, by name."""

from __future__ import annotations

from benchmarks.features import ours
from benchmarks.features.ax import AxPlayer
from benchmarks.features.optuna import with_sampler
from benchmarks.features.player import FeatureMethod
from benchmarks.features.simple import RandomPlayer

METHODS: dict[str, FeatureMethod] = {
    method.name: method
    for method in (
        FeatureMethod("ours", "raytuner", ours.WithFeature, lacks=ours.lacks),
        FeatureMethod(
            "ours-without", "raytuner without it", ours.WithoutFeature, suits=ours.has_switch
        ),
        FeatureMethod("optuna-gp", "Optuna GPSampler", with_sampler("gp"), ("optuna", "torch")),
        FeatureMethod("optuna-tpe", "Optuna TPE", with_sampler("tpe"), ("optuna",)),
        FeatureMethod(
            "optuna-nsga2",
            "Optuna NSGA-II",
            with_sampler("nsga2"),
            ("optuna",),
            suits=lambda problem: len(problem.objectives) > 1,
        ),
        FeatureMethod("ax", "Ax", AxPlayer, ("ax:ax-platform",)),
        FeatureMethod("random", "random search", RandomPlayer),
    )
}

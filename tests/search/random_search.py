"""Searches of random spaces, driven by hand; each promise of a searcher is checked on the way."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher

import raytuner
from raytuner import BoTorchSearch
from raytuner.bayes.strategies import STRATEGIES
from raytuner.controller.report import stop_early
from raytuner.errors import SpaceError
from raytuner.history import TrialState
from raytuner.space import Domain, Space
from raytuner.space.template import value_at

PROPOSALS = 25
_FIRST = (4, 11, 18)  # quasi-random configurations, before there is a model


class Odd:
    """An object that cannot be compared."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("these cannot be compared")

    __hash__ = None  # type: ignore[assignment]


ODD: list[Any] = [
    *(None, True, False, 1, 1.0, 0, -1.5, "", "a", "1", b"a", math.inf, math.nan, 2**60, 1e-300),
    *((1, 2), [1], {"k": [1, {"a": 2}]}, (), frozenset({1}), len, Odd, Odd(1), Odd(2), np.ones(3)),
    *(np.zeros((2, 2)), np.float32(0.5), np.int64(7), complex(1, 2), range(3)),
]


def _number(rng: np.random.Generator) -> Any:
    """One of Ray's numeric domains."""
    size = float(10.0 ** rng.integers(-6, 7))
    low, width = (
        float(rng.choice([0.0, -size, size, 0.3 * size])),
        size * float(rng.uniform(0.1, 9)),
    )
    above = 10.0 ** float(rng.uniform(-8, 3))
    ratio = 10.0 ** float(rng.uniform(0.1, 9))
    levels = int(rng.choice([1, 2, 3, 5, 24, 25, 100, 497, 1000, 10**6, 10**9, 2**40, 2**52]))
    first = int(rng.choice([1, 2, 16, 1000, 10**9]))
    start, q = int(rng.choice([-7, 0, 1, 10**6])), int(rng.choice([1, 2, 3, 8, 1000]))
    step = float(rng.choice([0.1, 0.25, 0.001, 3.0, 1 / 3, 1e-7, 7e5]))
    k = int(rng.integers(-9, 9))
    steps = int(rng.choice([1, 2, 3, 24, 25, 60, 10**5]))
    sd = 10.0 ** float(rng.uniform(-3, 3))
    return (
        lambda: tune.uniform(low, low + width),
        lambda: tune.loguniform(above, above * ratio),
        lambda: tune.quniform(k * step, (k + steps) * step, step),
        lambda: tune.qloguniform((abs(k) + 1) * step, (abs(k) + 1 + steps) * step, step),
        lambda: tune.randint(start, start + levels + 1),
        lambda: tune.lograndint(first, first + levels + 1),
        lambda: tune.qrandint(start * q, (start + levels) * q, q) if levels < 2**50 else 7,
        lambda: tune.qlograndint(first * q, (first + levels) * q, q) if levels < 2**50 else 7,
        lambda: tune.randn(low, sd),
        lambda: tune.qrandn(0.0, sd, sd * float(rng.choice([0.01, 0.3, 2.0]))),
    )[int(rng.integers(10))]()


def _leaf(rng: np.random.Generator) -> Any:
    kind = rng.random()
    if kind < 0.65:
        return _number(rng)
    if kind < 0.72:
        return ODD[int(rng.integers(len(ODD)))]  # a constant
    if kind < 0.8:
        return tune.choice(sorted(rng.choice(1000, size=int(rng.integers(3, 30)), replace=False)))
    values = [ODD[i] for i in rng.permutation(len(ODD))[: int(rng.integers(1, 6))]]
    return tune.grid_search(values) if kind < 0.85 else tune.choice(values)


@dataclass
class Case:
    """A search to try.

    Attributes:
        seed: Of all that is random.
        strategy: How it searches.
        space: The ``param_space``.
        settings: Other arguments of the searcher.
    """

    seed: int
    strategy: str
    space: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """What a trial reports."""
        given = self.settings["metric"]
        return [given] if isinstance(given, str) else list(given)

    def searcher(self) -> BoTorchSearch:
        """A new searcher."""
        return BoTorchSearch(
            self.space,
            strategy=self.strategy,
            seed=self.seed,
            background=False,
            **self.settings,
        )


def random_case(seed: int) -> Case:
    """A random space that can be searched, and a goal, for one of the strategies in turn."""
    rng = np.random.default_rng(seed)
    case = Case(seed, sorted(STRATEGIES)[seed % len(STRATEGIES)])
    several = STRATEGIES[case.strategy].goals and rng.random() < 0.3
    case.settings = {
        "metric": ["loss", "size"] if several else "loss",
        "mode": ["min", "max"] if several else str(rng.choice(["min", "max"])),
        "n_initial": int(rng.choice(_FIRST)),
        "max_t": 3 if rng.random() < 0.5 else None,
    }
    if STRATEGIES[case.strategy].goals and rng.random() < 0.3:
        case.settings["outcome_constraints"] = ["latency <= 0.6"]
    if STRATEGIES[case.strategy].costs and rng.random() < 0.3:
        case.settings["cost"] = "time_total_s"
    if rng.random() < 0.2:
        case.settings["standard_error"] = None if several else "se"
    while True:
        case.space = _space(rng, fidelity=STRATEGIES[case.strategy].costs and not several)
        try:
            space = case.searcher().history.space
        except SpaceError as error:
            if "varies" not in str(error):  # nothing does, or fidelities alone
                raise
            continue
        if rng.random() < 0.35:
            case.settings["parameter_constraints"] = _constraints(space, rng)
        if rng.random() < 0.3:
            points = case.searcher().history.space.sample(rng, 1)
            case.settings["points_to_evaluate"] = points
        return case


def _space(rng: np.random.Generator, *, fidelity: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i in range(int(rng.integers(1, 7))):
        found[f"p{i}"] = _leaf(rng)
    names = list(found)
    if fidelity and len(names) > 1 and rng.random() < 0.3:
        found["budget"] = raytuner.fidelity(tune.choice([1, 3, 9, 27]))
    if len(names) > 1 and rng.random() < 0.4:
        found["switch"] = tune.choice(["on", "off", None])
        inner = found[names[-1]]
        if not isinstance(inner, dict):
            found[names[-1]] = raytuner.when(inner, switch=["on", None])
    if len(names) > 2 and rng.random() < 0.4:
        found["net"] = {"deep": [{"x": found.pop(names[0])}, 5, (found.pop(names[1]), "text")]}
    return found


@dataclass(frozen=True)
class AtMost:
    """A constraint that is a function: a hyperparameter is at most so much, where it exists."""

    name: str
    most: float

    def __call__(self, config: dict[str, Any]) -> bool:
        """Whether a configuration keeps it."""
        return bool(config.get(self.name, self.most) <= self.most)


def _constraints(space: Space, rng: np.random.Generator) -> list[Any]:
    """A rule that a random configuration at full fidelity keeps, and others do not."""
    (kept,) = space.decode(space.in_full(space.draw(rng, 1)))
    for column in space.columns:
        value = value_at(kept, column.path)
        is_number = column.kind != "categorical" and isinstance(value, int | float)
        if is_number and "net" not in column.name and math.isfinite(value):
            as_text = f"{column.name} <= {value!r}"
            return [as_text if rng.random() < 0.5 else AtMost(column.name, value)]
    return []


def check_case(case: Case, folder: Path) -> int:
    """Drive a search by hand; how many configurations it proposed.

    Raises:
        AssertionError: A promise was broken.
    """
    rng = np.random.default_rng(case.seed)
    searcher = case.searcher()
    space = searcher.history.space
    seen: set[str] = set()
    running: list[str] = []
    half = PROPOSALS // 2
    for number in range(PROPOSALS):
        trial_id = f"trial_{number:02d}"
        again = None
        if number == half:
            searcher.save(str(folder / "saved.pkl"))
            again, searcher = searcher, case.searcher()
            searcher.restore(str(folder / "saved.pkl"))
        config = searcher.suggest(trial_id)
        if again is not None:
            assert _key(space, again.suggest(trial_id)) == _key(space, config)
        if config == Searcher.FINISHED:
            within = searcher._search()._searched().space
            assert len(seen) >= within.cardinality
            return number
        assert isinstance(config, dict)
        space.validate(config)
        for column in space.columns:
            value = value_at(config, column.path, None)
            if not column.requires or value is not None:
                assert _is_written(column.domain, value), (column.name, value)
        key = _key(space, config)
        assert key not in seen, "proposed twice"
        seen.add(key)
        running.append(trial_id)
        if len(running) >= rng.integers(1, 4):
            _end(searcher, running.pop(0), space, case, rng)
    assert len(searcher.history) == PROPOSALS
    return PROPOSALS


def _key(space: Space, config: Any) -> str:
    return config if isinstance(config, str) else json.dumps(space.dump(config), sort_keys=True)


def _is_written(domain: Domain, value: Any) -> bool:
    """Whether a value is a plain number within its bounds, with no rounding error of a step."""
    low, high = getattr(domain, "low", -math.inf), getattr(domain, "high", math.inf)
    if hasattr(domain, "step"):
        return type(value) in (int, float) and low <= value <= high and domain.cast(value) == value
    return domain.contains(value)


def _end(
    searcher: BoTorchSearch, trial_id: str, space: Space, case: Case, rng: np.random.Generator
) -> None:
    """A trial reports, and ends in one of all the ways there are."""
    (x,) = space.encode([searcher.history[trial_id].config])
    level = float(np.square(x - 0.3).sum())
    scale = float(case.seed % 3 == 0) * 1e12 + 1.0

    def result(t: int) -> dict[str, Any]:
        values = dict.fromkeys(case.metrics, scale * (level + 0.1 / t))
        others = {"latency": float(x[0]), "se": 0.1 * scale, "time_total_s": t * (1.0 + level)}
        return {**values, **others, "training_iteration": t}

    how = rng.random()
    if how < 0.1:  # it fails before it reports
        searcher.on_trial_complete(trial_id, error=True)
        return
    last = int(rng.integers(1, 4))
    for t in range(1, last):
        searcher.on_trial_result(trial_id, result(t))
    report = result(last)
    if how < 0.2:
        report[case.metrics[-1]] = float(rng.choice([math.nan, math.inf, -math.inf]))
    elif how < 0.3:
        searcher.record(trial_id, report)
        stop_early(searcher.history, trial_id, "a scheduler stopped it")
    elif how < 0.8:
        searcher.on_trial_result(trial_id, report)
    elif how < 0.85 and (last > 1 or "points_to_evaluate" not in case.settings):
        # Stopped while it waited. A given point that never reported is tried again after a restore.
        searcher.on_trial_complete(trial_id)
        return
    searcher.on_trial_complete(trial_id, report, error=how > 0.95)
    assert searcher.history[trial_id].state not in (TrialState.PENDING, TrialState.RUNNING)

"""Objectives whose optimum is known, and a search loop with several workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from raytuner.bayes import BayesProposer, Proposer
from raytuner.history import History, TrialState
from raytuner.space import Categorical, Config, Float, Integer, Space, when


@dataclass(frozen=True)
class Problem:
    """A function to minimise."""

    space: Space
    loss: Callable[[Config], float]
    optimum: float


def _branin(config: Config) -> float:
    x, y = config["x"], config["y"]
    hill = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(hill + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_H6_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_H6_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_H6_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann6(config: Config) -> float:
    x = np.array([config[f"x{i}"] for i in range(6)])
    return -float(_H6_ALPHA @ np.exp(-(_H6_A * (x - _H6_P) ** 2).sum(axis=1)))


def _mixed(config: Config) -> float:
    """Best at layers 7, act "gelu", lr 0.01; each category has its own best lr."""
    shift = {"relu": 1.0, "tanh": 1.6, "gelu": 0.0, "elu": 2.2}[config["act"]]
    return (
        (math.log10(config["lr"]) + 2.0 - 0.4 * shift) ** 2
        + 0.05 * (config["layers"] - 7) ** 2
        + 0.3 * shift
    )


# Optima and constants: S. Surjanovic and D. Bingham, Virtual Library of Simulation Experiments.
def _conditional(config: Config) -> float:
    """Best with a net of three layers, dropout 0.2 and lr 0.01; each kind has its own."""
    if config["kind"] == "linear":
        return 0.5 + (math.log10(config["penalty"]) + 3.0) ** 2
    if config["kind"] == "trees":
        return 0.3 + (config["depth"] - 6) ** 2 / 10 + (math.log10(config["lr"]) + 1.0) ** 2
    dropout = (config["dropout"] - 0.2) ** 2 * 8 if config["layers"] > 1 else 0.3
    return dropout + (config["layers"] - 3) ** 2 / 5 + (math.log10(config["lr"]) + 2.0) ** 2


BRANIN = Problem(Space({"x": Float(-5, 10), "y": Float(0, 15)}), _branin, 0.397887)
HARTMANN6 = Problem(Space({f"x{i}": Float(0, 1) for i in range(6)}), _hartmann6, -3.32237)
MIXED = Problem(
    Space(
        {
            "lr": Float(1e-5, 1.0, log=True),
            "layers": Integer(1, 12),
            "act": Categorical(["relu", "tanh", "gelu", "elu"]),
        }
    ),
    _mixed,
    0.0,
)
CONDITIONAL = Problem(
    Space(
        {
            "kind": Categorical(["linear", "trees", "net"]),
            "penalty": when(Float(1e-6, 1e2, log=True), kind="linear"),
            "lr": when(Float(1e-5, 1.0, log=True), kind=["trees", "net"]),
            "depth": when(Integer(1, 12), kind="trees"),
            "layers": when(Integer(1, 6), kind="net"),
            "dropout": when(Float(0, 0.9), layers=[2, 3, 4, 5, 6]),
        }
    ),
    _conditional,
    optimum=0.0,
)


def search(
    problem: Problem,
    make: Callable[[], Proposer],
    *,
    n: int,
    workers: int,
    order_seed: int = 0,
    reload_at: tuple[int, ...] = (),
) -> History:
    """Propose ``n`` configurations with ``workers`` trials pending, which end in a random order.

    At the proposals numbered in ``reload_at`` the proposer's state goes through JSON-able values
    into a fresh one.
    """
    history = History(problem.space, metric="loss", mode="min")
    rng = np.random.default_rng(order_seed)
    proposer = make()
    pending: list[str] = []

    def finish(trial_id: str) -> None:
        history.report(trial_id, 1, problem.loss(history[trial_id].config))
        history.end(trial_id, TrialState.COMPLETED)

    for number in range(n):
        if number in reload_at:
            state: dict[str, Any] = proposer.state_dict()
            proposer = make()
            proposer.load_state_dict(state)
        proposer.tell(history.snapshot())
        (proposal,) = proposer.ask(1)
        history.add(str(number), proposal.config, proposal.origin)
        pending.append(str(number))
        if len(pending) == workers:
            finish(pending.pop(int(rng.integers(len(pending)))))
    for trial_id in pending:
        finish(trial_id)
    return history


def random_trials(problem: Problem, n: int, seed: int = 0, *, sign: float = 1.0) -> History:
    """Return a record of random trials, each of which reported `sign` times the loss at t = 1."""
    history = History(problem.space, metric="loss", mode="min")
    for i, config in enumerate(problem.space.sample(np.random.default_rng(seed), n)):
        history.add(str(i), config)
        history.report(str(i), 1, sign * problem.loss(config))
        history.end(str(i), TrialState.COMPLETED)
    return history


def watch_acquisitions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[type, int]]:
    """Return a list that grows: what proposals maximise, and for how many configurations."""
    found: list[tuple[type, int]] = []
    best_of = BayesProposer._best_of

    def watched(self: BayesProposer, make: type, *rest: Any) -> Any:
        found.append((make, rest[1]))
        return best_of(self, make, *rest)

    monkeypatch.setattr(BayesProposer, "_best_of", watched)
    return found


def regret(problem: Problem, history: History) -> float:
    """How far the incumbent is from the optimum."""
    best = history.best
    assert best is not None
    return best.value - problem.optimum

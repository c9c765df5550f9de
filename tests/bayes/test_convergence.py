"""Seeded convergence, several workers' trials pending, against bounds that random search misses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from problems import BRANIN, CONDITIONAL, HARTMANN6, MIXED, Problem, regret, search

from raytuner.bayes import BayesProposer, Proposer
from raytuner.bayes.proposer import Proposal
from raytuner.history import Origin, Snapshot
from raytuner.space import Config, Float, Space


class RandomProposer:
    """Independent random draws, to say what a bound means."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)

    def tell(self, snapshot: Snapshot) -> None:
        pass

    def ask(self, n: int) -> list[Proposal]:
        return [Proposal(c, Origin.SOBOL) for c in self._space.sample(self._rng, n)]

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        pass


# n proposals; the regret to reach. Of 200 random searches of that length, at most one in ten gets
# there.
CASES = [
    pytest.param(BRANIN, 36, 0.1, id="branin"),
    pytest.param(HARTMANN6, 60, 0.3, id="hartmann6"),
    pytest.param(MIXED, 36, 0.05, id="mixed"),
]


@pytest.mark.parametrize(("problem", "n", "bound"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_converges_with_four_workers(problem: Problem, n: int, bound: float, seed: int) -> None:
    def make() -> Proposer:
        return BayesProposer(problem.space, seed)

    history = search(problem, make, n=n, workers=4, order_seed=seed, reload_at=(n // 3, n // 2))
    assert regret(problem, history) < bound
    assert len({str(t.config) for t in history.trials}) == n


def _padded(dim: int) -> Problem:
    """Hartmann's function of the last six of many hyperparameters."""
    first = dim - 6

    def loss(config: Config) -> float:
        return HARTMANN6.loss({f"x{i}": config[f"x{first + i}"] for i in range(6)})

    space = Space({f"x{i}": Float(0, 1) for i in range(dim)})
    return Problem(space, loss, HARTMANN6.optimum)


def test_converges_where_most_of_many_hyperparameters_play_no_part() -> None:
    problem = _padded(60)
    regrets, at_random = (
        [
            regret(problem, search(problem, partial(make, problem.space, s), n=70, workers=4))
            for s in seeds
        ]
        for make, seeds in ((BayesProposer, range(2)), (RandomProposer, range(20)))
    )
    assert max(regrets) < 0.9
    assert np.quantile(at_random, 0.05) > 0.9


def test_finds_the_optimum_of_a_conditional_space() -> None:
    """Most runs do; one in five settles for the second-best kind."""
    regrets = []
    for seed in range(3):
        history = search(
            CONDITIONAL,
            lambda seed=seed: BayesProposer(CONDITIONAL.space, seed),  # type: ignore[misc]
            n=40,
            workers=4,
            order_seed=seed,
        )
        regrets.append(regret(CONDITIONAL, history))
        for trial in history.trials:
            CONDITIONAL.space.validate(trial.config)
    at_random = []
    for seed in range(100):
        proposer = RandomProposer(CONDITIONAL.space, seed)
        history = search(CONDITIONAL, lambda p=proposer: p, n=40, workers=4)  # type: ignore[misc]
        at_random.append(regret(CONDITIONAL, history))
    assert np.median(regrets) < 0.02 < np.quantile(at_random, 0.05)

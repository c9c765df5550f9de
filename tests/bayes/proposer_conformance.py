"""What every proposer must do, as a class of tests: give it a fixture ``make`` and run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from raytuner.bayes import Proposal, Proposer
from raytuner.history import History, TrialState
from raytuner.space import (
    Categorical,
    Config,
    Fidelity,
    Float,
    Integer,
    Normal,
    Ordinal,
    Space,
    when,
)

Make = Callable[[Space, int], Proposer]

SPACES = {
    "continuous": Space({"x": Float(0, 1), "y": Float(1e-4, 1, log=True)}),
    "integer": Space({"n": Integer(1, 1000, log=True), "m": Integer(0, 30)}),
    "categorical": Space({"a": Categorical(list("abcde")), "b": Categorical([True, False])}),
    "mixed": Space(
        {
            "lr": Float(1e-5, 1, log=True),
            "net": {"layers": Integer(1, 8), "act": Categorical(["relu", "tanh", "gelu"])},
            "batch": Ordinal([16, 32, 64, 128]),
            "q": Float(0, 1, step=0.25),
            "free": Normal(0, 2),
            "grid": Normal(0, 2, step=0.5),
            "constant": "kept",
        }
    ),
    "conditional": Space(
        {
            "kind": Categorical(["linear", "net"]),
            "penalty": when(Float(1e-6, 1e2, log=True), kind="linear"),
            "layers": when(Integer(1, 6), kind="net"),
            "dropout": when(Float(0, 0.9), layers=[2, 3, 4, 5, 6]),
        }
    ),
    "constrained": Space(
        {
            "x": Float(0, 1),
            "n": Integer(1, 64, log=True),
            "act": Categorical(["relu", "tanh"]),
            "slope": when(Float(0, 1), act="relu"),
        },
        ["x * n <= 4", "x + slope <= 1", lambda config: config["act"] == "relu" or config["n"] > 3],
    ),
    "fidelities": Space(
        {
            "lr": Float(1e-5, 1, log=True),
            "act": Categorical(["relu", "tanh", "gelu"]),
            "width": Fidelity(Integer(8, 64)),
            "data": Fidelity(Ordinal([0.1, 0.3, 1.0])),
        },
        ["lr * width <= 16"],
    ),
    "hardly allowed": Space(
        {f"x{i}": Float(0, 1) for i in range(3)}, ["x0 + x1 + x2 <= 0.15", "x0 >= x1"]
    ),
}


def _loss(space: Space, config: Config) -> float:
    return float(((space.encode([config])[0] - 0.4) ** 2).sum())


def _told(space: Space, proposer: Proposer, n: int, *, state: TrialState) -> History:
    """A record of ``n`` trials of this proposer's, all ended in ``state`` but the last, pending."""
    history = History(space, metric="loss", mode="min", max_t=9)
    for number in range(n):
        proposer.tell(history.snapshot())
        config = proposer.ask(1)[0].config
        trial_id = str(number)
        history.add(trial_id, config)
        if number < n - 1:
            if state is not TrialState.REMOVED:
                history.report(trial_id, 3, _loss(space, config))
            history.end(trial_id, state)
    return history


def _keys(space: Space, proposals: list[Proposal]) -> list[bytes]:
    return [row.tobytes() for row in space.encode([p.config for p in proposals])]


class ProposerConformance:
    spaces: Sequence[str] = sorted(SPACES)
    """The names of the spaces that it is tested in."""

    spaces_once: Sequence[str] = ()
    """Further spaces, in which trials complete and nothing else is tested."""

    ends_in: str | None = "conditional"
    """The space in which trials end in every way; in the others they complete."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give tests a space, or a space and how its trials end."""
        if "state" in metafunc.fixturenames:
            cases = [
                pytest.param(SPACES[name], state, id=f"{name}-{state.value}")
                for name in (*self.spaces, *self.spaces_once)
                for state in TrialState
                if state is TrialState.COMPLETED or (name == self.ends_in and not state.is_live)
            ]
            metafunc.parametrize(("space", "state"), cases)
        elif "space" in metafunc.fixturenames:
            metafunc.parametrize("space", [SPACES[name] for name in self.spaces], ids=self.spaces)

    def test_asks_before_anything_is_told(self, make: Make, space: Space) -> None:
        proposals = make(space, 0).ask(3)
        assert len(proposals) == 3
        for proposal in proposals:
            space.validate(proposal.config)

    def test_proposes_from_the_space_whatever_happened(
        self, make: Make, space: Space, state: TrialState
    ) -> None:
        proposer = make(space, 1)
        history = _told(space, proposer, 9, state=state)
        proposer.tell(history.snapshot())
        for proposal in proposer.ask(2):
            space.validate(proposal.config)

    def test_same_seed_same_proposals(self, make: Make, space: Space) -> None:
        one, two = make(space, 7), make(space, 7)
        history = _told(space, make(space, 7), 8, state=TrialState.COMPLETED)
        for proposer in (one, two):
            proposer.tell(history.snapshot())
        assert one.ask(2) == two.ask(2)

    def test_another_seed_proposes_otherwise(self, make: Make) -> None:
        space = SPACES["continuous"]
        assert make(space, 1).ask(1) != make(space, 2).ask(1)

    def test_state_goes_through_json_into_a_fresh_proposer(self, make: Make, space: Space) -> None:
        proposer = make(space, 3)
        history = _told(space, proposer, 9, state=TrialState.COMPLETED)
        fresh = make(space, 99)
        fresh.load_state_dict(json.loads(json.dumps(proposer.state_dict())))
        for _ in range(3):
            number = str(len(history))
            for one in (proposer, fresh):
                one.tell(history.snapshot())
            (proposal,) = proposer.ask(1)
            assert fresh.ask(1) == [proposal]
            history.add(number, proposal.config)
            history.report(number, 3, _loss(space, proposal.config))
            history.end(number, TrialState.COMPLETED)

    def test_a_batch_repeats_nothing(self, make: Make, space: Space) -> None:
        proposer = make(space, 5)
        history = _told(space, proposer, 8, state=TrialState.COMPLETED)
        proposer.tell(history.snapshot())
        if space.cardinality == 10:  # 8 used, 2 left
            keys = _keys(space, proposer.ask(2))
        else:
            keys = _keys(space, proposer.ask(2) + proposer.ask(3))
        used = {row.tobytes() for row in history.snapshot().points}
        assert len(set(keys)) == len(keys)
        assert not used & set(keys)

    def test_a_finite_space_under_constraints_is_used_up(self, make: Make) -> None:
        space = Space({"a": Integer(0, 9), "b": Integer(0, 9)}, ["a + b <= 2", "a != 1"])
        history = _told(space, make(space, 2), 4, state=TrialState.COMPLETED)
        assert len(np.unique(history.snapshot().points, axis=0)) == space.cardinality == 4
        proposer = make(space, 2)
        proposer.tell(history.snapshot())
        for proposal in proposer.ask(2):
            space.validate(proposal.config)

    def test_uses_up_a_finite_space_before_it_repeats(self, make: Make) -> None:
        space = SPACES["categorical"]
        proposer = make(space, 2)
        history = _told(space, proposer, 10, state=TrialState.COMPLETED)
        assert len(np.unique(history.snapshot().points, axis=0)) == space.cardinality == 10
        proposer.tell(history.snapshot())
        assert len(proposer.ask(2)) == 2  # there are no others: repeating beats failing

    def test_survives_values_that_are_not_finite_or_all_equal(self, make: Make) -> None:
        space = SPACES["mixed"]
        for values in ([np.nan, np.inf, -np.inf, 1e300, -1e300, 1.0] * 2, [3.0] * 12):
            history = History(space, metric="loss", mode="max")
            for number, config in enumerate(space.sample(np.random.default_rng(0), len(values))):
                history.add(str(number), config)
                history.report(str(number), 1, values[number])
                history.end(str(number), TrialState.COMPLETED)
            proposer = make(space, 0)
            proposer.tell(history.snapshot())
            space.validate(proposer.ask(1)[0].config)

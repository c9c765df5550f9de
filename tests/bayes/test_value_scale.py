"""The choice between values and ranks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import BRANIN, Problem, random_trials
from scipy.stats import norm

from raytuner.bayes import BayesProposer, scale
from raytuner.bayes.dataset import Dataset, dataset, standardise
from raytuner.bayes.scale import Scale, log_score
from raytuner.bayes.surrogate import (
    Posterior,
    WarmFit,
    fit,
    hyperparameters,
    make_model,
    numerics,
    set_hyperparameters,
)
from raytuner.space import Config, Float, Space


def _stairs(config: Config) -> float:
    """A plain that hardly slopes, with steep stairs down to one corner."""
    depth = max(0.0, min(config["x"], config["y"]) - 0.6) / 0.4
    return 1e-3 * config["x"] - math.floor(6 * depth) ** 3


STAIRS = Problem(Space({"x": Float(0, 1), "y": Float(0, 1)}), _stairs, optimum=-125.0)


def _rows(problem: Problem, n: int) -> Dataset:
    return dataset(random_trials(problem, n).snapshot())


finite = hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e12, 1e12))


@given(finite)
def test_ranks_keep_the_order_and_ties_and_have_no_outliers(y: np.ndarray) -> None:
    X = np.linspace(0, 1, len(y))[:, None]
    y = standardise(y)
    ranked = Dataset(X, y, y, X, has_fidelity=False, known=len(y), noise=np.full(len(y), 0.1))
    z = ranked.by_rank().y
    order = np.argsort(y, kind="stable")
    assert ((np.diff(z[order]) > 0) == (np.diff(y[order]) > 0)).all()
    assert np.abs(z).max() < 8
    noise = ranked.by_rank().noise
    assert noise is not None
    assert (np.isfinite(noise) & (noise >= 0)).all()


def test_reported_noise_is_scaled_as_the_better_half_is() -> None:
    raw = np.arange(11.0)
    data = Dataset(raw[:, None], raw, raw, raw[:, None], False, 11, noise=np.full(11, 0.25))
    ranked = data.by_rank()
    slope = (ranked.y[10] - ranked.y[5]) / 5  # of what was 1 for each unit
    assert ranked.noise == pytest.approx(0.25 * slope**2)


def test_the_score_is_that_of_models_that_did_not_see_the_trial() -> None:
    data = _rows(BRANIN, 12)
    with numerics():
        model = fit(data, BRANIN.space.columns)
        score = log_score(Posterior.of(model), data, 2)
        logs = []
        for row in range(12):
            others = make_model(data.take(np.delete(np.arange(12), row)), BRANIN.space.columns)
            set_hyperparameters(others, hyperparameters(model))
            others.eval()
            with torch.no_grad():
                point = torch.as_tensor(data.X[row : row + 1])
                law = others.posterior(point, observation_noise=True)
            rank = int((data.y < data.y[row]).sum())
            values = np.sort(data.y)
            low = -np.inf if rank == 0 else (values[rank - 1] + values[rank]) / 2
            high = np.inf if rank == 11 else (values[rank] + values[rank + 1]) / 2
            mean, sd = law.mean.item(), law.variance.item() ** 0.5
            logs.append(math.log(norm.cdf((high - mean) / sd) - norm.cdf((low - mean) / sd)))
    assert score == pytest.approx(np.mean(logs), abs=1e-3)


@pytest.mark.parametrize(("problem", "by_rank"), [(BRANIN, False), (STAIRS, True)])
def test_a_smooth_objective_is_learned_by_value_and_a_plain_with_a_hole_by_rank(
    problem: Problem, by_rank: bool
) -> None:
    data, choice = _rows(problem, 40), Scale()
    with numerics():
        chosen = choice(data, problem.space.columns, WarmFit())
    assert choice == Scale(by_rank, 40)
    assert (chosen.y == (data.by_rank() if by_rank else data).y).all()


def test_it_chooses_again_when_a_quarter_more_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = list[int]()

    def counted(posterior: Posterior, data: Dataset, d: int) -> float:
        judged.append(len(data))
        return log_score(posterior, data, d)

    monkeypatch.setattr(scale, "log_score", counted)
    choice, warm, data = Scale(), WarmFit(), _rows(STAIRS, 30)
    with numerics():
        for n in range(8, 31):
            choice(replace(data.take(np.arange(n)), known=n), STAIRS.space.columns, warm)
            choice = Scale(**json.loads(json.dumps(asdict(choice))))
    assert judged[::2] == judged[1::2] == [10, 13, 17, 22, 28]


def test_the_model_of_choice_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data, warm = _rows(STAIRS, 40), WarmFit()
    with numerics():
        chosen = Scale()(data, STAIRS.space.columns, warm)
        monkeypatch.setattr("raytuner.bayes.surrogate.fit", None)
        assert len(warm(chosen, STAIRS.space.columns).X) == 40


def test_a_proposer_goes_on_with_its_choice() -> None:
    proposer = BayesProposer(STAIRS.space, 0)
    proposer.tell(random_trials(STAIRS, 40).snapshot())
    proposer.ask(1)
    state = json.loads(json.dumps(proposer.state_dict()))
    assert state["scale"] == {"by_rank": True, "known": 40}
    restored, older = BayesProposer(STAIRS.space, 1), BayesProposer(STAIRS.space, 1)
    restored.load_state_dict(state)
    assert restored.state_dict() == state
    older.load_state_dict({name: state[name] for name in ("sobol", "fits")})
    assert older.state_dict()["scale"] == {"by_rank": False, "known": 0}

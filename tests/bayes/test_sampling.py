"""Draws of a surrogate's hyperparameters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from numpy.typing import NDArray

from raytuner.bayes import sampling
from raytuner.bayes.dataset import Dataset, standardise
from raytuner.bayes.sampling import Chain, Ensemble, HyperparameterDensity, slice_sweep
from raytuner.bayes.surrogate import (
    FIT_ERRORS,
    Posterior,
    _loss_and_gradients,
    fit,
    hyperparameters,
    make_model,
    numerics,
    set_hyperparameters,
)
from raytuner.space import Categorical, Column, Float, Space

SPACE = Space({"a": Float(0, 1), "b": Float(0, 1), "c": Categorical(["x", "y", "z"])})


def rows(n: int, *, curves: bool = False, seed: int = 0) -> Dataset:
    """A smooth function of `a`; `b` and `c` make no difference."""
    rng = np.random.default_rng(seed)
    X = SPACE.snap(SPACE.draw(rng, n))
    raw = np.sin(5 * X[:, 0])
    evaluated = X
    if curves:
        X = np.column_stack([X, rng.random(n)])
        raw = raw - 0.5 * (1 - X[:, -1])
    return Dataset(X, standardise(raw), raw, evaluated, has_fidelity=curves, known=n)


def test_a_sweep_leaves_its_distribution_as_it_is() -> None:
    mean = np.array([1.0, -2.0])
    covariance = np.array([[1.0, 0.8], [0.8, 1.5]])
    precision = np.linalg.inv(covariance)
    rng, position, found = np.random.default_rng(0), mean, []
    for _ in range(4000):
        position = slice_sweep(lambda x: -0.5 * (x - mean) @ precision @ (x - mean), position, rng)
        found.append(position)
    assert np.mean(found, axis=0) == pytest.approx(mean, abs=0.1)
    assert np.cov(np.array(found).T) == pytest.approx(covariance, abs=0.15)


def test_a_sweep_stays_inside_of_bounds() -> None:
    rng, position = np.random.default_rng(0), np.array([0.5])
    for _ in range(200):
        position = slice_sweep(lambda x: 0.0 if 0 < x[0] < 1 else -math.inf, position, rng)
        assert 0 < position[0] < 1


@pytest.mark.parametrize("curves", [False, True])
def test_the_density_is_that_of_the_fit_in_logarithms(curves: bool) -> None:
    data = rows(20, curves=curves)
    model = make_model(data, SPACE.columns)
    density = HyperparameterDensity(model)
    rng = np.random.default_rng(0)
    start = density.encode(hyperparameters(model))
    positive = density.decode(start) != start

    def by_the_fit(position: NDArray[np.float64]) -> float:
        set_hyperparameters(model, density.decode(position).tolist())
        loss, _ = _loss_and_gradients(model)
        return -float(loss) * len(data) + float(position[positive].sum())  # the Jacobian's part

    positions = [start + rng.normal(scale=0.3, size=len(start)) for _ in range(5)]
    differences = [density(position) - by_the_fit(position) for position in positions]
    assert differences == pytest.approx([differences[0]] * 5, abs=1e-3)


def test_hyperparameters_stay_within_their_bounds() -> None:
    density = HyperparameterDensity(make_model(rows(20), SPACE.columns))
    start = density.encode([0.0] * density.size)
    assert density(start) > -math.inf
    assert density(start - 1.0) == -math.inf
    assert density(start + 100.0) == -math.inf


def test_draws_agree_where_the_data_are_clear_and_differ_where_not() -> None:
    columns = SPACE.columns
    data, chain = rows(30), Chain()
    with numerics():
        drawn = [chain.draw(data, columns, seed).kernel.lengthscales.tolist() for seed in range(60)]
        best = fit(data, columns).covar_module.lengthscales.tolist()
    a, b = np.log(drawn)[20:].T
    assert math.exp(a.mean()) == pytest.approx(best[0], rel=0.5)
    assert a.std() < 0.5 < b.std()  # that `b` makes no difference leaves its lengthscale open


def test_a_chain_goes_on_from_its_state() -> None:
    first, second = rows(12), rows(13)
    chain = Chain()
    with numerics():
        chain.draw(first, SPACE.columns, 0)
        restored = Chain(**json.loads(json.dumps(vars(chain))))
        one, other = (c.draw(second, SPACE.columns, 1) for c in (chain, restored))
    torch.testing.assert_close(one.white_y, other.white_y)


def test_a_chain_begins_anew_for_another_structure() -> None:
    chain = Chain()
    with numerics():
        chain.draw(rows(12), SPACE.columns, 0)
        posterior = chain.draw(rows(12, curves=True), SPACE.columns, 0)
    assert posterior.has_fidelity


def test_a_draw_is_from_some_rows_and_predictions_are_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []

    class Watched(HyperparameterDensity):
        def __init__(self, model: SingleTaskGP) -> None:
            used.append(len(model.train_targets))
            super().__init__(model)

    monkeypatch.setattr(sampling, "HyperparameterDensity", Watched)
    with numerics():
        posterior = Chain().draw(rows(300), SPACE.columns, 0)
    assert used == [200]
    assert len(posterior.X) == 300


def test_an_ensemble_draws_one_chain_anew_at_a_time_as_rows_grow_by_a_tenth() -> None:
    ensemble, drawn = Ensemble(2), []
    with numerics():
        for n in (20, 21, 22, 22, 22, 23, 25):
            posteriors = ensemble(rows(n), SPACE.columns)
            drawn.append([posterior.kernel.lengthscales.tolist() for posterior in posteriors])
            assert [len(posterior.X) for posterior in posteriors] == [n] * 2
    assert drawn[0][0] != drawn[0][1]
    moved = [
        [one != other for one, other in zip(before, after, strict=True)]
        for before, after in pairwise(drawn)
    ]
    neither, first, second = [False, False], [True, False], [False, True]
    assert moved == [neither, first, second, neither, neither, first]


def test_an_ensemble_whose_first_draws_fail_is_whole_later(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, draw, calls = Ensemble(3), Chain.draw, list[int]()

    def failing(self: Chain, data: Dataset, columns: Sequence[Column], seed: int) -> Posterior:
        calls.append(seed)
        if len(calls) == 2:
            raise FIT_ERRORS[0]("no optimum")
        return draw(self, data, columns, seed)

    monkeypatch.setattr(Chain, "draw", failing)
    with numerics():
        with pytest.raises(FIT_ERRORS[0]):
            ensemble(rows(12), SPACE.columns)
        assert len(ensemble(rows(12), SPACE.columns)) == 3

"""Distributions in scikit-learn's form, translated to our search spaces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from naming import named
from optuna.distributions import FloatDistribution, IntDistribution
from ray import tune
from scipy import stats

from raytuner.errors import SpaceError
from raytuner.integrations.sklearn.candidates import parts_of, translate
from raytuner.integrations.translated import Translated
from raytuner.space import Categorical, Float, Integer, Normal, Ordinal, Space


def translated(given: Any) -> Translated:
    domains, decoders = translate(given)
    return Translated(Space(domains), decoders)


class Real(SimpleNamespace):
    """Has the attributes of scikit-optimize's dimensions; the library is archived."""


class WholeNumbers(SimpleNamespace):
    pass


WholeNumbers.__name__ = "Integer"


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        (stats.uniform(2, 3), Float(2, 5)),
        (stats.loguniform(1e-3, 10), Float(1e-3, 10, log=True)),
        (stats.loguniform(1e-3, 10, scale=2), Float(2e-3, 20, log=True)),
        (stats.reciprocal(1, 10), Float(1, 10, log=True)),
        (stats.randint(3, 7), Integer(3, 6)),
        (stats.randint(3, 7, loc=1), Integer(4, 7)),
        (stats.norm(1, 2), Normal(1, 2)),
        (tune.randint(1, 5), Integer(1, 4)),
        (Integer(1, 5), Integer(1, 5)),
        ([1, 10, 100], Ordinal([1, 10, 100])),
        ((1e-6, 1e2, "log-uniform"), Float(1e-6, 1e2, log=True)),
        ((1, 8, "uniform"), Integer(1, 8)),
        ((1, 5), Integer(1, 5)),
        ((1, 5.5), Float(1, 5.5)),
        ((np.int64(1), np.int64(5)), Integer(1, 5)),
        ((np.float64(0.5), 1), Float(0.5, 1)),
        ((1e-3, 1e3, "log-uniform", 2), Float(1e-3, 1e3, log=True)),
        ((True, False), Categorical([True, False])),
        (("kmeans", "quantile", "uniform"), Categorical(["kmeans", "quantile", "uniform"])),
        ((1, "auto", "uniform"), Categorical([1, "auto", "uniform"])),
        ((1, 10, 100), Ordinal([1, 10, 100])),
        ([1, 5], Categorical([1, 5])),
        (range(1, 5), Ordinal([1, 2, 3, 4])),
        (pd.Series([1.0, 2.0, 4.0]), Ordinal([1.0, 2.0, 4.0])),
        (FloatDistribution(1e-3, 1, log=True), Float(1e-3, 1, log=True)),
        (Real(low=0.1, high=1.0, prior="log-uniform"), Float(0.1, 1.0, log=True)),
        (WholeNumbers(low=1, high=9, prior="uniform"), Integer(1, 9)),
        (Real(categories=("a", "b"), prior=None), Categorical(["a", "b"])),
    ],
    ids=named,
)
def test_a_known_law_becomes_the_domain_with_that_law(given: Any, domain: Any) -> None:
    space = translated({"p": given})
    assert [column.domain for column in space.space.columns] == [domain]
    config = space.space.decode(np.full((1, 1), 0.3))[0]
    assert space.params(config) == config


@pytest.mark.parametrize("given", [stats.expon(scale=3), stats.poisson(4)])
def test_any_other_law_is_drawn_by_its_quantiles(given: Any) -> None:
    space = translated({"p": given})
    drawn = [space.params(c)["p"] for c in space.space.sample(np.random.default_rng(0), 4000)]
    whole = isinstance(given.dist, stats.rv_discrete)
    assert all(type(value) is (int if whole else float) for value in drawn)
    assert np.mean(drawn) == pytest.approx(given.mean(), rel=0.05)
    assert np.std(drawn) == pytest.approx(given.std(), rel=0.1)


def test_values_of_any_kind_come_back_as_they_are() -> None:
    values = [object(), [1, 2], 1, 1.0, None]
    space = translated({"p": values, "q": tune.uniform(0, 1)})
    drawn = [space.params(c)["p"] for c in space.space.sample(np.random.default_rng(0), 100)]
    assert {id(value) for value in drawn} == {id(value) for value in values}


@pytest.mark.parametrize("given", [(1e-3, 1e3, "loguniform"), (1, 5, "uniform", 2, 3)])
def test_a_range_with_an_unknown_prior_is_refused(given: Any) -> None:
    with pytest.raises(SpaceError, match=r"p: received .*the prior \"uniform\" or"):
        translated({"p": given})


@pytest.mark.parametrize(
    ("given", "candidates"),
    [
        ({"p": (1.0,), "q": [True, False]}, [{"p": 1.0, "q": True}, {"p": 1.0, "q": False}]),
        ({"p": (1, 3)}, [{"p": 1}, {"p": 2}, {"p": 3}]),
        ({"p": stats.randint(1, 4)}, [{"p": 1}, {"p": 2}, {"p": 3}]),
        ({"p": [1, 1.0]}, [{"p": 1}, {"p": 1.0}]),
        ({"p": tune.randint(3, 4)}, [{"p": 3}]),
        ({"p": IntDistribution(4, 4)}, [{"p": 4}]),
        ({}, [{}]),
    ],
)
def test_small_spaces_are_listed(given: Any, candidates: Any) -> None:
    [part] = parts_of(None, given, 10)
    assert part.listed == candidates


@pytest.mark.parametrize("given", [{"p": stats.uniform()}, {"p": (0, 10**9)}], ids=named)
def test_large_spaces_are_searched(given: Any) -> None:
    [part] = parts_of(None, given, 10)
    assert part.listed is None


@pytest.mark.parametrize("given", [3, "abc", SimpleNamespace(rvs=lambda: 1), {"low": 1}], ids=named)
def test_anything_else_is_refused_by_name(given: Any) -> None:
    with pytest.raises(SpaceError, match=r"alpha: received .*give a list of values"):
        translated({"alpha": given})

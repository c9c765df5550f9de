"""Finding the searcher beside a scheduler."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from scheduler_fakes import FakeController, Listening, Partner, PlainSearcher, Wrapper

from raytuner import BoTorchSearch
from raytuner.schedulers import SearchPartner, find_partner


@pytest.mark.parametrize("wrappers", [0, 2])
def test_finds_the_innermost_searcher(wrappers: int) -> None:
    partner = Partner()
    search_alg: Any = partner
    for _ in range(wrappers):
        search_alg = Wrapper(search_alg)
    assert find_partner(FakeController(search_alg)) is partner


def test_finds_it_in_rays_own_wrappers() -> None:
    class Ours(Partner, Searcher):
        def __init__(self) -> None:
            Searcher.__init__(self)
            Partner.__init__(self)

    partner = Ours()
    search_alg = SearchGenerator(ConcurrencyLimiter(partner, max_concurrent=2))
    assert find_partner(FakeController(search_alg)) is partner


def test_a_searcher_of_ours_is_one() -> None:
    searcher = BoTorchSearch({"x": tune.uniform(0, 1)}, "loss", "min")
    assert find_partner(FakeController(Wrapper(searcher))) is searcher


@pytest.mark.parametrize("search_alg", [None, PlainSearcher(), Wrapper(Listening())])
def test_none_that_has_no_table(search_alg: Any) -> None:
    assert find_partner(FakeController(search_alg)) is None
    assert find_partner(object()) is None


def test_the_outer_one_does_not_count() -> None:
    class Outer(Partner):
        searcher = PlainSearcher()

    assert isinstance(Outer(), SearchPartner)
    assert find_partner(FakeController(Outer())) is None

"""Finding the searcher beside a scheduler."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from scheduler_fakes import FakeController, ListeningSearcher, PlainSearcher, Wrapper

from raytuner.schedulers import SearchPartner, find_partner


@pytest.mark.parametrize("wrappers", [0, 2])
def test_finds_the_innermost_searcher(wrappers: int) -> None:
    partner = ListeningSearcher()
    search_alg: Any = partner
    for _ in range(wrappers):
        search_alg = Wrapper(search_alg)
    assert find_partner(FakeController(search_alg)) is partner


def test_finds_it_in_rays_own_wrappers() -> None:
    class Listening(ListeningSearcher, Searcher):
        __hash__ = object.__hash__

    partner = Listening()
    Searcher.__init__(partner)
    search_alg = SearchGenerator(ConcurrencyLimiter(partner, max_concurrent=2))
    assert find_partner(FakeController(search_alg)) is partner


@pytest.mark.parametrize("search_alg", [None, PlainSearcher(), Wrapper(PlainSearcher())])
def test_none_that_does_not_listen(search_alg: Any) -> None:
    assert find_partner(FakeController(search_alg)) is None
    assert find_partner(object()) is None


def test_the_outer_one_does_not_count() -> None:
    class ListeningWrapper(ListeningSearcher):
        searcher = PlainSearcher()

    assert isinstance(ListeningWrapper(), SearchPartner)
    assert find_partner(FakeController(ListeningWrapper())) is None

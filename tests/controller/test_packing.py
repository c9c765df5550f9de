"""How many requests fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytuner.controller import capacity
from raytuner.placement.request import ResourceRequest

A100 = {"CPU": 16, "GPU": 2, "accelerator_type:A100": 1.0}
T4 = {"CPU": 8, "GPU": 1, "accelerator_type:T4": 1.0}
CASES: dict[str, tuple[Any, list[dict[str, float]], int]] = {
    "halves": ({"cpu": 1, "gpu": 0.5}, [A100, T4], 6),
    "tenths": ({"gpu": 0.1}, [T4], 10),
    "no share over two GPUs' nodes": ({"gpu": 0.6}, [T4, T4], 2),
    "CPUs are short": ({"cpu": 5, "gpu": 0.1}, [T4, A100], 4),
    "one type": ({"gpu": 1, "accelerator_type": "A100"}, [A100, T4], 2),
    "no such type": ({"gpu": 1, "accelerator_type": "H100"}, [A100, T4], 0),
    "too many for a node": ({"gpu": 3}, [A100, T4], 0),
    "bundles over nodes": ([{"gpu": 1}] * 3, [A100, T4], 1),
    "packed tight": ({"bundles": [{"gpu": 1}] * 3, "strategy": "STRICT_PACK"}, [A100, T4], 0),
    "packed tight, twice": (
        {"bundles": [{"gpu": 1}] * 2, "strategy": "STRICT_PACK"},
        [A100, A100, T4],
        2,
    ),
    "spread apart": ({"bundles": [{"gpu": 1}] * 3, "strategy": "STRICT_SPREAD"}, [A100, T4], 0),
    "spread apart, and it goes": (
        {"bundles": [{"cpu": 1}, {"cpu": 1}], "strategy": "STRICT_SPREAD"},
        [A100, T4],
        8,
    ),
    "an empty first bundle": ([{}, {"gpu": 1}, {"gpu": 1}], [A100, T4], 1),
    # The large one goes to the node that a hasty choice would have given to a small one.
    "the order matters": ([{"cpu": 2}, {"cpu": 2}, {"cpu": 3}], [{"CPU": 4}, {"CPU": 3}], 1),
    "no bundle over two nodes": ([{"cpu": 3}, {"cpu": 3}], [{"CPU": 4}] * 3, 1),
    "in turn on a node and over two": ([{"cpu": 1}] * 2, [{"CPU": 5}, {"CPU": 3}], 4),
    "many": ([{"cpu": 4}, {"cpu": 3}], [{"CPU": 64}] * 64, 576),
    "a trainer's workers": ({"cpu": 1, "trainer": {"workers": 2, "gpu": 1}}, [A100, T4], 1),
    "nothing there": ({"cpu": 1}, [], 0),
    "packed on three": (
        {"bundles": [{"cpu": 2}] * 2, "strategy": "STRICT_PACK"},
        [{"CPU": 4}] * 3,
        3,
    ),
    "spread on three": (
        {"bundles": [{"cpu": 2}] * 2, "strategy": "STRICT_SPREAD"},
        [{"CPU": 4}] * 3,
        3,
    ),
    "spread on too few": (
        {"bundles": [{"cpu": 1}] * 4, "strategy": "STRICT_SPREAD"},
        [{"CPU": 4}] * 3,
        0,
    ),
    "a thousand nodes": (
        {"bundles": [{"cpu": 1}, {"gpu": 1}], "strategy": "SPREAD"},
        [{"CPU": 64, "GPU": 8}] * 1000,
        8000,
    ),
}


def fits(request: ResourceRequest, nodes: list[dict[str, float]]) -> int:
    return capacity.fits(request.all_bundles, request.strategy, nodes)


@pytest.mark.parametrize(("request_", "nodes", "count"), CASES.values(), ids=CASES)
def test_how_many_fit(request_: Any, nodes: list[dict[str, float]], count: int) -> None:
    assert fits(ResourceRequest.of(request_), nodes) == count


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
)
def test_one_that_fits_is_found(bundles: list[int], nodes: list[int]) -> None:
    """Against all ways to lay the bundles."""

    def lay(rest: list[int], left: list[int]) -> bool:
        return not rest or any(
            lay(rest[1:], [*left[:n], have - rest[0], *left[n + 1 :]])
            for n, have in enumerate(left)
            if have >= rest[0]
        )

    found = fits(ResourceRequest.of([{"cpu": n} for n in bundles]), [{"CPU": n} for n in nodes])
    assert (found > 0) == lay(bundles, nodes)
    assert found * sum(bundles) <= sum(nodes)

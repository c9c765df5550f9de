"""The recommended number of workers, and the reason why it is not larger."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytuner.simulate.advice import Advice, FleetPrediction, advise


def fleet(workers: int, seconds: float, value: float | None = 1.0, **more: Any) -> FleetPrediction:
    """On workers that exist all the time."""
    hours = workers * seconds / 3600
    more = {"spread": 0.1, **more}
    return FleetPrediction(
        workers=workers, seconds=seconds, hours=hours, utilisation=0.9, value=value, **more
    )


def said(advice: Advice | None) -> tuple[int, int | None, str | None]:
    assert advice is not None
    after = None if advice.after is None else advice.after.workers
    return advice.chosen.workers, after, advice.reason


@pytest.mark.parametrize(
    ("seconds", "advice"),
    [
        ((800, 100, 25), (256, None, None)),  # no worker is ever idle
        ((800, 130, 120), (64, 256, "time")),  # hardly faster
        ((800, 130, 48), (256, None, None)),  # 2.7 times as fast for 1.48 times the hours
        ((800, 130, 50), (64, 256, "cost")),  # 2.6 times as fast for 1.54 times the hours
        ((800, 130, 130), (64, 256, "time")),
        ((800, 700, 20), (8, 64, "time")),  # the first step that does not pay ends it
    ],
)
def test_a_step_pays_that_is_faster_by_more_than_it_is_dearer(
    seconds: tuple[float, ...], advice: tuple[Any, ...]
) -> None:
    fleets = [fleet(n, s) for n, s in zip((8, 64, 256), seconds, strict=True)]
    assert said(advise(fleets, "min")) == advice
    assert said(advise(fleets[::-1], "min")) == advice


def test_a_small_step_pays_if_it_is_efficient() -> None:
    assert said(advise([fleet(8, 900), fleet(9, 800)], "min")) == (9, None, None)
    assert said(advise([fleet(8, 900), fleet(9, 880)], "min")) == (8, 9, "time")


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_worse_value_beyond_the_spread_does_not_pay(mode: str, sign: float) -> None:
    def numbers(*values: float | None) -> tuple[int, int | None, str | None]:
        signed = [None if value is None else sign * value for value in values]
        fleets = [fleet(n, 800 / n, v) for n, v in zip((8, 64, 256), signed, strict=True)]
        return said(advise(fleets, mode))

    assert numbers(1.0, 1.05, 1.08) == (256, None, None)
    assert numbers(1.0, 1.05, 1.12) == (64, 256, "value")  # small losses add up
    assert numbers(1.0, 0.5, 0.65) == (64, 256, "value")
    assert numbers(1.0, None, 1.0) == (8, 64, "value")
    assert numbers(None, 1.0, 1.2) == (64, 256, "value")
    assert numbers(None, None, None) == (256, None, None)  # several objectives: time and cost only


def test_the_larger_spread_counts() -> None:
    fleets = [fleet(8, 100, 1.0, spread=0.5), fleet(64, 12.5, 1.4, spread=0.0)]
    assert said(advise(fleets, "min")) == (64, None, None)


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ((1.0, 0.5, 0.45), (64, 256, "value")),  # the last is better, but within the spread
        ((1.0, 0.5, 0.2), (256, None, None)),
        ((1.0, 1.0, 1.0), (8, 64, "value")),
        ((None, 0.5, 0.45), (64, 256, "value")),
        ((None, None, 0.45), (256, None, None)),
        ((0.5, 1.0, 0.2), (256, None, None)),  # a bad number in between is no end
    ],
)
def test_in_a_time_budget_the_fewest_that_find_the_best(
    values: tuple[float | None, ...], advice: tuple[Any, ...]
) -> None:
    fleets = [fleet(n, 600, v, is_cut=True) for n, v in zip((8, 64, 256), values, strict=True)]
    assert said(advise(fleets, "min")) == advice


def test_nothing_to_compare_is_no_advice() -> None:
    assert advise([fleet(8, 100)], "min") is None
    assert advise([], "min") is None
    cut = [fleet(n, 600, None, is_cut=True) for n in (8, 64)]
    assert advise(cut, "min") is None


fleets = st.builds(
    fleet,
    st.integers(1, 1000),
    st.floats(0, 1e5),
    st.none() | st.floats(-10, 10),
    spread=st.floats(0, 5),
    is_cut=st.booleans(),
)


@given(st.lists(fleets, min_size=2, max_size=5, unique_by=lambda one: one.workers))
def test_the_advice_is_one_of_the_numbers_and_the_next(given: list[FleetPrediction]) -> None:
    advice = advise(given, "max")
    ordered = sorted(given, key=lambda one: one.workers)
    if advice is None:
        assert all(one.value is None for one in given)
        return
    place = ordered.index(advice.chosen)
    assert advice.after == next(iter(ordered[place + 1 :]), None)
    assert (advice.after is None) == (advice.reason is None)

"""Rung levels, brackets and their weights."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytuner.errors import SettingError
from raytuner.halving import bracket_levels, bracket_weights


def rung_levels(grace_period: float, max_t: float, eta: int) -> tuple[float, ...]:
    return bracket_levels(grace_period, max_t, eta)[0]


def divided_out(grace_period: int, max_t: int, eta: int) -> list[int]:
    """An oracle that goes about it the other way: divide each candidate back to grace_period."""

    def is_level(t: int) -> bool:
        while t > grace_period and t % eta == 0:
            t //= eta
        return t == grace_period

    return [t for t in range(grace_period, max_t, grace_period) if is_level(t)]


@given(
    grace_period=st.integers(1, 50),
    max_t=st.integers(1, 10**4),
    eta=st.integers(2, 5),
)
def test_levels_are_the_multiples_that_divide_out(grace_period: int, max_t: int, eta: int) -> None:
    max_t = max(max_t, grace_period)
    assert list(rung_levels(grace_period, max_t, eta)) == divided_out(grace_period, max_t, eta)


@pytest.mark.parametrize("eta", [3, 5])
def test_levels_are_exact_around_every_power_up_to_a_million(eta: int) -> None:
    # Float logarithms miscount: rounded down, as in Ray's ASHA, they lose 3**5; rounded up, they
    # add a level below 5**3.
    power, k = 1, 0
    while power <= 10**6:
        powers = tuple(eta**i for i in range(k))
        assert rung_levels(1, power, eta) == powers  # strictly below max_t
        assert rung_levels(1, power + 1, eta) == (*powers, power)
        power, k = power * eta, k + 1


@pytest.mark.parametrize(
    ("grace_period", "max_t", "eta", "kind"),
    [
        (1, 10.0, 3, int),
        (np.int64(1), np.int32(10), np.int8(3), int),
        (np.float32(1), 10, 3, float),
    ],
)
def test_levels_are_plain_and_of_the_type_of_grace_period(
    grace_period: Any, max_t: Any, eta: Any, kind: type
) -> None:
    levels = rung_levels(grace_period, max_t, eta)
    assert levels == (1, 3, 9)
    assert [type(level) for level in levels] == [kind] * 3


@given(
    grace_period=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    max_t=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    eta=st.integers(2, 5),
)
def test_levels_in_seconds_ascend_below_max_t(grace_period: float, max_t: float, eta: int) -> None:
    if max_t < grace_period:
        grace_period, max_t = max_t, grace_period
    levels = rung_levels(grace_period, max_t, eta)
    assert all(lower < upper for lower, upper in pairwise(levels))
    assert all(level < max_t for level in levels)
    assert levels[:1] == ((grace_period,) if grace_period < max_t else ())


def test_no_rung_when_grace_period_is_max_t() -> None:
    assert rung_levels(10, 10, 3) == ()
    assert bracket_weights(bracket_levels(10, 10, 3), 3) == (1.0,)


def test_each_bracket_leaves_out_one_more_low_rung() -> None:
    brackets = bracket_levels(1, 81, 3, brackets=4)
    assert brackets == ((1, 3, 9, 27), (3, 9, 27), (9, 27), (27,))


def test_all_of_hyperbands_brackets() -> None:
    brackets = bracket_levels(1, 81, 3, brackets=None)
    assert brackets == (*bracket_levels(1, 81, 3, brackets=4), ())
    # Hyperband starts 81, 34, 15, 8 and 5 configurations, rounded up from these.
    started = [5 * 3**s / (s + 1) for s in (4, 3, 2, 1, 0)]
    assert [math.ceil(n) for n in started] == [81, 34, 15, 8, 5]
    assert bracket_weights(brackets, 3) == pytest.approx([n / sum(started) for n in started])
    assert bracket_levels(10, 10, 3, brackets=None) == ((),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grace_period": 0}, "grace_period=0 is not a positive, finite number"),
        ({"grace_period": True}, "grace_period=True is not a positive, finite number"),
        ({"grace_period": "1"}, "grace_period='1' is not a positive, finite number"),
        ({"max_t": math.inf}, "max_t=inf is not a positive, finite number"),
        (
            {"grace_period": 10, "max_t": 5},
            "max_t=5 is below grace_period=10; it must be at least grace_period",
        ),
        (
            {"reduction_factor": 1},
            "reduction_factor=1 is not a whole number (an int) of at least 2",
        ),
        ({"reduction_factor": 3.0}, "reduction_factor=3.0 is not a whole number (an int)"),
        ({"reduction_factor": True}, "reduction_factor=True is not a whole number (an int)"),
        ({"brackets": 0}, "brackets=0 is not a whole number (an int) of at least 1"),
        (
            {"brackets": 6},
            "brackets=6 is too many: with grace_period=1, max_t=100 and reduction_factor=3 "
            "at most 5 can have a rung before max_t",
        ),
        ({"grace_period": 100, "brackets": 2}, "at most 1 can have a rung before max_t"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"grace_period": 1, "max_t": 100, "reduction_factor": 3}
    with pytest.raises(SettingError, match=re.escape(message)):
        bracket_levels(**(good | settings))

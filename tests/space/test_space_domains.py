"""Domains: supports, laws, both ways of the encoder, and what they refuse."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import named

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import (
    LISTABLE_LEVELS,
    Categorical,
    Domain,
    Float,
    Integer,
    Normal,
    Ordinal,
)


class Opaque:
    """An object without an equality of its own."""


OPAQUE = Opaque()

finite = st.floats(-1e6, 1e6)
unit = st.floats(0, 1)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    log = draw(st.booleans())
    step = draw(st.none() | st.floats(1e-3, 10))
    if step is not None:
        first = draw(st.integers(1 if log else -50, 50))
        return Float(first * step, (first + draw(st.integers(0, 60))) * step, log=log, step=step)
    low = draw(st.floats(1e-8, 1e3) if log else finite)
    return Float(low, low + draw(st.floats(0, 1e6)), log=log)


@st.composite
def integers(draw: st.DrawFn) -> Integer:
    log = draw(st.booleans())
    step = draw(st.none() | st.integers(1, 20))
    low = draw(st.integers(1 if log else -(10**9), 10**9))
    size = draw(st.integers(0, 50) | st.integers(0, 10**12))
    return Integer(low, low + size + (step or 0), log=log, step=step)


normals = st.builds(Normal, finite, st.floats(1e-3, 1e3), step=st.none() | st.floats(1e-2, 1e2))
choices = st.lists(
    st.none() | st.text(max_size=3) | st.integers(-9, 9) | st.booleans(), min_size=1, max_size=9
).map(lambda xs: Categorical(list({(type(x), x): x for x in xs}.values())))
ordinals = st.lists(finite, min_size=1, max_size=9, unique=True).map(lambda xs: Ordinal(sorted(xs)))
domains: st.SearchStrategy[Domain] = floats() | integers() | normals | choices | ordinals

EXAMPLES: list[Domain] = [
    Float(-1, 3),
    Float(1e-5, 1e-1, log=True),
    Float(0, 1, step=0.1),
    Float(0.1, 5, log=True, step=0.1),
    Float(0.05, 0.97, step=0.1),
    Float(2, 2),
    Integer(-3, 3),
    Integer(1, 100, log=True),
    Integer(1, 10, step=3),
    Integer(4, 50, log=True, step=4),
    Integer(7, 7),
    Integer(10**15, 10**15 + 5, log=True),
    Normal(3, 2),
    Normal(3, 2, step=0.5),
    Categorical(["a", None, 1, 1.0, True, [1], {"k": (1, 2)}, (1, 2), OPAQUE]),
    Ordinal([8, 4, 2.5]),
    Ordinal(["low", "mid", "high"]),
]


@settings(max_examples=150)
@given(domains, unit)
def test_encoding_what_was_decoded_is_the_snapped_coordinate(domain: Domain, u: float) -> None:
    value = domain.from_unit(u)
    assert domain.contains(value)
    snapped = float(domain.snap(np.array([u]))[0])
    # A range that is narrow for the size of its numbers has few floats to tell u apart.
    coarse = 0.0
    if isinstance(domain, Float) and domain.n_levels is None:
        size = max(abs(domain.low), abs(domain.high))
        width = (
            math.log(domain.high / domain.low) * size if domain.log else domain.high - domain.low
        )
        coarse = 4e-15 * size / width
    if isinstance(domain, Normal):
        coarse = 1e-15 * (abs(domain.mean) / domain.sd)
    assert domain.to_unit(value) == pytest.approx(snapped, abs=1e-12 + coarse)
    assert domain.snap(domain.snap(np.array([u])))[0] == pytest.approx(snapped, abs=1e-12)


@settings(max_examples=150)
@given(domains, unit)
def test_decoding_what_was_encoded_is_the_value(domain: Domain, u: float) -> None:
    if isinstance(domain, Normal):
        u = min(max(u, 3e-7), 1 - 3e-7)  # 5 sd: beyond, digits are lost, as documented
    value = domain.from_unit(u)
    again = domain.from_unit(domain.to_unit(value))
    assert type(again) is type(value)
    if isinstance(value, float):
        size = abs(value) + (domain.sd if isinstance(domain, Normal) else 0)
        if isinstance(domain, Float):
            size = max(abs(domain.low), abs(domain.high), size)
        assert again == pytest.approx(value, rel=1e-9, abs=1e-9 * size)
    else:
        assert again is value or again == value


@pytest.mark.parametrize("domain", [d for d in EXAMPLES if d.n_levels is not None], ids=named)
def test_every_level_comes_back_exactly(domain: Domain) -> None:
    units = domain.level_units()
    assert units.shape == (domain.n_levels,)
    assert (np.diff(units) > 0).all()
    assert ((units > 0) & (units < 1)).all()
    values = domain.from_units(units)
    assert [domain.to_unit(v) for v in values] == units.tolist()
    assert domain.from_units(domain.to_units(values)) == values
    assert domain.snap(units).tolist() == units.tolist()
    assert domain.snap(units.reshape(-1, 1, 1)).shape == (domain.n_levels, 1, 1)


@pytest.mark.parametrize("domain", EXAMPLES, ids=named)
def test_the_ends_of_the_unit_interval_decode(domain: Domain) -> None:
    for u in (0.0, 1.0, -1e-17, 1 + 1e-15):
        value = domain.from_unit(u)
        assert domain.contains(value)
    if domain.n_levels is not None:
        n = domain.n_levels
        assert domain.to_unit(domain.from_unit(0.0)) == domain.level_units()[0]
        assert domain.to_unit(domain.from_unit(1.0)) == domain.level_units()[n - 1]


def test_float_bounds_are_hit_exactly() -> None:
    for low, high in ((0.1, 0.7), (1e-7, 0.3), (3.3, 1e5)):
        for log in (False, True):
            domain = Float(low, high, log=log)
            assert (domain.from_unit(0), domain.from_unit(1)) == (low, high)
            assert (domain.to_unit(low), domain.to_unit(high)) == (0, 1)


def test_integer_levels_are_the_middles_of_equal_bins() -> None:
    np.testing.assert_allclose(Integer(3, 7).level_units(), (np.arange(5) + 0.5) / 5, rtol=1e-15)


def test_log_integer_levels_are_the_middles_of_log_bins() -> None:
    edges = np.log(np.arange(2, 10)) - np.log(2)
    edges /= edges[-1]
    np.testing.assert_allclose(Integer(2, 8, log=True).level_units(), (edges[1:] + edges[:-1]) / 2)


def test_the_ends_of_a_stepped_float_have_half_bins() -> None:
    np.testing.assert_allclose(
        Float(0, 1, step=0.25).level_units(), [1 / 16, 1 / 4, 1 / 2, 3 / 4, 15 / 16]
    )


def test_a_stepped_float_gives_multiples_of_the_step_within_its_bounds() -> None:
    domain = Float(0.05, 0.97, step=0.1)
    assert domain.from_units(domain.level_units()) == [k / 10 for k in range(1, 10)]
    assert Float(0.1, 0.3, step=0.1).n_levels == 3  # 0.3 / 0.1 is just below 3


def test_kinds_and_numbers_of_levels() -> None:
    assert [(d.kind, d.n_levels) for d in EXAMPLES] == [
        ("continuous", None),
        ("continuous", None),
        ("discrete", 11),
        ("discrete", 50),
        ("discrete", 9),
        ("discrete", 1),
        ("discrete", 7),
        ("discrete", 100),
        ("discrete", 3),
        ("discrete", 12),
        ("discrete", 1),
        ("discrete", 6),
        ("continuous", None),
        ("discrete", None),
        ("categorical", 9),
        ("discrete", 3),
        ("discrete", 3),
    ]


@pytest.mark.parametrize("log", [False, True])
def test_a_billion_levels_are_never_listed(log: bool) -> None:
    domain = Integer(1, 10**9, log=log)
    u = np.random.default_rng(0).random(1000)
    snapped = domain.snap(u)
    values = domain.from_units(u)
    np.testing.assert_allclose(domain.to_units(values), snapped, rtol=1e-12)
    assert domain.from_units(snapped) == values
    with pytest.raises(SpaceError, match=rf"1000000000 levels.*{LISTABLE_LEVELS}"):
        domain.level_units()


@pytest.mark.parametrize(
    "domain",
    [
        Integer(-(2**52), 2**52),
        Integer(1, 2**53, log=True),
        Integer(2**62, 2**63, step=2**20),
        Float(-1, 1, step=2.0**-52),
    ],
    ids=named,
)
def test_as_many_levels_as_a_float_counts_exactly_stay_inside(domain: Integer | Float) -> None:
    for u in (0.0, 0.3, 1.0):
        assert domain.low <= domain.from_unit(u) <= domain.high
        nearby = domain.from_units(domain.neighbours(u))
        assert all(domain.low <= value <= domain.high for value in nearby)
        assert domain.from_unit(u) not in nearby


@settings(max_examples=150)
@given(domains, unit)
def test_neighbours_are_the_next_levels(domain: Domain, u: float) -> None:
    if isinstance(domain, Normal):
        u = min(max(u, 3e-7), 1 - 3e-7)
    here = float(domain.snap(np.array([u]))[0])
    nearby = domain.neighbours(here)
    if domain.kind == "continuous":
        assert not len(nearby)
        return
    value, beside = domain.from_unit(here), domain.from_units(nearby)
    if isinstance(domain, Integer | Float | Normal):
        step = domain.step or 1
        # Multiples beyond a bound do not exist; a normal law's levels end where it has no chance.
        expected = [v for v in (value - step, value + step) if domain.contains(v)]
        if not isinstance(domain, Normal):
            assert beside == pytest.approx(expected)
        assert all(any(v == pytest.approx(e, abs=step / 9) for e in expected) for v in beside)
        assert beside or not expected or isinstance(domain, Normal)
    elif domain.n_levels is not None and domain.n_levels <= LISTABLE_LEVELS:
        levels = domain.level_units().tolist()
        place = levels.index(here)
        assert nearby.tolist() == [*levels[:place][-1:], *levels[place + 1 : place + 2]]


@settings(max_examples=150)
@given(
    st.integers(-50, 50),
    st.integers(1, 60),
    st.integers(1, 5000),
    st.integers(0, 6),
    st.booleans(),
    unit,
)
def test_a_quantised_value_is_the_multiple_that_python_writes(
    first: int, n: int, digits: int, places: int, log: bool, u: float
) -> None:
    step = Decimal(digits).scaleb(-places)
    if log:
        first = abs(first) + 1
    low, high = float(first * step), float((first + n) * step)
    domain = Float(low, high, log=log, step=float(step))
    multiples = [float(k * step) for k in range(first, first + n + 1)]
    assert domain.from_units(domain.level_units()) == multiples
    assert domain.from_unit(u) in multiples
    normal = Normal(low, 3 * float(step), step=float(step)).from_unit(u)
    assert normal == float(round(normal / float(step)) * step)
    # Ray draws 3 * 0.1; it is the same level, and becomes 0.3.
    rays = [k * float(step) for k in range(first, first + n + 1)]
    assert [domain.cast(value) for value in rays] == multiples
    assert domain.from_units(domain.to_units(rays)) == multiples
    # As ray.tune.search.sample.Quantized.sample rounds a draw.
    drawn = np.round(np.random.default_rng(n).uniform(low, high, 9) / float(step)) * float(step)
    assert all(domain.contains(v) and low <= domain.cast(v) <= high for v in drawn.tolist())


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.1 + 0.2, math.nextafter(0.6, 0)), (0.3, 0.6), (math.nextafter(0.3, 0), 0.1 * 6)],
)
def test_a_bound_that_is_nearly_a_multiple_is_kept(low: float, high: float) -> None:
    values = (domain := Float(low, high, step=0.1)).from_units(domain.level_units())
    assert values == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert all(low <= value <= high for value in values)


@pytest.mark.parametrize("domain", [Float(0, 1), Normal(), Normal(step=1e-9)], ids=named)
def test_levels_without_end_are_never_listed(domain: Domain) -> None:
    with pytest.raises(SpaceError, match="infinitely many levels"):
        domain.level_units()


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Float(0, 1), 1),
        (Float(0, 1), np.float32(0.5)),
        (Float(1e-4, 1e-1, log=True), math.exp(math.log(1e-4))),
        (Float(1e-4, 1e-1, log=True), math.exp(math.log(1e-1)) * (1 + 1e-15)),
        (Float(0, 1, step=0.1), 0.30000000000000004),
        (Float(0, 0.3, step=0.1), 3 * 0.1),
        (Integer(1, 3), 2.0),
        (Normal(), 1e9),
        (Normal(step=0.5), -2.5),
        (Categorical(["a", 1]), np.str_("a")),
        (Categorical(["a", 1]), 1.0),
        (Categorical(["a", (1, 2)]), [1, 2]),
        (Categorical(["a", np.arange(3)]), np.arange(3)),
    ],
    ids=named,
)
def test_contained(domain: Domain, value: Any) -> None:
    assert domain.contains(value)
    assert 0 <= domain.to_unit(value) <= 1


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Float(0, 1), 1.001),
        (Float(0, 1), "0.5"),
        (Float(0, 1), True),
        (Float(0, 1), math.nan),
        (Float(0, 1, step=0.1), 0.25),
        (Float(0, 1, step=0.1), 1.1),
        (Float(0.05, 1, step=0.1), 0.05),
        (Integer(1, 3), 4),
        (Integer(1, 3), 2.5),
        (Integer(1, 3), "2"),
        (Integer(1, 3), math.inf),
        (Integer(1, 9, step=3), 4),
        (Normal(), math.inf),
        (Normal(), False),
        (Normal(step=0.5), 0.3),
        (Normal(step=1e-6), 1e308),
        (Categorical(["a", 1]), True),
        (Categorical(["a", True]), 1),
        (Categorical(["a", np.arange(3)]), np.arange(4)),
        (Ordinal([1, 2, 4]), 3),
    ],
    ids=named,
)
def test_not_contained(domain: Domain, value: Any) -> None:
    assert not domain.contains(value)
    with pytest.raises(ConfigError, match="expected") as caught:
        domain.to_unit(value)
    assert repr(value) in str(caught.value)
    assert domain.describe() in str(caught.value)


def test_choices_are_told_apart_by_type_first() -> None:
    domain = Categorical([1, 1.0, True, "1", (1,), [1], [1.0], [True]])
    for i, value in enumerate(domain.values):
        again = domain.from_unit(domain.to_unit(value))
        assert again is domain.values[i]


def test_a_generator_or_an_array_of_choices_works() -> None:
    assert Categorical(c for c in "ab").values == ("a", "b")  # type: ignore[arg-type]
    assert Ordinal(range(3)).values == (0, 1, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(3, 1), "low=3.0, high=1.0.*low must not be above high"),
        (lambda: Float(0, 1, log=True), "low must be above 0, received 0.0"),
        (lambda: Float(0, math.inf), "Float: high must be a finite number, received inf"),
        (lambda: Float(0, 10**400), "Float: high must be a finite number"),
        (lambda: Float(True, 2), "Float: low must be a finite number, received True"),
        (lambda: Float("1", 2), "Float: low must be a finite number, received '1'"),  # type: ignore[arg-type]
        (lambda: Float(None, 2), "Float: low must be a finite number, received None"),  # type: ignore[arg-type]
        (lambda: Float(0, 1, log="yes"), "log must be True or False, received 'yes'"),  # type: ignore[arg-type]
        (lambda: Float(0, 1, step=0), "step must be above 0, received 0"),
        (lambda: Float(0.1, 0.2, step=0.5), "no multiple of step=0.5 .* nearest are 0.0 and 0.5"),
        (lambda: Float(0, 1, step=1e-30), "values are too many"),
        (lambda: Integer(0, 5, log=True), "low must be above 0, received 0"),
        (lambda: Integer(1.5, 5), "Integer: low must be a whole number, received 1.5"),
        (lambda: Integer(1, True), "Integer: high must be a finite number, received True"),
        (lambda: Integer(0, 2**63), "9,223,372,036,854,775,809 values.*narrower range"),
        (lambda: Integer(0, 9, step=1.5), "Integer: step must be a whole number, received 1.5"),
        (lambda: Normal(0, 0), "sd must be above 0, received 0.0"),
        (lambda: Normal(math.inf), "Normal: mean must be a finite number, received inf"),
        (lambda: Normal(step=-1), "step must be above 0, received -1.0"),
        (
            lambda: Categorical([]),
            r"Categorical needs a list of one or more values, received \[\]",
        ),
        (
            lambda: Categorical("abc"),
            "Categorical needs a list of one or more values, received 'abc'",
        ),
        (lambda: Categorical(3), "Categorical needs a list of one or more values, received 3"),  # type: ignore[arg-type]
        (lambda: Categorical([1, "a", 1]), "1 is listed twice"),
        (lambda: Categorical([[1], [2], [2]]), r"\[2\] is listed twice"),
        (lambda: Categorical(["a", Float(0, 1)]), "a key of its own, with a condition"),
        (lambda: Ordinal([1, 3, 2]), "strictly increasing or decreasing"),
        (lambda: Ordinal([1, 2, 2]), "2 is listed twice"),
    ],
)
def test_refused(make: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        make()


def test_many_choices_are_quick_to_index() -> None:
    # A comparison of each with each would run into the timeout.
    domain = Ordinal(range(20_000))
    assert domain.to_unit(19_999) == pytest.approx(1 - 0.5 / 20_000)

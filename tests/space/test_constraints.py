"""Constraints over several hyperparameters."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import Categorical, Float, Integer, Ordinal, Space, differences, hull, when
from raytuner.space.constraints import constraint

TEMPLATE: dict[str, Any] = {
    "a": Float(0, 1),
    "n": Integer(1, 8),
    "net": {"units": Ordinal([16, 64, 256]), "act": Categorical(["relu", "tanh"])},
    "momentum": when(Float(0, 1), **{"net/act": "relu"}),
    "epochs": 3,
}

quick = settings(max_examples=60)


def holds(rule: str, **values: Any) -> bool:
    return constraint(rule, values).holds({}, values)


# An arithmetic expression over x, y and z.
sums = st.recursive(
    st.sampled_from(["x", "y", "z", "2", "0.5"]),
    lambda inner: st.builds(
        str.format,
        st.sampled_from(["({} + {})", "({} - {})", "{} * {}", "max({}, {})", "-{}"]),
        inner,
        inner,
    ),
    max_leaves=6,
)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """A constraint over x, y and z."""
    ops = st.sampled_from(["<", "<=", ">", ">=", "=="])
    parts = [f"{draw(sums)} {draw(ops)} x + {draw(sums)}" for _ in range(draw(st.integers(1, 3)))]
    joined = draw(st.sampled_from([" and ", " or "])).join(parts)
    return f"not ({joined})" if draw(st.booleans()) else joined


@quick
@given(rules(), st.tuples(*[st.integers(-4, 4)] * 3))
def test_a_string_says_what_it_says_in_python(rule: str, point: tuple[int, int, int]) -> None:
    values = dict(zip("xyz", point, strict=True))
    expected = eval(rule, {"max": max}, dict(values))
    assert constraint(rule, "xyz").holds({}, values) is expected


@settings(max_examples=20)  # of five sets of constraints, 16 points each
@given(
    st.sampled_from(
        [
            ["a * 10 + n <= 9"],
            ["n * net/units <= 256", "a <= n / 8"],
            ["momentum + a <= 0.5", "net/act != 'tanh' or n < 4"],
            [lambda config: config["a"] * config["n"] < config["epochs"]],
            ["3 <= n <= 4 and net/units == 64", "a < 0.01"],
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_what_is_drawn_keeps_them_and_what_breaks_them_is_refused(
    constraints: list[Any], seed: int
) -> None:
    space, free = Space(TEMPLATE, constraints), Space(TEMPLATE)
    rng = np.random.default_rng(seed)
    configs = space.sample(rng, 16)
    assert len(configs) == 16
    for config in configs:
        space.validate(config)
    X = rng.random((16, space.dim))
    allowed = space.allowed(X)
    assert np.array_equal(space.allowed(space.snap(X)), allowed)
    for config, is_allowed in zip(free.decode(X), allowed, strict=True):
        if is_allowed:
            space.validate(config)
        else:
            with pytest.raises(ConfigError, match="which violates the constraint"):
                space.validate(config)
    start = space.encode(configs)
    pulled = space.pulled_back(start, X)
    assert space.allowed(pulled).all()
    assert np.array_equal(pulled[allowed], X[allowed])


def test_a_point_is_pulled_back_to_the_border() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)}, ["x + y <= 1"])
    pulled = space.pulled_back(np.array([[0.0, 0.0]]), np.array([[1.0, 0.8]]))
    assert pulled.sum() == pytest.approx(1.0, abs=1e-3)
    assert pulled.sum() <= 1.0


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("a + b <= 0.3", {"a": 0.1, "b": 0.2}, True),  # 0.30000000000000004
        ("a + b < 0.3", {"a": 0.1, "b": 0.2}, False),
        ("a + b == 0.3", {"a": 0.1, "b": 0.2}, True),
        ("a + b > 0.3", {"a": 0.1, "b": 0.2}, False),
        ("1 / a <= 3", {"a": 0.0}, False),
        ("a ** 0.5 >= 0", {"a": -1.0}, False),
        ("9 ** 9 ** 9 ** a > 0", {"a": 9.0}, False),
        ("1 / a <= 3 or a == 0", {"a": 0.0}, False),
        ("a == 0 or 1 / a <= 3", {"a": 0.0}, True),
        ("abs(a) <= 1 < max(a, 2)", {"a": -1}, True),
    ],
)
def test_numbers(rule: str, values: dict[str, float], expected: bool) -> None:
    assert holds(rule, **values) is expected


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        ("b <= 1", r"names 'b', which is unknown; known names: a, n, net/units"),
        ("a", "is not a comparison"),
        ("a <", "cannot be parsed: invalid syntax"),
        ("a <= 'x'", "raised TypeError: '<=' not supported between"),
        ("net/act < 3", "net/act < 3 raised TypeError"),
        ("a and n < 2", "a is not a comparison"),
        ("__import__('os').remove('x') < 3", "it may contain names, numbers"),
        ("a in (1, 2)", "it may contain names, numbers"),
        ("pow(a, 2) < 1", "it may contain names, numbers"),
        ("abs(a, n) < 1", "abs.. takes exactly one argument"),
        (7, "a constraint is a string such as"),
    ],
)
def test_what_cannot_be_read_is_named(rule: Any, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        Space(TEMPLATE, [rule])


def test_constraints_are_a_list() -> None:
    with pytest.raises(SpaceError, match="must be a list of strings and functions"):
        Space(TEMPLATE, "a <= 1")
    with pytest.raises(SpaceError, match="must be a list of strings and functions"):
        Space(TEMPLATE).constrained("a <= 1")


def test_a_name_with_a_slash_is_a_name_and_with_spaces_a_quotient() -> None:
    space = Space(
        {"net": {"a": Float(0, 1), "b-c": Float(0, 1)}, "list": [Float(0, 1)], "a": Float(1, 2)},
        ["2 * net/a <= net/b-c / a", "list/0 != 0.25"],
    )
    assert space.constraints[0].names == ("net/a", "net/b-c", "a")
    config = {"net": {"a": 0.2, "b-c": 0.8}, "list": [0.5], "a": 2.0}
    space.validate(config)
    with pytest.raises(
        ConfigError, match=r"received net/a=0.25, net/b-c=0.8, a=2.0, which violates"
    ):
        space.validate({**config, "net": {"a": 0.25, "b-c": 0.8}})
    with pytest.raises(ConfigError, match=r"list/0 != 0.25"):
        space.validate({**config, "list": [0.25]})


def test_where_a_hyperparameter_does_not_exist_a_string_holds() -> None:
    space = Space(TEMPLATE, ["momentum <= 0.1"])
    base = {"a": 0.5, "n": 1, "net": {"units": 16, "act": "tanh"}}
    space.validate(base)
    there = {**base, "net": {"units": 16, "act": "relu"}}
    space.validate({**there, "momentum": 0.1})
    with pytest.raises(
        ConfigError, match=r"received momentum=0.2, which violates .* momentum <= 0.1"
    ):
        space.validate({**there, "momentum": 0.2})


def test_a_function_sees_the_full_configuration() -> None:
    seen: list[Any] = []

    def rule(config: dict[str, Any]) -> bool:
        seen.append(config)
        return config["epochs"] == 3 and config["net"]["units"] < 256

    space = Space(TEMPLATE, [rule])
    config = {"a": 0.5, "n": 1, "net": {"units": 16, "act": "tanh"}}
    space.validate(config)
    assert seen[-1] == {**config, "epochs": 3}
    with pytest.raises(ConfigError, match=r"violates the constraint .*rule"):
        space.validate({**config, "net": {"units": 256, "act": "tanh"}})


def test_a_function_that_raises_is_named() -> None:
    with pytest.raises(SpaceError, match=r"the constraint .* raised KeyError: 'b'"):
        Space(TEMPLATE, [lambda config: config["b"] < 1])


@pytest.mark.parametrize("template", [{"a": Integer(0, 9)}, {"a": Float(0, 1)}])
def test_what_nothing_keeps_is_an_error(template: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match=r"none of .* satisfies the constraint a < 0"):
        Space(template, ["a < 0"])


def test_finite_spaces_count_what_is_allowed() -> None:
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)}, ["a + b <= 2"])
    assert space.cardinality == len(space.listed()) == 6
    tiny = Space({"a": Integer(0, 99), "b": Integer(0, 99)}, ["a + b == 198"])
    assert tiny.cardinality == 1
    assert tiny.sample(np.random.default_rng(0), 2) == [{"a": 99, "b": 99}] * 2
    conditional = Space({"a": Integer(0, 2), "b": when(Integer(0, 9), a=1)}, ["b < 4"])
    assert conditional.cardinality == 2 + 4


def test_draws_keep_the_law_and_little_that_is_allowed_is_found() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)}, ["x + y <= 1"])
    xs = [config["x"] for config in space.sample(np.random.default_rng(0), 4000)]
    assert np.mean(xs) == pytest.approx(1 / 3, abs=0.02)
    corner = Space({f"x{i}": Float(0, 1) for i in range(3)}, ["x0 + x1 + x2 <= 0.1"])
    X = corner.draw(np.random.default_rng(0), 50, most=2000)
    assert X.shape == (50, 3)
    assert corner.allowed(X).all()
    assert len(np.unique(X, axis=0)) == 50


def test_specs_hold_strings_and_name_functions() -> None:
    space = Space({"type": "kept", "a": Float(0, 1)}, ["a <= 0.5"])
    spec = json.loads(json.dumps(space.to_spec()))
    again = Space.from_spec(spec)
    assert again.constraints == space.constraints
    assert again.template == space.template
    function = Space({"a": Float(0, 1)}, [lambda config: True])
    with pytest.raises(SpaceError, match=r"constraints: <function .* is a Python object"):
        Space.from_spec(function.to_spec())
    for wrong in ({"type": "space"}, {"type": "space", "of": {}, "rules": []}):
        with pytest.raises(SpaceError, match="the space"):
            Space.from_spec(wrong)


def test_a_space_goes_through_pickle() -> None:
    space = pickle.loads(pickle.dumps(Space(TEMPLATE, ["a <= 0.5", "n * net/units < 99"])))
    X = np.random.default_rng(0).random((50, space.dim))
    assert np.array_equal(space.allowed(X), Space(TEMPLATE, space.constraints).allowed(X))


def test_more_constraints_and_the_same_once_more() -> None:
    space = Space({"a": Float(0, 1)}, ["a <= 0.5"])
    assert space.constrained([]) is space
    assert space.constrained(["a <= 0.5"]) is space
    assert [c.name for c in space.constrained(["a > 0.1"]).constraints] == ["a <= 0.5", "a > 0.1"]
    assert repr(space).endswith("constraints=['a <= 0.5'])")


def test_a_wider_space_keeps_what_both_keep() -> None:
    first = Space({"a": Float(0, 1)}, ["a <= 0.5", "a > 0.1"])
    second = Space({"a": Float(0, 2)}, ["a > 0.1", "a != 1"])
    both = hull(first, second)
    assert [c.name for c in both.constraints] == ["a > 0.1"]
    assert differences(first, second)[1:] == [
        "constraint a <= 0.5: kept, now none",
        "constraint a != 1: none, now kept",
    ]
    assert differences(first, first) == []
    assert math.isinf(both.cardinality)


@pytest.mark.parametrize(
    ("rules", "names"),
    [(["x > 2"], "satisfies the constraint x > 2;"), (["x > 2", "x < 3"], "satisfies all const")],
)
def test_what_nothing_keeps_is_named(rules: list[str], names: str) -> None:
    with pytest.raises(SpaceError, match=names):
        Space({"x": Float(0, 1)}, rules).sample(np.random.default_rng(0), 1)

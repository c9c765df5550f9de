"""Hyperparameters that exist only under conditions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raytuner
from raytuner.errors import ConfigError, SpaceError
from raytuner.space import ABSENT, Categorical, Float, Integer, Ordinal, Space, When, hull, when

NESTED: dict[str, Any] = {
    "momentum": when(Float(0, 1), optimizer="sgd"),  # before what it depends on
    "optimizer": Categorical(["sgd", "adam", "none"]),
    "adam": when(
        {"betas": [Float(0, 1), 0.999], "warm": Integer(0, 3), "eps": when(Float(0, 1), warm=[2])},
        optimizer=["adam"],
    ),
    "seed": when(7, optimizer={"sgd", "adam"}),
    "net": {"layers": Integer(1, 4), "second": when(Integer(8, 64), layers=[2, 3, 4])},
}


quick = settings(max_examples=40)


@st.composite
def templates(draw: st.DrawFn) -> dict[str, Any]:
    """Chains and trees of conditions: each key depends on up to two before it."""
    template: dict[str, Any] = {"k0": Integer(0, 2)}
    for i in range(1, draw(st.integers(2, 6))):
        domain = draw(
            st.sampled_from(
                [Integer(0, 3), Categorical(["a", "b", "c"]), Float(0, 1), Categorical([1, "b"])]
            )
        )
        parents = [k for k, v in template.items() if not isinstance(_domain(v), Float)]
        chosen = draw(st.lists(st.sampled_from(parents), max_size=2, unique=True))
        conditions = {}
        for parent in chosen:
            levels = _domain(template[parent]).from_units(_domain(template[parent]).level_units())
            conditions[parent] = draw(
                st.lists(st.sampled_from(levels), min_size=1, max_size=2, unique=True)
            )
        template[f"k{i}"] = when(domain, **conditions) if conditions else domain
    return template


def _domain(node: Any) -> Any:
    return node.node if isinstance(node, When) else node


def _expected(template: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether exactly those keys are there whose conditions hold, read off the configuration."""
    return all(
        (key in config)
        == all(
            name in config and config[name] in values
            for name, values in (node.conditions if isinstance(node, When) else ())
        )
        for key, node in template.items()
    )


@quick
@given(templates(), st.integers(0, 2**32 - 1))
def test_exactly_what_the_conditions_allow_is_there(template: dict[str, Any], seed: int) -> None:
    space = Space(template)
    for config in space.sample(np.random.default_rng(seed), 8):
        assert _expected(template, config)
        space.validate(config)


@quick
@given(templates(), st.integers(0, 2**32 - 1))
def test_both_ways(template: dict[str, Any], seed: int) -> None:
    space = Space(template)
    X = np.random.default_rng(seed).random((8, space.dim))
    configs = space.decode(X)
    snapped = space.snap(X)
    assert np.allclose(space.encode(configs), snapped, atol=1e-9)
    assert np.array_equal(space.snap(snapped), snapped)
    assert np.array_equal(space.active(snapped), space.active(X))
    assert (snapped[~space.active(X)] == ABSENT).all()
    for config in configs:
        data = json.loads(json.dumps(space.dump(config)))
        assert space.dump(space.load(data)) == data
        assert space.load(data).keys() == config.keys()


@quick
@given(templates())
def test_a_spec_says_it_all(template: dict[str, Any]) -> None:
    space = Space(template)
    again = Space.from_spec(json.loads(json.dumps(space.to_spec())))
    assert again.columns == space.columns


def test_groups_constants_and_what_is_nested() -> None:
    space = Space(NESTED)
    assert Space.from_spec(json.loads(json.dumps(space.to_spec()))).columns == space.columns
    configs = space.sample(np.random.default_rng(0), 200)
    for config in configs:
        optimizer = config["optimizer"]
        assert ("momentum" in config) == (optimizer == "sgd")
        assert ("adam" in config) == (optimizer == "adam")
        assert ("seed" in config) == (optimizer != "none")
        if "adam" in config:
            assert ("eps" in config["adam"]) == (config["adam"]["warm"] == 2)
        assert ("second" in config["net"]) == (config["net"]["layers"] >= 2)
    assert {len(config) for config in configs} == {2, 4}


def test_finite_spaces_are_counted() -> None:
    space = Space(
        {"a": Integer(0, 2), "b": when(Integer(0, 9), a=1), "c": when(Integer(0, 1), a=2)}
    )
    assert space.cardinality == 1 + 10 + 2


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"optimizer": "none", "momentum": 0.5}, r"momentum: received 0.5, .* optimizer is 'sgd'"),
        ({"optimizer": "adam"}, "adam/betas/0: missing"),
        ({"optimizer": "none", "adam": {"warm": 1}}, "adam/betas: missing"),
    ],
)
def test_configurations_that_do_not_fit(config: dict[str, Any], match: str) -> None:
    space = Space(NESTED)
    with pytest.raises(ConfigError, match=match):
        space.validate({"net": {"layers": 1}, **config})


def test_what_is_missing_is_named_by_encode_and_load_too() -> None:
    space = Space({"a": Integer(0, 2), "b": when(Float(0, 1), a=1)})
    with pytest.raises(ConfigError, match="b: missing"):
        space.encode([{"a": 1}])
    with pytest.raises(ConfigError, match="b: missing"):
        space.load({"a": 1})
    assert space.load({"a": 2}) == {"a": 2}


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ({"a": Float(0, 1), "b": when(Float(0, 1), a=1)}, "a, which is a number from"),
        (
            {"a": when(Integer(0, 3), b=1), "b": when(Integer(0, 3), a=1)},
            "depend on each other: a needs b needs a",
        ),
        ({"opt": Integer(0, 3), "b": when(Float(0, 1), opy=1)}, "did you mean 'opt'"),
        ({"a": Integer(0, 3), "b": when(Float(0, 1), a=4)}, "a being 4, which never happens"),
        ({"a": Integer(0, 3), "b": [when(Float(0, 1), a=3)]}, "b/0: an item of a list cannot have"),
    ],
)
def test_conditions_that_cannot_be(template: dict[str, Any], match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        Space(template)


def test_a_condition_says_something() -> None:
    with pytest.raises(SpaceError, match="needs at least one condition"):
        when(Float(0, 1))
    with pytest.raises(SpaceError, match="a name with a value"):
        when(Float(0, 1), a=[])


def test_a_condition_on_a_constant_holds_always_or_never() -> None:
    space = Space({"opt": "sgd", "m": when(Float(0, 1), opt=["sgd", "adam"])})
    assert space.decode(np.array([[0.5]])) == [{"opt": "sgd", "m": 0.5}]
    with pytest.raises(
        SpaceError, match="opt being 'adam', which never happens: opt is one of 'sgd'"
    ):
        Space({"opt": Categorical(["sgd"]), "m": when(Float(0, 1), opt="adam")})


def test_a_wider_space_keeps_its_conditions() -> None:
    def space(high: float, allowed: Any = 1) -> Space:
        return Space({"a": Integer(0, 2), "b": when(Float(0, high), a=allowed)})

    assert hull(space(1.0), space(2.0)).columns == space(2.0).columns
    with pytest.raises(SpaceError, match="b: its conditions differ"):
        hull(space(1.0), space(1.0, 2))


def test_the_forms_for_a_tuner_are_understood() -> None:
    space = Space(
        {
            "opt": Categorical(["sgd", "adam"]),
            "m": raytuner.when(Float(0, 1), opt="sgd"),
            "n": raytuner.fidelity(Categorical([8, 16])),
        }
    )
    assert space.decode(np.full((1, 3), 0.9)) == [{"opt": "adam", "n": 16}]
    assert space.columns[2].domain == Ordinal([8, 16])


def test_conditions_add_up() -> None:
    twice = when(when(Float(0, 1), a=1), b=[2, 3])
    assert twice.conditions == (("a", (1,)), ("b", (2, 3)))


def test_specs_that_are_wrong() -> None:
    spec = {"a": {"type": "int", "low": 0, "high": 3}}
    wrongs: list[Any] = ["a", {}, {"a": []}]
    for wrong in wrongs:
        with pytest.raises(SpaceError, match=r"^b: "):
            Space.from_spec({**spec, "b": {"type": "float", "low": 0, "high": 1, "when": wrong}})

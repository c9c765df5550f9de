"""Hyperparameters that are fidelities: what they may be, and that the mark stays."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import numpy as np
import pytest
from ray import tune

import raytuner
from raytuner.errors import SpaceError
from raytuner.search.tune_space import space_from_tune
from raytuner.space import (
    Categorical,
    Fidelity,
    Float,
    Integer,
    Normal,
    Ordinal,
    Space,
    differences,
    hull,
    when,
)

SPACE = Space(
    {
        "lr": Float(1e-4, 1, log=True),
        "width": Fidelity(Integer(16, 256, log=True)),
        "data": {"share": Fidelity(Float(0.1, 1.0))},
        "size": Fidelity(Ordinal(["small", "large"])),
    }
)


def test_full_is_the_upper_end_or_the_last() -> None:
    assert [SPACE.columns[j].name for j in SPACE.fidelities] == ["width", "data/share", "size"]
    full = SPACE.in_full(np.full((2, SPACE.dim), 0.3))
    for config in SPACE.decode(full):
        assert (config["width"], config["data"]["share"], config["size"]) == (256, 1.0, "large")
    np.testing.assert_array_equal(full[:, 0], 0.3)
    np.testing.assert_array_equal(SPACE.is_full(full), [True, True])
    for j in SPACE.fidelities:
        cheap = full.copy()
        cheap[0, j] = 0.2
        np.testing.assert_array_equal(SPACE.is_full(cheap), [False, True])


def test_every_configuration_is_full_without_a_fidelity() -> None:
    space = Space({"x": Float(0, 1)})
    X = np.array([[0.2], [1.0]])
    assert space.in_full(X) is X
    np.testing.assert_array_equal(space.is_full(X), [True, True])


@pytest.mark.parametrize("values", [[8, 16], [4, 2, 1]])
def test_choices_of_numbers_go_from_cheap_to_dear_as_they_are_written(values: list[Any]) -> None:
    space = space_from_tune(
        {"x": tune.uniform(0, 1), "part": raytuner.fidelity(tune.choice(values))}
    )
    assert space.columns[1].domain == Ordinal(values)
    assert space.decode(space.in_full(np.zeros((1, 2))))[0]["part"] == values[-1]


def test_it_comes_through_the_tuner_and_has_tunes_law() -> None:
    space = space_from_tune(
        {"x": tune.uniform(0, 1), "net": {"width": raytuner.fidelity(tune.randint(16, 257))}}
    )
    assert space.columns[1].domain == Integer(16, 256)
    assert space.columns[1].is_fidelity
    with pytest.raises(SpaceError, match="random search does not support fidelities"):
        raytuner.fidelity(tune.randint(16, 257)).sample()


def test_the_mark_goes_through_json_and_toml() -> None:
    spec = json.loads(json.dumps(SPACE.to_spec()))
    assert spec["width"]["fidelity"] is True
    again = Space.from_spec(spec)
    assert again.columns == SPACE.columns
    assert again.fidelities == SPACE.fidelities
    config = SPACE.decode(np.full((1, SPACE.dim), 0.6))[0]
    assert again.load(SPACE.dump(config)) == config
    read = Space.from_spec(
        tomllib.loads(
            'lr = { type = "float", low = 0, high = 1 }\n'
            'n = { type = "int", low = 1, high = 4, fidelity = true }\n'
            'm = { type = "int", low = 1, high = 4, fidelity = false }\n'
        )
    )
    assert [column.is_fidelity for column in read.columns] == [False, True, False]


def test_configurations_are_checked_as_without_the_mark() -> None:
    config = {"lr": 0.1, "width": 64, "data": {"share": 0.5}, "size": "small"}
    SPACE.validate(config)
    with pytest.raises(raytuner.errors.ConfigError, match="width"):
        SPACE.validate({**config, "width": 512})


def test_spaces_that_grow_keep_the_mark() -> None:
    wider = Space({"x": Float(0, 2), "n": Fidelity(Integer(1, 8))})
    space = Space({"x": Float(0, 1), "n": Fidelity(Integer(1, 4))})
    assert hull(space, wider).columns == wider.columns
    assert len(differences(space, wider)) == 2
    with pytest.raises(SpaceError, match="n: it is a fidelity in one of the two spaces only"):
        hull(space, Space({"x": Float(0, 1), "n": Integer(1, 4)}))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            {"x": Float(0, 1), "size": Fidelity(Categorical(["small", "large"]))},
            r"size: received .*'small', 'large'.* numbers that increase or decrease, or .*Ordinal",
        ),
        (
            {"x": Float(0, 1), "n": Fidelity(Categorical([2, 8, 4]))},
            "n: .* numbers that increase or decrease",
        ),
        (
            {"x": Float(0, 1), "n": Fidelity(Normal())},
            "n: .*Normal.* expected values from cheap to expensive",
        ),
        ({"x": Float(0, 1), "n": Fidelity(3)}, r"n: received fidelity\(3\), expected"),
        (
            {"n": Fidelity(Float(0, 1)), "m": Fidelity(Integer(1, 2))},
            r"only fidelities vary \(n, m\)",
        ),
        (
            {"o": Categorical(["a", "b"]), "n": when(Fidelity(Float(0, 1)), o="a")},
            "n: a fidelity must exist in every configuration",
        ),
        (
            {"o": Categorical(["a", "b"]), "g": when({"n": Fidelity(Float(0, 1))}, o="a")},
            "g/n: a fidelity must exist in every configuration",
        ),
    ],
)
def test_what_cannot_be_a_fidelity(template: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Space(template)


def test_constraints_must_leave_something_at_full_fidelity() -> None:
    template = {"n": Integer(1, 8), "width": Fidelity(Integer(1, 8))}
    assert Space(template, ["n * width <= 8"]).is_full(np.array([[0.0, 1.0]])).all()
    with pytest.raises(SpaceError, match=r"none of .* at full fidelity \(width\) satisfies"):
        Space(template, ["n * width <= 7"])


def test_a_fidelity_with_one_value_is_a_constant() -> None:
    space = Space({"x": Float(0, 1), "n": Fidelity(Integer(4, 4))})
    assert space.fidelities == ()
    assert space.decode(np.zeros((1, 1))) == [{"x": 0.0, "n": 4}]

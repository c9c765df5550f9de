"""Specs: the format, both ways through JSON and TOML text, and what is refused."""

from __future__ import annotations

import json
import math
import tomllib
from typing import Any

import numpy as np
import pytest

from raytuner.errors import SpaceError
from raytuner.space import Categorical, Float, Integer, Normal, Ordinal, Space


def toml_value(value: Any) -> str:
    """A spec's value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)


def through_json(spec: dict[str, Any]) -> Any:
    return json.loads(json.dumps(spec, allow_nan=False))


def through_toml(spec: dict[str, Any]) -> Any:
    return tomllib.loads("\n".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in spec.items()))


TEMPLATE: dict[str, Any] = {
    "lr": Float(1e-4, 0.1, log=True),
    "drop": Float(0, 1, step=0.1),
    "layers": Integer(1, 8),
    "units": Integer(4, 64, log=True, step=4),
    "shift": Normal(1.5, 2),
    "jump": Normal(0, 2, step=0.5),
    "opt": Categorical(["sgd", "adam", 1, 1.0, True]),
    "odd": Categorical([None, (1, 2), [1, 2], {"a": [1]}, {"type": "float"}, b"x", {3}, math.inf]),
    "batch": Ordinal([32, 64, 256]),
    "words": Ordinal(["low", "high"]),
    "group": {"type": "mlp", "inner": {"p": Float(0, 1)}, "type_": 3},
    "list": [Float(0, 1), 2, [Integer(1, 2)], "x"],
    "betas": (0.9, Float(0.9, 0.999)),
    "same": Float(2, 2),
    "none": None,
    "nan": math.nan,
    "numpy": np.float64(0.1),
    "empty": {},
    "keyed": {1: "a", (2, "b"): Integer(0, 1)},
    "quote": 'it\'s "quoted"\n',
}


@pytest.mark.parametrize("through", [through_json, through_toml])
def test_both_ways(through: Any) -> None:
    space = Space(TEMPLATE)
    again = Space.from_spec(through(space.to_spec()))
    assert repr(again) == repr(space).replace("np.float64(0.1)", "0.1")
    assert [c.name for c in again.columns] == [c.name for c in space.columns]
    X = np.random.default_rng(0).random((20, space.dim))
    assert repr(again.decode(X)) == repr(space.decode(X)).replace("np.float64(0.1)", "0.1")
    assert again.to_spec() == space.to_spec()


def test_the_format() -> None:
    assert Space(
        {
            "lr": Float(1e-4, 0.1, log=True),
            "n": Integer(1, 9, step=2),
            "net": {"act": Categorical(["relu", None]), "type": "mlp"},
            "epochs": 3,
        }
    ).to_spec() == {
        "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "n": {"type": "int", "low": 1, "high": 9, "step": 2},
        "net": {
            "act": {"type": "choice", "values": ["relu", {"type": "literal", "value": "None"}]},
            "type": {"type": "constant", "value": "mlp"},
        },
        "epochs": 3,
    }


def test_a_file_as_a_person_writes_it() -> None:
    text = """
    epochs = 10
    lr = { type = "float", low = 1e-4, high = 1, log = true }
    [model]
    layers = { type = "int", low = 1, high = 8 }
    noise = { type = "normal" }
    [model.act]
    type = "choice"
    values = ["relu", { name = "leaky", slope = 0.1 }]
    [model.batch]
    type = "ordinal"
    values = [32, 64, 256]
    [loss]
    type = { type = "constant", value = "huber" }
    """
    space = Space.from_spec(tomllib.loads(text))
    assert repr(space) == repr(
        Space(
            {
                "epochs": 10,
                "lr": Float(1e-4, 1, log=True),
                "model": {
                    "layers": Integer(1, 8),
                    "noise": Normal(),
                    "act": Categorical(["relu", {"name": "leaky", "slope": 0.1}]),
                    "batch": Ordinal([32, 64, 256]),
                },
                "loss": {"type": "huber"},
            }
        )
    )


def test_objects_are_written_and_refused_when_read() -> None:
    space = Space({"model": {"act": Categorical([np.tanh, "relu"])}})
    spec = through_json(space.to_spec())
    assert spec["model"]["act"]["values"][0] == {"type": "object", "repr": repr(np.tanh)}
    with pytest.raises(SpaceError, match=f"^model/act: {np.tanh!r} is a Python object"):
        Space.from_spec(spec)
    constant = through_json(Space({"x": Float(0, 1), "f": np.tanh}).to_spec())
    with pytest.raises(SpaceError, match=f"^f: {np.tanh!r} is a Python object"):
        Space.from_spec(constant)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"type": "uniform"}, "^a/b: unknown type 'uniform'; allowed: float, int, normal, choice"),
        (
            {"type": "float", "low": 0},
            r"^a/b: field 'high' is missing; fields of .*low, high, log\?",
        ),
        (
            {"type": "float", "low": 0, "high": 1, "base": 10},
            r"^a/b: unknown field 'base' \(= 10\); fields of type 'float'",
        ),
        ({"type": "float", "low": 2, "high": 1}, "^a/b: .*low=2.0, high=1.0.*above high"),
        ({"type": "float", "low": 1, "high": 2, "log": 1}, "^a/b: .*log must be True or F.* 1$"),
        ({"type": "choice", "values": "abc"}, "^a/b: values must be a list, received 'abc'"),
        ({"type": "choice", "values": [{"type": "normal"}]}, "^a/b: {'type': 'normal'} is a hyp"),
        ({"type": "constant"}, "^a/b: field 'value' is missing"),
        ({"type": "literal", "value": "foo()"}, r"^a/b: 'foo\(\)' is not a Python literal"),
        ([{"type": "foo"}], "^a/b/0: unknown type 'foo'"),
    ],
)
def test_refused(spec: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        Space.from_spec({"x": {"type": "float", "low": 0, "high": 1}, "a": {"b": spec}})


def test_a_spec_is_a_table_that_varies() -> None:
    with pytest.raises(SpaceError, match="a spec must be a table, received 3"):
        Space.from_spec(3)  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match="nothing varies"):
        Space.from_spec({"a": 3})

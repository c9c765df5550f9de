"""Spaces: columns, encoding, decoding, and what `validate`, `dump` and `load` say."""

from __future__ import annotations

import ast
import json
import math
import pickle
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raytuner.space
from raytuner.errors import ConfigError, SpaceError
from raytuner.space import Categorical, Float, Integer, Normal, Ordinal, Space

Pair = namedtuple("Pair", ["left", "right"])


def make_space() -> Space:
    return Space(
        {
            "lr": Float(1e-5, 1e-1, log=True),
            "model": {
                "layers": Integer(1, 8),
                "act": Categorical(["relu", "tanh", None]),
                "sizes": [Ordinal([16, 64, 256]), 10, (Float(0, 1, step=0.25), "x")],
                "kind": "mlp",
            },
            "fixed": Float(0.5, 0.5),
            "block": Categorical([[1, 2], (1, 2), {"a": [3]}]),
            "shift": Normal(1, 2, step=0.5),
            "data": {"path": "/d", "empty": {}},
        }
    )


GOOD: dict[str, Any] = {
    "lr": 1e-3,
    "model": {
        "layers": 3,
        "act": "tanh",
        "sizes": [64, 10, (0.75, "x")],
        "kind": "mlp",
    },
    "fixed": 0.5,
    "block": [1, 2],
    "shift": -1.5,
    "data": {"path": "/d", "empty": {}},
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """GOOD with one value, list or key changed."""
    config: Any = json.loads(json.dumps(GOOD))
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return dict(config)


def without(*path: Any) -> dict[str, Any]:
    config = changed(*path, to=None)
    node: Any = config
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return config


def test_columns_are_what_varies_in_order() -> None:
    space = make_space()
    assert [c.name for c in space.columns] == [
        "lr",
        "model/layers",
        "model/act",
        "model/sizes/0",
        "model/sizes/2/0",
        "block",
        "shift",
    ]
    assert space.columns[4].path == ("model", "sizes", 2, 0)
    assert space.dim == 7
    assert [(c.kind, c.n_levels) for c in space.columns[:3]] == [
        ("continuous", None),
        ("discrete", 8),
        ("categorical", 3),
    ]


def test_cardinality() -> None:
    assert make_space().cardinality == math.inf
    assert Space({"a": Integer(1, 4), "b": [Categorical(["x", "z"]), 3]}).cardinality == 8
    assert Space({str(i): Integer(0, 10**15) for i in range(30)}).cardinality == math.inf


def test_few_multiples_of_a_wide_step_can_be_drawn_from_a_normal_law() -> None:
    domain = Normal(0, 1, step=2)
    space = Space({"x": domain, "on": Categorical([True, False])})
    assert space.cardinality == len(space.listed()) == 2 * 9  # from -8 to 8
    assert {config["x"] for config in space.decode(space.listed())} == set(range(-8, 9, 2))
    assert Space({"x": Normal(0, 1, step=1e-6)}).cardinality == math.inf
    assert Space({"x": Normal(0, 1)}).cardinality == math.inf
    assert domain.contains(40)  # which a user may ask for


@settings(max_examples=100)
@given(st.lists(st.lists(st.floats(0, 1), min_size=7, max_size=7), max_size=5))
def test_decoded_configurations_are_valid_and_encode_to_the_snapped_point(rows: Any) -> None:
    space = make_space()
    X = np.array(rows, dtype=np.float64).reshape(-1, 7)
    configs = space.decode(X)
    for config in configs:
        space.validate(config)
        assert space.load(json.loads(json.dumps(space.dump(config)))) == config
    E = space.encode(configs)
    assert E.shape == X.shape
    assert E.dtype == np.float64
    np.testing.assert_allclose(E, space.snap(X), atol=1e-12)


def test_no_configurations() -> None:
    space = make_space()
    assert space.encode([]).shape == (0, 7)
    assert space.decode(np.empty((0, 7))) == []
    assert space.snap(np.empty((0, 7))).shape == (0, 7)


def test_decoded_values_are_plain() -> None:
    [config] = make_space().decode(np.full((1, 7), 0.4))
    assert [type(v) for v in (config["lr"], config["model"]["layers"], config["shift"])] == [
        float,
        int,
        float,
    ]
    assert type(config["model"]["sizes"][2]) is tuple
    assert type(config["fixed"]) is float


def test_decoded_configurations_share_nothing() -> None:
    template = {"x": Float(0, 1), "c": {"names": ["a"], "array": np.zeros(2)}}
    space = Space(template)
    one, two = space.decode(np.array([[0.1], [0.2]]))
    one["c"]["names"].append("b")
    one["c"]["array"][0] = 1
    assert two["c"]["names"] == ["a"]
    assert two["c"]["array"].tolist() == [0, 0]
    template["c"]["names"].append("z")  # type: ignore[index]
    assert space.decode(np.array([[0.1]]))[0]["c"]["names"] == ["a"]


def test_a_named_tuple_stays_one() -> None:
    space = Space({"p": Pair(Float(0, 1), 3)})
    assert space.columns[0].name == "p/0"
    assert space.decode(np.array([[0.5]])) == [{"p": Pair(0.5, 3)}]


def test_keys_need_not_be_strings() -> None:
    space = Space({1: {(2, 3): Float(0, 1)}})  # type: ignore[dict-item]
    assert space.columns[0].name == "1/(2, 3)"
    assert space.encode([{1: {(2, 3): 0.25}}]).tolist() == [[0.25]]  # type: ignore[dict-item]
    assert Space.from_spec(json.loads(json.dumps(space.to_spec()))).columns == space.columns


def test_samples_follow_the_law() -> None:
    space = Space({"a": Float(1, 100, log=True), "b": Integer(1, 3)})
    configs = space.sample(np.random.default_rng(0), 4000)
    assert np.mean([c["a"] < 10 for c in configs]) == pytest.approx(0.5, abs=0.03)
    for k in (1, 2, 3):
        assert np.mean([c["b"] == k for c in configs]) == pytest.approx(1 / 3, abs=0.03)
    assert configs == space.sample(np.random.default_rng(0), 4000)


def test_a_pickled_space_decodes_the_same() -> None:
    space = make_space()
    again = pickle.loads(pickle.dumps(space))
    X = np.random.default_rng(0).random((5, 7))
    assert again.decode(X) == space.decode(X)


@pytest.mark.parametrize(
    "config",
    [
        GOOD,
        changed("lr", to=1e-1 * (1 + 1e-12)),
        changed("model", "act", to=None),
        changed("model", "sizes", to=(16, 10, [1, "x"])),
        without("fixed"),
        without("data"),
    ],
)
def test_valid(config: dict[str, Any]) -> None:
    space = make_space()
    space.validate(config)
    assert space.encode([config]).shape == (1, 7)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (without("model"), "^model: missing, expected a group"),
        (without("model", "layers"), "^model/layers: missing, expected a whole number from 1 to 8"),
        (changed("lr", to=0.2), "^lr: received 0.2 .*expected a number from 1e-05 to 0.1"),
        (changed("lr", to="0.01"), r"^lr: received '0.01' \(str\)"),
        (changed("model", "act", to="gelu"), "^model/act: received 'gelu' .*'relu', 'tanh', None"),
        (changed("model", "sizes", to=[64, 10]), r"^model/sizes: received \[64, 10\], .*3 items"),
        (changed("model", "sizes", 2, 0, to=0.3), "^model/sizes/2/0: received 0.3 .*multiple"),
        (changed("model", "kind", to="cnn"), "^model/kind: received 'cnn', .*constant 'mlp'"),
        (changed("model", to=3), "^model: received 3, expected a dict"),
        (changed("Lr", to=0.1), "^Lr: unknown key .received 0.1.; .* did you mean 'lr'"),
        (changed("model", "layer", to=3), "^model/layer: unknown key .* did you mean 'layers'"),
        (changed("data", "empty", "x", to=3), "^data/empty/x: unknown key"),
        (3, "^the configuration: received 3, expected a dict"),
    ],
)
def test_invalid(config: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_space().validate(config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (without("lr"), "^lr: missing"),
        (without("model"), "^model/layers: missing"),
        (changed("model", "sizes", to=[]), "^model/sizes/0: missing"),
        (changed("lr", to=0.2), "^lr: received 0.2"),
    ],
)
def test_encode_and_dump_refuse_what_they_cannot_place(config: Any, said: str) -> None:
    space = make_space()
    with pytest.raises(ConfigError, match=said):
        space.encode([GOOD, config])
    with pytest.raises(ConfigError, match=said):
        space.dump(config)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (np.zeros(7), r"shape \(7,\), expected \(n, 7\)"),
        (np.zeros((2, 3)), r"shape \(2, 3\), expected \(n, 7\)"),
        (np.full((1, 7), np.nan), "NaN"),
    ],
)
def test_decode_and_snap_refuse_bad_coordinates(X: Any, said: str) -> None:
    for method in (make_space().decode, make_space().snap):
        with pytest.raises(ConfigError, match=said):
            method(X)


def test_dump_is_json_by_column_name() -> None:
    space = make_space()
    assert space.dump(GOOD) == {
        "lr": 1e-3,
        "model/layers": 3,
        "model/act": "tanh",
        "model/sizes/0": 64,
        "model/sizes/2/0": 0.75,
        "block": {"choice": 0},
        "shift": -1.5,
    }
    assert space.load(space.dump(GOOD)) == GOOD
    infinite = Space({"p": Ordinal([1, 2, math.inf])})
    assert infinite.dump({"p": math.inf}) == {"p": {"choice": 2}}
    assert infinite.load({"p": {"choice": 2}}) == {"p": math.inf}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 7}, "^lr: received 7 .int., expected a number"),
        ({"model/layer": 7}, "^model/layer: unknown key .received 7.*mean 'model/layers'"),
        ({"block": {"choice": 3}}, "^block: received {'choice': 3}, expected .* 0 to 2"),
        ({"block": {"choice": True}}, "^block: received"),
        ({"block": "x"}, "^block: received 'x'"),
    ],
)
def test_load_refuses(change: dict[str, Any], said: str) -> None:
    space = make_space()
    with pytest.raises(ConfigError, match=said):
        space.load(space.dump(GOOD) | change)


def test_load_names_what_is_missing() -> None:
    space = make_space()
    data = space.dump(GOOD)
    del data["shift"]
    with pytest.raises(ConfigError, match=r"^shift: missing"):
        space.load(data)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"a": 1, "b": Float(2, 2)}, "nothing varies in {'a': 1, 'b': Float"),
        ([Float(0, 1)], "a space needs a dict, received"),
        ({"a/b": Float(0, 1), "a": {"b": Float(0, 1)}}, "^a/b: two hyperparameters"),
        ({"x": Float(0, 1), "a": {"b": threading.Lock()}}, "^a/b: .*cannot be copied .*lock"),
    ],
)
def test_refused(template: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        Space(template)


def test_ray_domains_are_sent_to_the_translator() -> None:
    from ray import tune

    with pytest.raises(SpaceError, match=r"^a/b: received Ray Tune's Float; .*space_from_tune"):
        Space({"x": Float(0, 1), "a": {"b": tune.uniform(0, 1)}})


def test_the_room_imports_only_what_it_may() -> None:
    may = {*sys.stdlib_module_names, "numpy", "scipy", "raytuner.errors", "raytuner.space"}
    for file in Path(raytuner.space.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                parts = name.split(".")
                assert ".".join(parts[: 2 if parts[0] == "raytuner" else 1]) in may, (file, name)

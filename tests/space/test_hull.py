"""The space that holds two others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytuner.errors import SpaceError
from raytuner.space import (
    Categorical,
    Float,
    Integer,
    Normal,
    Options,
    Ordinal,
    Space,
    differences,
    hull,
)

X = Float(0.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Float(1, 2), Float(1.5, 4), Float(1, 4)),
        (Float(1e-4, 1e-2, log=True), Float(1e-3, 1, log=True), Float(1e-4, 1, log=True)),
        (Float(0, 1, step=0.5), Float(0, 2, step=0.5), Float(0, 2, step=0.5)),
        (Float(0, 1, step=0.5), Float(0, 2, step=0.3), Float(0, 2)),
        (Integer(2, 8, step=2), 5, Integer(2, 8)),
        (Integer(2, 8), 1, Integer(1, 8)),
        (0.25, Float(0.5, 1), Float(0.25, 1)),
        (Normal(0, 1), Normal(2, 5), Normal(2, 5)),
        (Normal(0, 1), 7, Normal(0, 1)),
        (Categorical(["a", "b"]), Categorical(["c", "b"]), Categorical(["a", "b", "c"])),
        (Categorical(["a", 1]), 1.0, Categorical(["a", 1, 1.0])),
        (Categorical(["a", "b"]), "a", Categorical(["a", "b"])),
        (3, 5, Categorical([3, 5])),
        (Ordinal([1, 4]), Ordinal([2, 4]), Ordinal([1, 2, 4])),
        (Ordinal(["low", "high"]), "high", Ordinal(["low", "high"])),
    ],
)
def test_it_holds_all_that_either_holds(first: Any, second: Any, both: Any) -> None:
    one, other = Space({"p": first, "x": X}), Space({"p": second, "x": X})
    found = hull(one, other)
    assert found.template["p"] == both
    for space in (one, other):
        configs = space.sample(np.random.default_rng(0), 50)
        for config in configs:
            found.validate(config)
        # Nothing is lost on the way through the wider cube.
        again = found.decode(found.encode(configs))
        np.testing.assert_allclose(space.encode(again), space.encode(configs), atol=1e-9)


def test_one_within_the_other_is_the_other_and_nests_are_gone_through() -> None:
    wide = Space({"net": {"width": Integer(1, 9), "list": [X, 2]}, "n": (1, Float(0, 3))})
    narrow = Space({"net": {"width": 4, "list": [Float(0.2, 0.3), 2]}, "n": (1, Float(0, 3))})
    assert hull(wide, narrow).template == hull(narrow, wide).template == wide.template
    assert differences(wide, wide) == []
    assert [text.split(":")[0] for text in differences(wide, narrow)] == ["net/width", "net/list/0"]


def test_options_stay_options() -> None:
    one, other = (Space({"drop": Options.of([None, Float(0, high)])}) for high in (0.5, 0.8))
    found = hull(one, other)
    assert isinstance(found.template["drop"], Options)
    assert found.template == other.template
    assert found.load({"drop/option": 1, "drop/1": 0.7}) == {"drop": 0.7}


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (Float(1, 2), Float(1, 2, log=True), "different kinds"),
        (Float(1, 2), Integer(1, 2), "different kinds"),
        (Float(1, 2), Categorical([1, 2]), "different kinds"),
        (Float(1, 2), "adam", "different kinds"),
        (Integer(1, 2), 1.5, "different kinds"),
        (Float(1, 2, log=True), 0, "p: "),
        (Ordinal(["low", "high"]), Ordinal(["high", "top"]), "different kinds"),
        ({"a": 1}, {"b": 1}, "p/a: only one of the two spaces has it"),
        ({"a": 1}, 3, "different kinds"),
    ],
)
def test_what_does_not_go_together_is_named(first: Any, second: Any, says: str) -> None:
    with pytest.raises(SpaceError, match=says) as raised:
        hull(Space({"p": first, "x": X}), Space({"p": second, "x": X}))
    assert str(raised.value).startswith("p")

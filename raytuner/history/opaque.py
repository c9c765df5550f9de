"""Placeholders for objects that a file cannot hold, and the comparison of spaces that have some."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space import Space, differences

_NUMBERS = count()


class OpaqueValue:
    """A placeholder for a choice or constant that a file cannot hold, such as a class.

    Two of them differ, unless one is a copy: different objects may have the same `repr`.
    In place of a constraint it always holds, since the record's configurations kept that.

    Args:
        text: The `repr` of the object.

    Example:
        >>> OpaqueValue("<class 'torch.nn.ReLU'>")
        <class 'torch.nn.ReLU'>
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._number = next(_NUMBERS)

    def __repr__(self) -> str:
        return self._text

    def __call__(self, config: Any) -> bool:
        """Hold, as a constraint."""
        return True


def with_opaque_values(spec: Any) -> Any:
    """Return the spec of a space with a placeholder for each object."""
    if isinstance(spec, dict):
        if spec.get("type") == "object":
            return OpaqueValue(str(spec.get("repr")))
        return {key: with_opaque_values(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [with_opaque_values(item) for item in spec]
    return spec


def check_same(spec: Any, space: Space, where: object) -> None:
    """Check that a space is the one of a record.

    Two objects that a file cannot hold count as equal if they are in the same place: the record has
    only the `repr` of such an object, which may differ from process to process.

    Args:
        spec: The spec in the record.
        space: The space.
        where: The name of the record, for the error.

    Raises:
        SpaceError: The spaces differ. The message says how.
    """
    given = space.to_spec()
    if spec == json.loads(json.dumps(given)) or not isinstance(spec, Mapping):
        return
    recorded, now = (Space.from_spec(_without_objects(one)) for one in (spec, given))
    if changes := differences(recorded, now):
        raise SpaceError(
            f"{where} is the record of a search in another space ({'; '.join(changes)}). Give the"
            " space that it was made in, or start a new search, which can learn from this one"
            " (earlier=...)"
        )


def _without_objects(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec with a name in place of each object and no constraint that is a function."""
    names: dict[tuple[str, int], str] = {}

    def named(node: Any, before: int = 0) -> Any:
        if isinstance(node, Mapping):
            if node.get("type") == "object":
                return names.setdefault((node["repr"], before), f"object {len(names) + 1}")
            found = {key: named(value) for key, value in node.items()}
            if node.get("type") == "space":
                rules = node.get("constraints", [])
                found["constraints"] = [rule for rule in rules if isinstance(rule, str)]
            return found
        if isinstance(node, list):
            counts: Counter[str] = Counter()
            items = []
            for item in node:
                text = str(item.get("repr")) if isinstance(item, Mapping) else ""
                items.append(named(item, counts[text]))
                counts[text] += 1
            return items
        return node

    found: dict[str, Any] = named(spec)
    return found

"""What a record shows in the place of objects that only Python has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space import Space, differences


class StandIn:
    """Stands for a choice or constant that a file cannot hold, such as a class or a function.

    Two of them are the same only if they are one object: objects that differ may look alike. In the
    place of a constraint it holds: the record's configurations kept it.

    Args:
        text: The ``repr`` of the object.

    Example:
        >>> StandIn("<class 'torch.nn.ReLU'>")
        <class 'torch.nn.ReLU'>
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __call__(self, config: Any) -> bool:
        """As a constraint: it holds."""
        return True


def with_stand_ins(spec: Any) -> Any:
    """The spec of a space (:mod:`raytuner.space.spec`) in which each object has its stand-in."""
    if isinstance(spec, dict):
        if spec.get("type") == "object":
            return StandIn(str(spec.get("repr")))
        return {key: with_stand_ins(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [with_stand_ins(item) for item in spec]
    return spec


def check_same(spec: Any, space: Space, where: object) -> None:
    """Check that a space is the one that a record was made in.

    Two objects that only Python has count as the same if they are in the same place: the record
    holds only the ``repr`` of such an object, which may differ from process to process.

    Args:
        spec: The spec in the record.
        space: The space.
        where: The name of the record, for the error.

    Raises:
        SpaceError: The spaces differ; the message says in what.
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
            seen: Counter[str] = Counter()
            items = []
            for item in node:
                text = str(item.get("repr")) if isinstance(item, Mapping) else ""
                items.append(named(item, seen[text]))
                seen[text] += 1
            return items
        return node

    found: dict[str, Any] = named(spec)
    return found

"""Placeholders for objects that a file cannot hold, and the comparison of spaces that have some."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space import Space, differences

_NUMBERS = itertools.count()


class OpaqueValue:
    """A placeholder for a choice or constant that a file cannot hold, such as a class.

    Two of them differ, unless one is a copy: different objects may have the same `repr`.
    In place of a constraint it always holds, since the record's configurations kept that.

    Args:
        text: The `repr` of the object.

    Examples:
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


def with_opaque_values(spec: Any, make: Callable[[str], Any] = OpaqueValue) -> Any:
    """Return the spec of a space with a placeholder for each object, made from its `repr`.

    Objects of one `repr` are one object, unless they are in one list.
    """
    known: dict[tuple[str, int], Any] = {}

    def replaced(node: Any, nth: int = 0) -> Any:
        if isinstance(node, list):
            seen: Counter[str] = Counter()
            items = []
            for item in node:
                items.append(replaced(item, seen[str(item)]))
                seen[str(item)] += 1
            return items
        if not isinstance(node, dict):
            return node
        if node.get("type") != "object":
            return {key: replaced(value) for key, value in node.items()}
        key = str(node.get("repr")), nth
        if key not in known:
            known[key] = make(key[0])
        return known[key]

    return replaced(spec)


def check_same(spec: Any, space: Space, where: object) -> None:
    """Check that a space is the one of a record.

    Objects that a file cannot hold count as equal if they are in the same place: the record has
    only their `repr`, which may differ from process to process.

    Args:
        spec: The spec in the record.
        space: The space.
        where: The name of the record, for the error.

    Raises:
        SpaceError: The spaces differ. The message says how.
    """
    given = json.loads(json.dumps(space.to_spec()))
    if spec == given:
        return
    recorded, now = (Space.from_spec(_with_names(one)) for one in (spec, given))
    if changes := differences(recorded, now):
        raise SpaceError(
            f"{where} is the record of a search in another space ({'; '.join(changes)}). Give the"
            " original space, or start a new search that learns from this one (earlier=...)"
        )


def _with_names(spec: Any) -> Any:
    """Return a spec with a name in place of each object and no constraint that is a function."""
    numbers = itertools.count(1)
    named = with_opaque_values(spec, lambda text: f"object {next(numbers)}")
    if named.get("type") == "space":
        rules = [rule for rule in spec["constraints"] if isinstance(rule, str)]
        named["constraints"] = rules
    return named

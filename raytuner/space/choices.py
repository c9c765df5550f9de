"""Which of a list of arbitrary objects a value is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

_TOO_LONG = 1024  # bits: a float overflows

_PRIMITIVES = (str, int, float, bool, type(None))


def is_number(value: Any) -> bool:
    """Whether `value` is a real number; True, False and what no float can hold are not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < _TOO_LONG
    return isinstance(value, Real)


def is_primitive(value: Any) -> bool:
    """Whether `value` is exactly a str, int, float, bool or None."""
    return type(value) in _PRIMITIVES


def unwrap(value: Any) -> Any:
    """The plain Python value of a numpy scalar; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def same(a: Any, b: Any, *, strict: bool) -> bool:
    """Whether two objects are the same choice.

    Args:
        a: Any object.
        b: Any object.
        strict: Types must be the same too, at every depth. Otherwise 1 is 1.0, a list is a tuple
            and a numpy scalar is its plain value; True is never 1.

    >>> same(1, 1.0, strict=True), same(1, 1.0, strict=False), same(1, True, strict=False)
    (False, True, False)
    """
    if a is b:
        return True
    if not strict:
        a, b = unwrap(a), unwrap(b)
    if strict and type(a) is not type(b):
        return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return False
        return all(same(x, y, strict=strict) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return len(a) == len(b) and all(k in b and same(a[k], b[k], strict=strict) for k in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    try:
        return bool(a == b)
    except (TypeError, ValueError):  # an `==` that gives no single truth: a table, a tensor
        return False


class ChoiceIndex:
    """Finds the position of a value in a list of choices; hashable or not.

    A lookup of a string or a number takes one hash; other objects are compared one by one.
    """

    def __init__(self, choices: Sequence[Any]) -> None:
        self.duplicate: tuple[int, int] | None = None
        """Positions of the first two equal choices, None if all differ."""
        self._exact: dict[tuple[type, Any], int] = {}
        self._numbers: dict[Any, int] = {}
        self._others: list[tuple[int, Any]] = []
        for i, choice in enumerate(choices):
            before = self._find_strictly(choice)
            if before is not None and self.duplicate is None:
                self.duplicate = (before, i)
            if is_primitive(choice):
                self._exact.setdefault((type(choice), choice), i)
            else:
                self._others.append((i, choice))
            if is_number(choice):
                self._numbers.setdefault(choice, i)

    def _find_strictly(self, value: Any) -> int | None:
        if is_primitive(value):
            return self._exact.get((type(value), value))
        return next((i for i, c in self._others if same(c, value, strict=True)), None)

    def find(self, value: Any) -> int | None:
        """Position of the choice that `value` is, by type and value first, None if there is none.

        >>> ChoiceIndex([1, 1.0, True, [2]]).find(1.0)
        1
        >>> ChoiceIndex(["a", 64]).find(64.0)
        1
        """
        found = self._find_strictly(value)
        if found is None:
            value = unwrap(value)
            found = self._find_strictly(value)
        if found is None and is_number(value):
            found = self._numbers.get(value)
        if found is None:
            found = next((i for i, c in self._others if same(c, value, strict=False)), None)
        return found

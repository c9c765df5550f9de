"""Comparison of arbitrary objects, and the search for one in a list of choices.

The objects may be of any kind. Their `==` may return an array or raise, and so may their `repr`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from numbers import Real
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

_MAX_BITS = 1024  # a float overflows
_PRIMITIVES = (str, int, float, bool, type(None))
_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType)  # each equals only itself
_MAX_STEPS = 1_000_000  # objects that need more steps to compare count as different


def is_number(value: Any) -> bool:
    """Whether a value is a real number that a float can hold; True and False are not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < _MAX_BITS
    return isinstance(value, Real)


def is_primitive(value: Any) -> bool:
    """Whether a value is exactly a str, int, float, bool or None."""
    return type(value) in _PRIMITIVES


def unwrap(value: Any) -> Any:
    """Return the plain Python value of a numpy scalar, and anything else unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def shown(value: Any, to: Callable[[Any], str] = repr) -> str:
    """Return the text of a value, or the name of its type if its own `repr` or `str` raises."""
    try:
        return to(value)
    except Exception:  # whatever an object's own code may raise
        return f"<{type(value).__qualname__} object>"


def same(a: Any, b: Any, *, strict: bool, deep: bool = False) -> bool:
    """Whether two objects are the same choice.

    Args:
        a: Any object.
        b: Any object.
        strict: Types must be equal too, at every depth. Otherwise 1 is 1.0, a list is a tuple and
            a numpy scalar is its plain value. True is never 1.
        deep: Objects without a usable `==` are the same if their attributes are.

    >>> same(1, 1.0, strict=True), same(1, 1.0, strict=False), same(1, True, strict=False)
    (False, True, False)
    >>> same(np.ones(2), np.ones(2), strict=True), same(np.ones(2), np.ones(1), strict=True)
    (True, False)
    """
    try:
        return _same(a, b, strict, deep, count())
    except Exception:  # nested too deep, or whatever an object's own code may raise
        return False


def _same(a: Any, b: Any, strict: bool, deep: bool, steps: count[int]) -> bool:
    if a is b:
        return True
    if next(steps) > _MAX_STEPS:
        return False
    if not strict:
        a, b = unwrap(a), unwrap(b)
    elif type(a) is not type(b):
        return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        pairs = zip(a, b, strict=True)
        return len(a) == len(b) and all(_same(*pair, strict, deep, steps) for pair in pairs)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = len(a) == len(b) and all(key in b for key in a)
        return keys and all(_same(a[key], b[key], strict, deep, steps) for key in a)
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    if _equal(a, b, ("shape", "dtype") if strict else ("shape",)):
        return True
    if not deep or type(a) is not type(b) or isinstance(a, _NAMED):
        return False
    attributes = getattr(a, "__dict__", None)
    return bool(attributes) and _same(attributes, b.__dict__, strict, deep, steps)


def _equal(a: Any, b: Any, array_attributes: Sequence[str]) -> bool:
    """Whether two objects are equal by `equals` (tables) or `==`; NaN equals NaN.

    `array_attributes` must be equal too, because `==` broadcasts an array to other shapes.
    """
    try:
        if any(getattr(a, name, None) != getattr(b, name, None) for name in array_attributes):
            return False
        with warnings.catch_warnings(action="ignore"):  # such as that `==` is slow or will change
            if callable(getattr(a, "equals", None)):
                return a.equals(b) is True
            return _all_true(a == b) or _all_true((a == b) | ((a != a) & (b != b)))
    except Exception:  # whatever an object's own code may raise
        return False


def _all_true(answer: Any) -> bool:
    """Whether the result of `==` is True, or an array of nothing but True."""
    if not isinstance(answer, bool) and hasattr(answer, "all"):
        answer = answer.all()
        answer = answer.item() if hasattr(answer, "item") else answer
    return answer is True


class ChoiceIndex:
    """Finds the position of a value in a list of choices, hashable or not.

    Strings and numbers take one lookup in a dict. Other objects are compared one by one.

    Attributes:
        duplicate: Positions of the first two equal choices; None if all differ.
    """

    def __init__(self, choices: Sequence[Any]) -> None:
        self.duplicate: tuple[int, int] | None = None
        self._primitives: dict[tuple[type, Any], int] = {}
        self._numbers: dict[Any, int] = {}
        self._objects: list[tuple[int, Any]] = []
        for i, choice in enumerate(choices):
            first = self._find_strictly(choice)
            if first is not None and self.duplicate is None:
                self.duplicate = (first, i)
            if is_primitive(choice):
                self._primitives.setdefault(_key(choice), i)
            else:
                self._objects.append((i, choice))
            if is_number(choice):
                self._numbers.setdefault(choice, i)

    def _find_strictly(self, value: Any) -> int | None:
        if is_primitive(value):
            return self._primitives.get(_key(value))
        # The object itself comes before others that claim to equal it.
        itself = (i for i, choice in self._objects if choice is value)
        equal = (i for i, choice in self._objects if same(choice, value, strict=True))
        return next(chain(itself, equal), None)

    def find(self, value: Any) -> int | None:
        """Return the position of a choice, or None if it is not listed.

        A value of the same type comes first. A copy of an object without a usable `==` (an
        estimator, say) is found by its attributes, unless several choices have the same ones.

        >>> ChoiceIndex([1, 1.0, True, [2]]).find(1.0)
        1
        >>> ChoiceIndex(["a", 64]).find(64.0)
        1
        """
        found = self._find_strictly(value)
        if found is None and isinstance(value, np.generic):
            value = unwrap(value)
            found = self._find_strictly(value)
        if found is None and is_number(value):
            found = self._numbers.get(value)
        if found is None and not is_primitive(value):
            alike = [i for i, c in self._objects if same(c, value, strict=True, deep=True)]
            found = alike[0] if len(alike) == 1 else None
        if found is None:
            found = next((i for i, c in self._objects if same(c, value, strict=False)), None)
        return found


def _key(value: Any) -> tuple[type, Any]:
    """Return a key that equal primitives of one type share; all NaNs share one."""
    return type(value), value if value == value else None

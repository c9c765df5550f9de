"""Which of a list of arbitrary objects a value is.

The objects may be of any kind: their `==` may give an array or raise, and so may their `repr`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from numbers import Real
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

_TOO_LONG = 1024  # bits: a float overflows

_PRIMITIVES = (str, int, float, bool, type(None))

_MOST_PARTS = 1_000_000
"""Steps after which the comparison of two objects ends; they then count as different."""


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
        strict: Types must be the same too, at every depth. Otherwise 1 is 1.0, a list is a tuple
            and a numpy scalar is its plain value; True is never 1.
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
    if next(steps) > _MOST_PARTS:
        return False
    if not strict:
        a, b = unwrap(a), unwrap(b)
    if strict and type(a) is not type(b):
        return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return False
        return all(_same(x, y, strict, deep, steps) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return len(a) == len(b) and all(
            k in b and _same(a[k], b[k], strict, deep, steps) for k in a
        )
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    if _equal(a, b, ("shape", "dtype") if strict else ("shape",)):
        return True
    if not deep or type(a) is not type(b) or isinstance(a, _NAMED):
        return False
    own = getattr(a, "__dict__", None)
    return bool(own) and _same(own, b.__dict__, strict, deep, steps)


_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType)  # each equals itself only


def _equal(a: Any, b: Any, of_array: Sequence[str]) -> bool:
    """Whether `==`, or a table's `equals`, says that two objects are equal; NaN equals NaN.

    Args:
        a: Any object.
        b: Any object.
        of_array: Attributes that must be equal too: `==` broadcasts an array to other shapes.
    """
    try:
        if any(getattr(a, name, None) != getattr(b, name, None) for name in of_array):
            return False
        with warnings.catch_warnings(action="ignore"):  # such as that `==` is slow or will change
            if callable(getattr(a, "equals", None)):
                return a.equals(b) is True
            return _truth(a == b) or _truth((a == b) | ((a != a) & (b != b)))
    except Exception:  # whatever an object's own code may raise
        return False


def _truth(answer: Any) -> bool:
    """Whether an answer of `==` is True, or an array of which all elements are."""
    if not isinstance(answer, bool) and hasattr(answer, "all"):
        answer = answer.all()
        answer = answer.item() if hasattr(answer, "item") else answer
    return answer is True


class ChoiceIndex:
    """Finds the position of a value in a list of choices; hashable or not.

    A lookup of a string, a number or one of the listed objects itself takes one hash; equal objects
    are found one by one.
    """

    def __init__(self, choices: Sequence[Any]) -> None:
        self.duplicate: tuple[int, int] | None = None
        """Positions of the first two equal choices, None if all differ."""
        self._exact: dict[tuple[type, Any], int] = {}
        self._numbers: dict[Any, int] = {}
        self._others: list[tuple[int, Any]] = []
        self._places: dict[int, int] = {}  # by id; the choices are kept alive by `_others`
        for i, choice in enumerate(choices):
            before = self._find_strictly(choice)
            if before is not None and self.duplicate is None:
                self.duplicate = (before, i)
            if is_primitive(choice):
                self._exact.setdefault(_key(choice), i)
            else:
                self._others.append((i, choice))
                self._places.setdefault(id(choice), i)
            if is_number(choice):
                self._numbers.setdefault(choice, i)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # An object has another id after it was pickled or copied.
        self.__dict__.update(state)
        self._places = {id(choice): i for i, choice in reversed(self._others)}

    def _find_strictly(self, value: Any) -> int | None:
        if is_primitive(value):
            return self._exact.get(_key(value))
        if id(value) in self._places:
            return self._places[id(value)]
        return next((i for i, c in self._others if same(c, value, strict=True)), None)

    def find(self, value: Any) -> int | None:
        """Position of the choice that `value` is, by type and value first, None if there is none.

        A copy of an object without a usable `==` (an estimator, say) is found by its attributes,
        unless several choices have the same.

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
        if found is None and not is_primitive(value):
            alike = [i for i, c in self._others if same(c, value, strict=True, deep=True)]
            found = alike[0] if len(alike) == 1 else None
        if found is None:
            found = next((i for i, c in self._others if same(c, value, strict=False)), None)
        return found


def _key(value: Any) -> tuple[type, Any]:
    """Return a key that equal primitives of one type share; all NaNs share one."""
    return type(value), value if value == value else None

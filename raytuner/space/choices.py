"""Compare values of any kind, even if their `==` returns an array or raises."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from hashlib import sha256
from numbers import Real
from typing import Any

import numpy as np

_MAX_BITS = 1024  # a float overflows
_PRIMITIVES = (str, int, float, bool, type(None))


def is_number(value: Any) -> bool:
    """Return whether a value is a real number that a float can hold; booleans are not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < _MAX_BITS
    return isinstance(value, Real)


def is_primitive(value: Any) -> bool:
    """Return whether a value is exactly a str, int, float, bool or None."""
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


def key(value: Any) -> bytes | None:
    """Return a key that only copies of a value share; None if it cannot be pickled.

    Examples:
        >>> key([1]) == key([1]), key(1) == key(1.0), key(np.ones(2)) == key(np.ones(2))
        (True, False, True)
    """
    try:
        return sha256(pickle.dumps(value)).digest()
    except Exception:  # whatever an object's own code may raise
        return None


def same(a: Any, b: Any) -> bool:
    """Return whether two objects are identical or copies of each other."""
    return a is b or (type(a) is type(b) and None is not key(a) == key(b))


def loosely(value: Any) -> Any:
    """Return a value that is equal for similar values: 1 and 1.0, a list and a tuple.

    Examples:
        >>> loosely([1, np.float64(2)]) == loosely((1.0, 2)), loosely(True) == loosely(1)
        (True, False)
    """
    value = unwrap(value)
    if isinstance(value, list | tuple):
        return tuple(map(loosely, value))
    if isinstance(value, Mapping):
        return frozenset((key, loosely(inner)) for key, inner in value.items())
    return ("bool", value) if isinstance(value, bool) else value


def alike(a: Any, b: Any) -> bool:
    """Return whether two values are the same, or equal up to types as in `loosely`."""
    try:
        return same(a, b) or (loosely(a) == loosely(b)) is True
    except Exception:  # whatever an object's own code may raise
        return False

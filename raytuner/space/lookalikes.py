"""Constants of a search space that look as if they were meant to be searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from raytuner.space.choices import is_number, is_primitive, shown, unwrap
from raytuner.space.domains import Domain
from raytuner.space.template import Fidelity, Options, Path, path_name

# Longer lists are data.
_LONGEST = 50
_SHOWN = 80  # characters of a value

_PAIR = 2
_LOW_HIGH = (("low", "high"), ("min", "max"), ("lower", "upper"))
_VALUES = ("values", "choices", "options", "_value")
_CALL = re.compile(r"([\w.]+\.)?q?(log)?(uniform|normal|randint|randn|choice|grid_search)\(.+\)")
_LIBRARIES = ("optuna", "skopt", "hyperopt", "ConfigSpace", "nevergrad")


def lookalikes(template: Any) -> dict[str, str]:
    """Return the constants of a template that look like a range, a list of values or a law.

    Args:
        template: Nested dicts, lists and tuples of domains and constants.

    Returns:
        By the name of the key, what the value is and how to search it.

    >>> from raytuner.space import Float
    >>> lookalikes({"lr": Float(0, 1), "batch": [16, 32], "net": {"act": "relu"}})
    {'batch': '[16, 32]; to search it, write tune.randint(16, 33) or tune.choice([16, 32])'}
    """
    return {
        path_name(path): f"{_shown(node)}; {advice}" for path, node, advice in _found(template, ())
    }


def advice_on(found: Mapping[str, str]) -> str:
    """Return the message about some :func:`lookalikes`."""
    each = "; ".join(f"{name} is {what}" for name, what in found.items())
    return (
        f"some values look like hyperparameters but are constants, which every trial gets as they"
        f' are: {each}. (In a study\'s file: {{ type = "choice", values = [...] }} or'
        f' {{ type = "float", low = ..., high = ... }}.) If a value is meant as a constant, write'
        f" tune.choice([value])"
    )


def _found(node: Any, path: Path) -> Iterator[tuple[Path, Any, str]]:
    is_grid = isinstance(node, Mapping) and list(node) == ["grid_search"]
    if is_grid or isinstance(node, Domain | Fidelity | Options):
        return
    if hasattr(node, "node"):  # a condition's
        yield from _found(node.node, path)
        return
    advice = _advice(node)
    if advice is not None and path:
        yield path, node, advice
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _found(value, (*path, key))
    elif isinstance(node, list | tuple):
        for place, item in enumerate(node):
            yield from _found(item, (*path, place))


def _advice(node: Any) -> str | None:
    """Return how to search a value; None if it looks like a constant."""
    if isinstance(node, Mapping):
        if not all(is_primitive(v) or _values(v) for v in node.values()):
            return None
        bounds = next((pair for pair in _LOW_HIGH if all(is_number(node.get(k)) for k in pair)), ())
        if bounds:
            return _for_range(*(node[key] for key in bounds))
        values = next((node[key] for key in _VALUES if isinstance(node.get(key), list)), None)
        return None if values is None else f"to search it, write tune.choice({_shown(values)})"
    if isinstance(node, str):
        return "to search it, write it without quotes" if _CALL.fullmatch(node.strip()) else None
    if isinstance(node, FunctionType):
        is_lambda = node.__name__ == "<lambda>"
        return "Ray does not call it: compute the value in the trainable" if is_lambda else None
    if hasattr(node, "ppf") or hasattr(node, "rvs") or _library(node) in _LIBRARIES:
        return (
            "to search it, write tune.uniform, tune.loguniform, tune.randint or tune.choice (or"
            " translate the whole space: raytuner.integrations)"
        )
    values = _values(node)
    if values is None:
        return None
    numbers = all(is_number(value) for value in values)
    if len(values) == _PAIR and numbers and values[0] < values[1]:
        return f"{_for_range(*values)} or tune.choice({values!r})"
    is_range = len(values) > _PAIR and all(map(is_number, values[:_PAIR])) and not numbers
    if isinstance(node, tuple) and is_range and isinstance(values[2], str):
        log = "log" in values[2]
        return f"to search it, write tune.{'log' if log else ''}uniform({values[0]}, {values[1]})"
    if isinstance(node, tuple) and not numbers:
        return None
    return f"to search it, write tune.choice({_shown(values)})"


def _for_range(low: Any, high: Any) -> str:
    if isinstance(low, int) and isinstance(high, int):
        return f"to search it, write tune.randint({low}, {high + 1})"
    return f"to search it, write tune.uniform({low}, {high})"


def _values(node: Any) -> list[Any] | None:
    """Return the plain values of a list, tuple, range, set or array, if all differ; else None."""
    if hasattr(node, "tolist") and getattr(node, "shape", None) is not None:
        if len(node.shape) != 1 or node.shape[0] > _LONGEST:
            return None
        node = node.tolist()
    if not isinstance(node, list | tuple | range | set | frozenset):
        return None
    if not _PAIR <= len(node) <= _LONGEST:
        return None
    values = [unwrap(value) for value in node]
    plain = all(_is_plain(value) for value in values)
    return values if plain and len({repr(value) for value in values}) == len(values) else None


def _is_plain(value: Any) -> bool:
    return is_primitive(value) or (
        isinstance(value, list | tuple) and all(is_primitive(unwrap(item)) for item in value)
    )


def _library(node: Any) -> str:
    return type(node).__module__.partition(".")[0]


def _shown(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

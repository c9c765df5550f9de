"""Constants of a search space that look as if they were meant to be searched."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from raytuner.errors import RaytunerWarning
from raytuner.space.choices import is_number, is_primitive, shown, unwrap
from raytuner.space.domains import Domain
from raytuner.space.template import Fidelity, Options, path_name, walk

# Longer lists are data.
_LONGEST = 50
_SHOWN = 80  # characters of a value

_PAIR = 2
_BOUNDS = (("low", "high"), ("min", "max"), ("lower", "upper"))
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
    parts = walk(template, (), lambda node: node is template or _is_open(node))
    return {
        path_name(path): f"{_shown(node)}; {advice}"
        for path, node in parts
        if path and (advice := _advice(node)) is not None
    }


def advice_on(found: Mapping[str, str]) -> str:
    """Return the message about some `lookalikes`."""
    each = "; ".join(f"{name} is {what}" for name, what in found.items())
    return (
        "some values look like hyperparameters but are constants, which every trial gets"
        f' unchanged: {each}. (In a study\'s file: {{ type = "choice", values = [...] }} or'
        ' { type = "float", low = ..., high = ... }.) For a constant, write tune.choice([value])'
    )


def warn_of_lookalikes(template: Any) -> bool:
    """Warn if there are `lookalikes`; return whether there are any."""
    found = lookalikes(template)
    if found:
        warnings.warn(advice_on(found), RaytunerWarning, stacklevel=4)
    return bool(found)


def _is_open(node: Any) -> bool:
    """Whether constants within a part may look like hyperparameters."""
    is_grid = isinstance(node, Mapping) and list(node) == ["grid_search"]
    closed = is_grid or isinstance(node, Domain | Fidelity | Options)
    return not closed and _advice(node) is None


def _advice(node: Any) -> str | None:
    """Return how to search a value; None if it looks like a constant."""
    if isinstance(node, FunctionType):
        is_lambda = node.__name__ == "<lambda>"
        return "Ray does not call it: compute the value in the trainable" if is_lambda else None
    law = _law(node)
    return None if law is None else f"to search it, write {law}"


def _law(node: Any) -> str | None:
    """Return the call that makes a hyperparameter of a value; None if it looks like a constant."""
    if isinstance(node, str):
        return "it without quotes" if _CALL.fullmatch(node.strip()) else None
    if isinstance(node, Mapping):
        if not all(is_primitive(v) or _values(v) for v in node.values()):
            return None
        for keys in _BOUNDS:
            if all(is_number(node.get(key)) for key in keys):
                return _range(*(node[key] for key in keys))
        lists = (node[key] for key in _VALUES if isinstance(node.get(key), list))
        return next((f"tune.choice({_shown(values)})" for values in lists), None)
    library = type(node).__module__.partition(".")[0]
    if hasattr(node, "ppf") or hasattr(node, "rvs") or library in _LIBRARIES:
        return (
            "tune.uniform, tune.loguniform, tune.randint or tune.choice (or translate the whole"
            " space: raytuner.integrations)"
        )
    values = _values(node)
    if values is None:
        return None
    if all(map(is_number, values)):
        choice = f"tune.choice({_shown(values)})"
        is_range = len(values) == _PAIR and values[0] < values[1]
        return f"{_range(*values)} or {choice}" if is_range else choice
    if not isinstance(node, tuple):
        return f"tune.choice({_shown(values)})"
    *bounds, name = values
    if len(bounds) != _PAIR or not all(map(is_number, bounds)) or not isinstance(name, str):
        return None
    return f"tune.{'log' if 'log' in name else ''}uniform({bounds[0]}, {bounds[1]})"


def _range(low: Any, high: Any) -> str:
    whole = isinstance(low, int) and isinstance(high, int)
    return f"tune.randint({low}, {high + 1})" if whole else f"tune.uniform({low}, {high})"


def _values(node: Any) -> list[Any] | None:
    """Return the plain values of a list, tuple, range, set or array, if all differ; else None."""
    if hasattr(node, "tolist") and len(getattr(node, "shape", ())) == 1:
        node = node.tolist() if node.shape[0] <= _LONGEST else None
    if not isinstance(node, list | tuple | range | set | frozenset):
        return None
    if not _PAIR <= len(node) <= _LONGEST:
        return None
    values = [unwrap(value) for value in node]
    parts = [part for v in values for part in (v if isinstance(v, list | tuple) else [v])]
    plain = all(is_primitive(unwrap(part)) for part in parts)
    return values if plain and len(set(map(repr, values))) == len(values) else None


def _shown(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

"""Find constants of a search space that look like hyperparameters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from raytuner.errors import RaytunerWarning
from raytuner.space.choices import is_number, is_primitive
from raytuner.space.template import path_name, walk

_LONGEST = 50  # longer lists are data
_MOST = 100  # a space with more entries is some library's configuration, such as RLlib's


def lookalikes(template: Any) -> str:
    """Return advice about lists, ranges and other libraries' distributions; "" if there are none.

    Examples:
        >>> lookalikes({"batch": [16, 32], "net": {"act": "relu"}}).split(";")[0]
        'some constants look like hyperparameters: batch is [16, 32]'
    """
    found = [
        f"{path_name(path)} is {node!r}; to search it, write {advice}"
        for path, node in walk(template)
        if "grid_search" not in path and (advice := _advice(node)) is not None
    ]
    if not found:
        return ""
    return (
        f"some constants look like hyperparameters: {'; '.join(found)}. (In a study's file:"
        ' { type = "choice", values = [...] } or { type = "float", low = ..., high = ... }.) For a'
        " constant, write tune.choice([value])"
    )


def warn_of_lookalikes(template: Any) -> bool:
    """Warn if a user's space has `lookalikes`, and return whether it does."""
    is_written = sum(1 for _ in walk(template)) <= _MOST
    advice = lookalikes(template) if is_written else ""
    if advice:
        warnings.warn(advice, RaytunerWarning, stacklevel=4)
    return bool(advice)


def nothing_varies(template: Mapping[str, Any]) -> str:
    """Return the message of the error about a space without hyperparameters."""
    advice = lookalikes(template)
    return (
        f"nothing varies in {dict(template)!r}: a space needs at least one hyperparameter with two"
        f" or more values{advice and '; '}{advice}"
    )


def _advice(node: Any) -> str | None:
    """Return the call that makes a hyperparameter of a value; None if it looks like a constant."""
    library = type(node).__module__.partition(".")[0]
    if hasattr(node, "rvs") or library in ("optuna", "skopt", "hyperopt", "ConfigSpace"):
        return "tune.uniform, tune.choice and the like, or translate it: raytuner.integrations"
    is_list = isinstance(node, list | tuple) and 2 <= len(node) <= _LONGEST
    if not is_list or not all(map(is_primitive, node)) or len(set(node)) < len(node):
        return None
    low, high, *others = node
    choice = f"tune.choice({list(node)})"
    if is_number(low) and is_number(high) and low < high and not others:
        whole = isinstance(low, int) and isinstance(high, int)
        span = f"tune.randint({low}, {high + 1})" if whole else f"tune.uniform({low}, {high})"
        return f"{span} or {choice}"
    if isinstance(node, list) or all(map(is_number, node)):
        return choice
    is_range = is_number(low) and is_number(high) and len(others) == 1
    return f"tune.{'log' if 'log' in others[0] else ''}uniform({low}, {high})" if is_range else None

"""Parse settings from a TOML file or the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError

if TYPE_CHECKING:
    from raytuner.search.priors import Near
    from raytuner.space import Space


def seconds(value: float | str) -> float:
    """Return a duration in seconds.

    Examples:
        >>> seconds("1h 30min"), seconds("45"), seconds(45)
        (5400.0, 45.0, 45)
    """
    if not isinstance(value, str):
        return value
    import pandas as pd

    try:
        is_number = value.replace(".", "", 1).isdecimal()
        text = re.sub(r"d\b", "D", value.lower())  # pandas' letter for a day
        found = float(value) if is_number else pd.Timedelta(text).total_seconds()
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise SettingError(
            f"{value!r} is not a duration; write a number of seconds, or text like '1h 30min'"
        )
    return found


def amounts(value: float | str | Mapping[str, float]) -> float | Mapping[str, float]:
    """Return a number, or numbers by name.

    Examples:
        >>> amounts("1.2"), amounts("head=0.1, spot=1.2"), amounts({"usd": 200})
        (1.2, {'head': 0.1, 'spot': 1.2}, {'usd': 200})
    """
    if not isinstance(value, str):
        return value
    try:
        if "=" not in value:
            return float(value)
        pairs = (part.partition("=") for part in value.split(","))
        return {name.strip(): float(number) for name, _, number in pairs}
    except ValueError as error:
        raise SettingError(
            f"{value!r} is neither a number nor numbers by name; write a budget like"
            " 'usd=200,gpu_hours=50', and prices like '1.2' or 'head=0.1,gpu=0.45'"
        ) from error


def space(value: Mapping[str, Any]) -> Space:
    """Return the search space that a table describes."""
    from raytuner.space import Space

    return Space.from_spec(value)


def resources(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the resources of a trial after checking them."""
    from raytuner.placement.gpu_memory import wants_fit, with_gpus
    from raytuner.placement.request import ResourceRequest

    ResourceRequest.of(with_gpus(value, 1) if wants_fit(value) else value)
    return value


def priors(value: Mapping[str, Any]) -> dict[str, Near | Mapping[str, float]]:
    """Return the priors of a table: `{ near = value, spread = 0.1 }`, or weights by choice."""
    from raytuner.search.priors import near

    found: dict[str, Near | Mapping[str, float]] = {}
    for name, prior in value.items():
        match prior:
            case {"near": center, "spread": spread} if len(prior) == 2:
                found[name] = near(center, spread)
            case {"near": center} if len(prior) == 1:
                found[name] = near(center)
            case Mapping() if "near" not in prior:
                found[name] = prior
            case _:
                raise SettingError(
                    f"{name} is {prior!r}; write {{ near = 0.1, spread = 0.2 }}, or a table with a"
                    " weight for each choice"
                )
    return found


_KINDS = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "Trainable": str,
    "SilenceRule": str,
    "Sequence": list,
    "Mapping": dict,
    "Resources": dict,
}


def kinds(annotation: str) -> tuple[type, ...]:
    """Return the types that a setting of this annotation may have in a TOML file.

    Examples:
        >>> kinds("str | Sequence[str] | None"), kinds("Mapping[str, Any]"), kinds("Searcher")
        ((<class 'str'>, <class 'list'>), (<class 'dict'>,), ())
    """
    while "[" in annotation:
        annotation = re.sub(r"\[[^\[\]]*\]", "", annotation)
    return tuple(_KINDS[part] for part in annotation.split(" | ") if part in _KINDS)

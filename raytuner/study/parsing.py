"""Settings as a TOML file or the command line writes them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError, SpaceError

if TYPE_CHECKING:
    from raytuner.search.priors import Near
    from raytuner.space import Space


def seconds(value: float | str, where: str) -> float:
    """Return a duration in seconds.

    >>> seconds("1h 30min", "time_budget_s"), seconds("45", ""), seconds(45, "")
    (5400.0, 45.0, 45)

    Raises:
        SettingError: The text is not a duration.
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
        raise SettingError(f"{where} is {value!r}; write seconds, or such as '45s' or '1h 30min'")
    return found


def space(value: Mapping[str, Any], where: str) -> Space:
    """Return the search space that a table describes.

    Raises:
        SpaceError: It describes none.
    """
    from raytuner.space import Space

    try:
        return Space.from_spec(value)
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from error


def resources(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Check what a trial needs.

    Raises:
        SettingError: Ray cannot place it.
    """
    from raytuner.placement.gpu_memory import wants_fit, with_gpus
    from raytuner.placement.request import ResourceRequest

    ResourceRequest.of(with_gpus(value, 1) if wants_fit(value) else value, where)
    return value


def priors(value: Mapping[str, Any], where: str) -> dict[str, Near | dict[str, float]]:
    """Return the priors of a table: `{ near = value, spread = 0.1 }`, or weights by choice.

    Raises:
        SettingError: One is neither.
    """
    from raytuner.search import near

    found: dict[str, Any] = {}
    for name, prior in value.items():
        if not isinstance(prior, Mapping):
            raise SettingError(
                f"{where}.{name} is {prior!r}; write {{ near = {prior!r} }}, or weights by value"
            )
        rest = {key: item for key, item in prior.items() if key != "near"}
        if "near" in prior and (unknown := rest.keys() - {"spread"}):
            raise SettingError(
                f"{where}.{name}: unknown key {min(unknown)}. Known here: near, spread"
            )
        found[name] = near(prior["near"], **rest) if "near" in prior else rest
    return found


_KINDS = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "Trainable": str,
    "Literal": str,
    "Sequence": list,
    "Mapping": dict,
    "Resources": dict,
}


def kinds(annotation: str) -> tuple[type, ...]:
    """Return the types that a setting of this annotation may have in a TOML file.

    >>> kinds("str | Sequence[str] | None"), kinds("Mapping[str, Any] | Space"), kinds("Searcher")
    ((<class 'str'>, <class 'list'>), (<class 'dict'>,), ())
    """
    while "[" in annotation:
        annotation = re.sub(r"\[[^\[\]]*\]", "", annotation)
    return tuple(_KINDS[part] for part in annotation.split(" | ") if part in _KINDS)


def choices(annotation: str) -> list[str]:
    """Return the texts that a `Literal` allows; none for other annotations.

    >>> choices("Literal['a', 'b']"), choices("str")
    (['a', 'b'], [])
    """
    return re.findall(r"['\"](\w+)['\"]", annotation) if annotation.startswith("Literal") else []


# What people and other libraries call a setting, where spelling does not tell.
_OTHER_NAMES = {
    "budget": "num_samples, time_budget_s or gpu_hours",
    "trials": "num_samples",
    "n_trials": "num_samples",
    "n_iter": "num_samples",
    "time": "time_budget_s",
    "timeout": "time_budget_s",
    "points": "points_to_evaluate",
    "type": "scheduler",
}


def meant(name: str, known: Iterable[str]) -> str | None:
    """Return the setting that an unknown name may stand for.

    >>> meant("max_time", ["max_t"]), meant("trials", ["max_t"]), meant("qqq", ["max_t"])
    ('max_t', 'num_samples', None)
    """
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return _OTHER_NAMES.get(name.lower()) or next(iter(close), None)

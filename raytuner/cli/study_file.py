"""A whole study in one TOML file.

trainable = "train:fit"    # module:function
metric = "loss"
mode = "min"
# or several: metric = ["loss", "ms"], mode = ["min", "min"], and weights = [1, 0.1] to add them
outcome_constraints = ["latency_ms <= 20"]
cost = "time_total_s"      # improvement per second
standard_error = "loss_se" # of the metric, in each report
max_t = 27                 # optional, as is all below but the budget and the space
time_attr = "training_iteration"
curves = ["train_loss"]    # further metrics whose values are all kept, not only the last
name = "first"
storage = "results"
seed = 0
max_concurrent = 8
reuse_actors = false
stop_after_failures = 5    # of one cause, without a success; 0: never
max_silence = "10min"      # a trial that has not reported for so long is ended, by the rule
on_silence = "retry"       # or "fail" or "warn"
parameter_constraints = ["layers * units <= 1024"]
strategy = "bayes"         # docs/search.md has the others
earlier = ["results/last-year"]  # studies to start from: their folders

[budget]                   # one or more; what is reached first ends the study
trials = 100
time = "1h 30min"          # or seconds
gpu_hours = 4

[resources]                # of one trial
cpu = 2
gpu = 0.5                  # or "fit": the share that a trial's memory takes, by a short run
accelerator_type = "A100"  # Ray's name; memory = "8GiB" and custom resources work too
# or, for a trial of several processes: bundles = [{ cpu = 1 }, { gpu = 1 }], strategy = "PACK"

[scheduler]
type = "asha"              # promotion, hyperband, predictive-termination, freeze-thaw
grace_period = 1
reduction_factor = 3

[[points]]                 # configurations to try first
lr = 0.01

[priors]                   # where the optimum is believed to be
lr = { near = 0.01, spread = 0.1 }
optimizer = { adam = 3, sgd = 1 }  # weights

[space]
lr = { type = "float", low = 1e-4, high = 0.1, log = true }
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raytuner.errors import SettingError, SpaceError

# Key of the file -> argument of raytuner.tune, and the types that it may have.
_NUMBER = (int, float)
_TOP: dict[str, tuple[str, tuple[type, ...]]] = {
    "trainable": ("trainable", (str,)),
    "metric": ("metric", (str, list)),
    "mode": ("mode", (str, list)),
    "outcome_constraints": ("outcome_constraints", (list,)),
    "weights": ("weights", (list,)),
    "cost": ("cost", (str,)),
    "standard_error": ("standard_error", (str,)),
    "max_t": ("max_t", _NUMBER),
    "time_attr": ("time_attr", (str,)),
    "name": ("name", (str,)),
    "storage": ("storage_path", (str,)),
    "seed": ("seed", (int,)),
    "max_concurrent": ("max_concurrent", (int,)),
    "reuse_actors": ("reuse_actors", (bool,)),
    "stop_after_failures": ("stop_after_failures", (int,)),
    "max_silence": ("max_silence_s", (*_NUMBER, str)),
    "on_silence": ("on_silence", (str,)),
    "points": ("points_to_evaluate", (list,)),
    "parameter_constraints": ("parameter_constraints", (list,)),
    "strategy": ("strategy", (str,)),
    "earlier": ("earlier", (list,)),
    "curves": ("curves", (list,)),
}
_TABLES: dict[str, dict[str, tuple[str, tuple[type, ...]]]] = {
    "budget": {
        "trials": ("num_samples", (int,)),
        "time": ("time_budget_s", (*_NUMBER, str)),
        "gpu_hours": ("gpu_hours", _NUMBER),
    },
    "scheduler": {
        "type": ("scheduler", (str,)),
        "grace_period": ("grace_period", _NUMBER),
        "reduction_factor": ("reduction_factor", (int,)),
    },
}
_REQUEST = ("cpu", "gpu", "memory", "accelerator_type", "bundles")  # some keys of [resources]
_OTHER_TABLES = ("resources", "priors", "space")

# A name that a person may try, in lower case -> the place of the key in the file.
_PLACES = {
    **{table: table for table in (*_TABLES, *_OTHER_TABLES)},
    **{name: f"resources.{name}" for name in _REQUEST},
    **{"num_gpus": "resources.gpu", "num_cpus": "resources.cpu", "param_space": "space"},
    **{
        name: f"{table}.{key}"
        for table, keys in _TABLES.items()
        for key, (argument, _) in keys.items()
        for name in (argument, key)
    },
    **{name: key for key, (argument, _) in _TOP.items() for name in (argument, key)},
}
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
}


def read_study(path: Path) -> dict[str, Any]:
    """The arguments of :func:`raytuner.tune` that a study's file gives.

    ``trainable`` is the text ``module:function``, ``param_space`` a :class:`Space`.

    Raises:
        SettingError: The file is no TOML, or a key is unknown or has the wrong type, or the
            resources cannot be placed.
        SpaceError: What it says of the space is no search space.
    """
    from raytuner.placement.gpu_memory import wants_fit, with_gpus
    from raytuner.placement.request import ResourceRequest
    from raytuner.space import Space

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingError(f"{path} cannot be read as TOML: {error}") from error
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    known = [*_TOP, *_TABLES, *_OTHER_TABLES]
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key in _TOP:
            name, types = _TOP[key]
            found[name] = _checked(path, key, value, types)
        elif key not in known:
            raise SettingError(f"{path}: {_unknown(key, known)}")
        elif not isinstance(value, Mapping):
            raise SettingError(f"{path}: {key} is {value!r}; it must be a table, [{key}]")
        elif key in _TABLES:
            for inner, item in value.items():
                if inner not in _TABLES[key]:
                    raise SettingError(f"{path}: {_unknown(inner, _TABLES[key], f'{key}.')}")
                name, types = _TABLES[key][inner]
                found[name] = _checked(path, f"{key}.{inner}", item, types)
        elif key == "resources":
            for name, amount in value.items():  # any other name may be that of a custom resource
                if name in _TOP and name not in content and isinstance(amount, _TOP[name][1]):
                    raise SettingError(f"{path}: {_unknown(name, _REQUEST, 'resources.')}")
            one = with_gpus(value, 1) if wants_fit(value) else value
            ResourceRequest.of(one, f"{path}: resources")
            found["resources"] = value
        elif key == "priors":
            found["priors"] = {name: _prior(path, name, prior) for name, prior in value.items()}
        else:
            try:
                found["param_space"] = Space.from_spec(value)
            except SpaceError as error:
                raise SpaceError(f"{path}: {error}") from error
    for name, key in (("time_budget_s", "budget.time"), ("max_silence_s", "max_silence")):
        if isinstance(found.get(name), str):
            found[name] = seconds(found[name], f"{path}: {key}")
    return found


_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def seconds(text: str, where: str) -> float:
    """A duration such as "1h 30min" in seconds.

    >>> seconds("1h 30min", "budget.time"), seconds("45s", "")
    (5400.0, 45.0)

    Raises:
        SettingError: It is none.
    """
    parts = _DURATION.findall(text.lower())
    rest = _DURATION.sub("", text.lower()).strip()
    if not parts or rest or any(unit not in _UNITS for _, unit in parts):
        raise SettingError(f"{where} is {text!r}; write seconds, or such as '45s' or '1h 30min'")
    return sum(float(n) * _UNITS[unit] for n, unit in parts)


def _prior(path: Path, name: str, prior: Any) -> Any:
    """One of the table of priors: ``{ near = value, spread = 0.1 }``, or weights by choice."""
    from raytuner.search import near

    if not isinstance(prior, Mapping):
        raise SettingError(
            f"{path}: priors.{name} is {prior!r}; write {{ near = {prior!r} }}, or weights by value"
        )
    if "near" not in prior:
        return dict(prior)
    if unknown := set(prior) - {"near", "spread"}:
        where = f"priors.{name}."
        raise SettingError(f"{path}: {_unknown(min(unknown), ['near', 'spread'], where)}")
    return near(prior["near"], **{key: prior[key] for key in prior if key != "near"})


def _checked(path: Path, key: str, value: Any, types: tuple[type, ...]) -> Any:
    is_bool = isinstance(value, bool)
    if not isinstance(value, types) or (is_bool and bool not in types):
        words = " or ".join(_WORDS[kind] for kind in types if not (kind is int and float in types))
        raise SettingError(f"{path}: {key} is {value!r}; it must be {words}")
    return value


def _unknown(key: str, known: Iterable[str], prefix: str = "") -> str:
    """Say that a key is unknown, and which key was meant, in this table or another."""
    close = difflib.get_close_matches(key, known := list(known), n=1)
    place = f"{prefix}{close[0]}" if close else None
    elsewhere = difflib.get_close_matches(key.lower(), _PLACES, n=1, cutoff=0.6)
    if elsewhere and (place is None or key.lower() in _PLACES):
        place = _PLACES[elsewhere[0]]
    if place is None:
        hint = "."
    elif prefix and "." not in place and place not in known:
        hint = f"; did you mean {place}? It stands above the first [table]."
    else:
        hint = f"; did you mean {place}?"
    return f"unknown key {prefix}{key}{hint} Known here: {', '.join(known)}"

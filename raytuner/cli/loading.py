"""Training functions, search spaces and whole studies from what a person types."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError, SpaceError, TrainableError
from raytuner.study.parsing import kinds, meant
from raytuner.study.settings import SETTINGS, about
from raytuner.study.trainable import imported

if TYPE_CHECKING:
    from raytuner.simulate import Workload
    from raytuner.space import Space

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_KEYS = {
    "space" if name == "param_space" else name: setting
    for name, setting in SETTINGS.items()
    if kinds(str(setting.type))
}
_REQUEST = ("cpu", "gpu", "memory", "accelerator_type", "bundles")  # some keys of [resources]
_REQUEST_NAMES = {**{name: name for name in _REQUEST}, "num_cpus": "cpu", "num_gpus": "gpu"}


def read_study(path: Path) -> dict[str, Any]:
    """Return the arguments of `raytuner.tune` that a study's TOML file gives.

    A key has the name of the argument, but for `space`. `trainable` is the text `module:function`,
    `param_space` a `Space`. A duration may be text such as "1h 30min".

    Raises:
        SettingError: The file is not TOML, a key is unknown or has the wrong type, or a value is
            not valid.
        SpaceError: The space is not a search space.
    """
    content = _read_toml(path, SettingError)
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key not in _KEYS:
            raise SettingError(f"{path}: {_unknown(key)}. Known here: {', '.join(_KEYS)}")
        setting, where = _KEYS[key], f"{path}: {key}"
        parse = about(setting).parse
        types = kinds(str(setting.type))
        if parse is not None and float in types:
            types += (str,)
        if not _is_one_of(value, types):
            words = " or ".join(_WORDS[kind] for kind in types)
            raise SettingError(f"{where} is {value!r}; it must be {words}")
        if key == "resources":
            for name in value:  # a setting below [resources] belongs to that table
                if name in _KEYS and name not in content:
                    raise SettingError(f"{path}: resources.{name}: put {name} above [resources]")
        found[setting.name] = value if parse is None else parse(value, where)
    return found


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, (*types, int) if float in types else types)


def _unknown(key: str) -> str:
    """Say that a key is unknown, and which one was meant."""
    if key.lower() in _REQUEST_NAMES:
        return f"unknown key {key}; did you mean resources.{_REQUEST_NAMES[key.lower()]}?"
    names = {**{key: key for key in _KEYS}, "param_space": "space"}
    close = meant(key, names)
    place = names.get(close or "", close)
    hint = f"; did you mean {place}? It stands above the first [table]" if place else ""
    return f"unknown key {key}{hint}"


def _read_toml(path: Path, error: type[SettingError | SpaceError]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as raised:
        raise error(f"{path} cannot be read as TOML: {raised}") from raised
    except OSError as raised:
        raise error(f"{path} cannot be read: {raised.strerror}") from raised


def load_space(path: Path) -> Space:
    """Return the search space that a TOML file describes, in its table `space` or in all of it.

    A file with a table `space` may have `parameter_constraints` too, as a study's file.

    Raises:
        SpaceError: The file is not TOML, or describes no search space.
    """
    from raytuner.space import Space

    content = _read_toml(path, SpaceError)
    try:
        space = Space.from_spec(content.get("space", content))
        if "space" not in content:
            return space
        return space.constrained(content.get("parameter_constraints", []))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def load_function(name: str) -> Callable[..., Any]:
    """Return the function `module:function` of the current directory or of what is installed.

    Raises:
        TrainableError: It cannot be imported or called.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    return imported(name)


def load_workload(name: str) -> Workload:
    """Return the workload of the function `module:function` or `module:function:argument`.

    Raises:
        TrainableError: It cannot be imported or called, or returns no workload.
    """
    from raytuner.simulate import Workload

    module, _, rest = name.partition(":")
    function, _, argument = rest.partition(":")
    made = load_function(f"{module}:{function}")(*([argument] if argument else []))
    if not isinstance(made, Workload):
        raise TrainableError(
            f"{name!r} gave {made!r} ({type(made).__name__}); it must give a"
            " raytuner.simulate.Workload"
        )
    return made

"""Load training functions, search spaces and studies that the command line names."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError, SpaceError
from raytuner.study.parsing import kinds
from raytuner.study.settings import SETTINGS, parsed
from raytuner.study.trainable import imported

if TYPE_CHECKING:
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
    "space" if name == "param_space" else name: name
    for name, setting in SETTINGS.items()
    if kinds(str(setting.type))
}


def read_study(path: Path) -> dict[str, Any]:
    """Return the arguments of `raytuner.tune` that a study's TOML file gives.

    The keys are the names of the arguments, except `space` for `param_space`. `trainable` is text
    of the form `module:function`. A duration may be text such as "1h 30min".

    Raises:
        SettingError: The file is not TOML, a key is unknown or has the wrong type, or a value is
            not valid.
        SpaceError: The space is not a search space.
    """
    content = _read_toml(path, SettingError)
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key not in _KEYS:
            from raytuner.space.template import known_names

            raise SettingError(
                f"{path}: unknown key {key}; known keys above the first [table]:"
                f" {known_names(key, _KEYS)}"
            )
        setting = SETTINGS[_KEYS[key]]
        types = kinds(str(setting.type))
        words = " or ".join(_WORDS[kind] for kind in types)
        if float in types:
            types += (int, str) if setting.metadata["parse"] else (int,)
        if not (bool in types if isinstance(value, bool) else isinstance(value, types)):
            raise SettingError(f"{path}: {key} is {value!r}; it must be {words}")
        if key == "resources" and (misplaced := [name for name in value if name in _KEYS]):
            raise SettingError(f"{path}: move {misplaced[0]} above [resources]")
        found[setting.name] = parsed(setting.name, value, f"{path}: {key}")
    return found


def _read_toml(path: Path, error: type[SettingError | SpaceError]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as raised:
        raise error(f"{path} cannot be read as TOML: {raised}") from raised
    except OSError as raised:
        raise error(f"{path} cannot be read: {raised.strerror}") from raised


def load_space(path: Path) -> Space:
    """Return the search space in a TOML file: its table `space`, or else the whole file.

    A file with a table `space` may have `parameter_constraints` too, like a study's file.

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


def search_here() -> None:
    """Let modules be imported from the current directory."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()


def load_function(name: str) -> Callable[..., Any]:
    """Return the function `module:function` from the current directory or installed packages.

    Raises:
        TrainableError: It cannot be imported or called.
    """
    search_here()
    return imported(name)

"""How a study came about, kept in its record so that it can be repeated and continued."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.placement.request import Resources

_PACKAGES = ("raytuner", "ray", "torch", "botorch", "gpytorch", "numpy")


def note_run(history: History, what: str, changes: Sequence[str] = ()) -> None:
    """Add a run to the record's list of them.

    Args:
        history: The record.
        what: What began: "run", "resumed" or "extended".
        changes: What is different from the run before, in words.
    """
    run = {
        "what": what,
        "at": time.time(),
        "program": program(),
        "folder": str(Path.cwd()),
        "changes": list(changes),
        "versions": {"Python": platform.python_version(), **_versions()},
    }
    history.set_meta("runs", [*history.get_meta("runs", []), run])


def program() -> str | None:
    """Return the name of the program that runs; None where it says nothing, as in a notebook.

    Its arguments are not kept: they may hold secrets.

    >>> program() is None or isinstance(program(), str)
    True
    """
    name = Path(sys.argv[0]).name if sys.argv else ""
    return None if name in ("", "-c", "ipykernel_launcher.py") else name


def note_settings(history: History, settings: Mapping[str, Any]) -> None:
    """Keep what a study was asked; what JSON cannot hold is kept as text."""
    history.set_meta("settings", {key: _plain(value) for key, value in settings.items()})


def known_resources(settings: Mapping[str, Any], again: str) -> Resources | None:
    """What the record says a trial needs.

    Raises:
        SettingError: It has their text alone (a function, say).
    """
    resources = settings.get("resources")
    if isinstance(resources, str):
        raise SettingError(
            f"the study was run with resources={resources}, which the record cannot hold; pass them"
            f" again: {again}"
        )
    return resources


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            continue
    return found

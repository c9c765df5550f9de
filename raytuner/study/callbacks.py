"""Callbacks whose errors are logged once and do not end a study."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partialmethod
from numbers import Number
from typing import Any

import numpy as np
from ray import cloudpickle
from ray.tune import Callback
from ray.tune.callback import CallbackList
from ray.tune.logger import (
    CSVLoggerCallback,
    JsonLoggerCallback,
    LoggerCallback,
    TBXLoggerCallback,
)

from raytuner.controller.tuner import callbacks_from_environment
from raytuner.errors import RaytunerError, SettingError

logger = logging.getLogger(__name__)

RAYS_CHOICE = {"RAY_TUNE_CALLBACKS": "", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
"""Environment in which Ray adds no callbacks: `guarded` has added them already."""

_LOGGERS = (CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback)
_DEEPEST = 20  # levels of a report that are kept
_INT64 = 2**63
_UNSHOWABLE = "<unshowable "
_SIMPLE = (str, bool, int, float, np.generic, type(None))


def guarded(callbacks: Sequence[Any] = ()) -> list[Callback]:
    """Return the user's callbacks and those that Ray would add, each guarded.

    Call it before `RAYS_CHOICE` is set.

    Raises:
        SettingError: One of the user's callbacks is not a Ray Tune callback.
    """
    for number, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise SettingError(
                f"callbacks[{number}] is {callback!r}; it must be an object of a class that"
                " inherits from ray.tune.Callback"
            )
    given = [*callbacks, *callbacks_from_environment()]
    loggers: list[Callback] = []
    if os.environ.get("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS") != "1":
        for kind in _LOGGERS:
            if not any(isinstance(callback, kind) for callback in given):
                with suppress(ImportError):  # TensorBoard's is not installed
                    loggers.append(kind())
    return [*map(Guarded, given), Plain(), *map(Guarded, loggers)]


class Guarded(Callback):
    """A callback whose exceptions do not end the experiment.

    Each kind of exception is logged once for each hook. KeyboardInterrupt, SystemExit and every
    RaytunerError still pass: a callback that raises one of these stops the study on purpose. A
    callback that fails in `setup` is not called again. A logger that fails at a report gets the
    report once more with its numbers and texts only.

    Args:
        callback: The callback.
    """

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self._is_off = False
        self._logged: set[tuple[str, type[Exception]]] = set()

    def setup(self, *args: Any, **info: Any) -> None:
        """Set the callback up as Ray does, even if its `setup` takes no arguments."""
        _, is_good = self._call("setup", CallbackList([self.callback]).setup, *args, **info)
        self._is_off = not is_good

    def on_trial_result(  # type: ignore[override]  # Ray names each argument
        self, *args: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass a report on."""
        _, is_good = self.call("on_trial_result", *args, result=result, **info)
        if not is_good and isinstance(self.callback, LoggerCallback):
            simple = {k: v for k, v in plain(result).items() if isinstance(v, _SIMPLE)}
            if len(simple) < len(result):
                self.call("on_trial_result", *args, result=simple, **info)

    def get_state(self) -> dict[str, Any] | None:
        """Return what Ray saves of the callback; None if it cannot be saved."""
        state, _ = self.call("get_state")
        _, is_good = self._call("get_state", cloudpickle.dumps, state)
        return dict(state) if state and is_good else None

    def call(self, hook: str, *args: Any, **info: Any) -> tuple[Any, bool]:
        """Call a method of the callback; return its result and whether it raised nothing."""
        return self._call(hook, getattr(self.callback, hook), *args, **info)

    def _call(
        self, hook: str, method: Callable[..., Any], *args: Any, **info: Any
    ) -> tuple[Any, bool]:
        if self._is_off:
            return None, False
        try:
            return method(*args, **info), True
        except RaytunerError:
            raise
        except Exception as error:
            if (kind := (hook, type(error))) not in self._logged:
                self._logged.add(kind)
                logger.error(
                    "The callback %s failed in %s; the study goes on%s. Further failures of this"
                    " kind are not logged.",
                    type(self.callback).__name__,
                    hook,
                    " without it" if hook == "setup" else "",
                    exc_info=error,
                )
            return None, False


for _name in vars(Callback):
    if _name.startswith(("on_", "set_")) and _name not in vars(Guarded):
        setattr(Guarded, _name, partialmethod(Guarded.call, _name))


class Plain(Callback):
    """Turns reports into ones that the loggers after it and Ray itself can show and save.

    Ray lets callbacks change a report in place. Searcher and scheduler have received it before.
    """

    def on_trial_result(  # type: ignore[override]  # Ray names each argument
        self, *args: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Replace what Ray's own files cannot hold."""
        changed = plain(result)
        if changed is not result:
            result.clear()
            result.update(changed)


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value of a report as one that JSON, CSV and TensorBoard can hold.

    Keys become texts. An integer beyond 64 bits becomes a float, and infinite beyond a float. Other
    numbers that are not real (complex, `Decimal`) and objects that cannot be shown become texts. A
    value that they can hold is returned as it is.

    Example:
        >>> plain({"loss": 0.5, "params": 2**70, "confusion": {(0, 1): 3}})
        {'loss': 0.5, 'params': 1.1805916207174113e+21, 'confusion': {'(0, 1)': 3}}
        >>> plain({"big": -(10**400)})
        {'big': -inf}
    """
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        pairs = {_text(k): plain(v, depth + 1) for k, v in value.items()}
        is_same = type(value) is dict and pairs.keys() == value.keys()
        return value if is_same and all(pairs[k] is value[k] for k in value) else pairs
    if isinstance(value, list | tuple):
        items = [plain(one, depth + 1) for one in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return plain(value.tolist(), depth)
    if isinstance(value, str):
        return _writable(value)
    if value is None or isinstance(value, bool | float | np.generic | np.ndarray):
        return str(value) if isinstance(value, np.complexfloating) else value
    if isinstance(value, int):
        if -_INT64 <= value < _INT64:
            return value
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    text = _text(value)
    return text if isinstance(value, Number) or text.startswith(_UNSHOWABLE) else value


def _text(value: object) -> str:
    try:
        return _writable(str(value))
    except Exception:  # the user's own object may raise anything here
        return f"{_UNSHOWABLE}{type(value).__name__}>"


def _writable(text: str) -> str:
    """Return the text as UTF-8 can hold it, with ? for half of a surrogate pair."""
    found = text.encode(errors="replace").decode()
    return text if found == text else found

"""Guards around callbacks: an error is logged once and does not end the study."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partialmethod
from numbers import Number, Real
from typing import Any

from ray.tune import Callback
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback

from raytuner.controller.tuner import callbacks_from_environment
from raytuner.errors import RaytunerError, SettingError

logger = logging.getLogger(__name__)

RAYS_CHOICE = {"RAY_TUNE_CALLBACKS": "", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
"""Environment variables that keep Ray from adding callbacks; `guarded` adds them."""


def guarded(callbacks: Sequence[Any] = ()) -> list[Callback]:
    """Return the user's callbacks and Ray's default ones, each guarded.

    Call it before setting `RAYS_CHOICE`.
    """
    for number, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise SettingError(
                f"callbacks[{number}] is {callback!r}; it must be an instance of a subclass of"
                " ray.tune.Callback"
            )
    given = [*callbacks, *callbacks_from_environment()]
    loggers: list[Callback] = []
    if os.environ.get("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS") != "1":
        for kind in (CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback):
            if not any(isinstance(callback, kind) for callback in given):
                with suppress(ImportError):  # TensorBoard's is not installed
                    loggers.append(kind())
    return [*map(Guarded, [*given, Plain(), *loggers])]


class Guarded(Callback):
    """A callback whose exceptions do not end the experiment.

    Each kind of exception is logged once for each hook. KeyboardInterrupt, SystemExit and every
    RaytunerError still pass: a callback that raises one of these stops the study on purpose. A
    callback that fails in `setup` is not called again.

    Args:
        callback: The callback.
    """

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self._is_off = False
        self._logged: set[tuple[str, type[Exception]]] = set()

    def call(self, hook: str, *args: Any, **info: Any) -> Any:
        """Call a method of the callback and return its result; None if it raises."""
        if self._is_off:
            return None
        try:
            return getattr(self.callback, hook)(*args, **info)
        except RaytunerError:
            raise
        except Exception as error:
            self._is_off = hook == "setup"
            if (kind := (hook, type(error))) not in self._logged:
                self._logged.add(kind)
                logger.error(
                    "The callback %s failed in %s. The study continues%s. Further failures of this"
                    " kind will not be logged.",
                    type(self.callback).__name__,
                    hook,
                    " without it" if self._is_off else "",
                    exc_info=error,
                )
            return None


for _hook in ("setup", "get_state", "set_state", *vars(Callback)):
    if not _hook.startswith("_"):
        setattr(Guarded, _hook, partialmethod(Guarded.call, _hook))


class Plain(Callback):
    """Makes reports plain, so that Ray and the loggers that follow can show and save them.

    Ray lets callbacks change a report in place. The searcher and the scheduler see it before.
    """

    def on_trial_result(  # type: ignore[override]  # Ray names each argument
        self, *args: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Replace what Ray's own files cannot hold."""
        changed = plain(result)
        result.clear()
        result.update(changed)


def plain(value: Any) -> Any:
    """Return a value of a report in a form that JSON, CSV and TensorBoard can hold.

    Keys become text, and so do complex numbers and integers beyond 64 bits.

    Examples:
        >>> plain({"loss": 0.5, "confusion": {(0, 1): 3}, "root": [1j]})
        {'loss': 0.5, 'confusion': {'(0, 1)': 3}, 'root': ['1j']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    is_huge = isinstance(value, int) and not -(2**63) <= value < 2**63
    is_odd = isinstance(value, Number) and not isinstance(value, Real)
    return str(value) if is_huge or is_odd else value

"""Read arguments of a Tuner for which Ray has no public way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ray.tune import Callback, PlacementGroupFactory

# Private: only the frame of the Tuner's constructor has the param_space as the user wrote it.
from ray.tune.impl.tuner_internal import TunerInternal

# Private: callbacks that an environment variable names, which Ray puts before its own loggers.
from ray.tune.utils.callback import _initialize_env_callbacks


def param_space_of_tuner() -> Mapping[str, Any] | None:
    """Return the param_space of the Tuner that is being constructed; None at any other time.

    Ray pickles a searcher while it constructs a Tuner. Later it passes the searcher a param_space
    in which placeholders replace the user's objects.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is TunerInternal.__init__.__code__:
            given = frame.f_locals["self"].param_space
            return given if isinstance(given, Mapping) else None
        frame = frame.f_back
    return None


def callbacks_from_environment() -> list[Callback]:
    """Return new callbacks of the classes that Ray's environment variable names."""
    return list(_initialize_env_callbacks())


def request_of_function(trainable: Any) -> PlacementGroupFactory | None:
    """Return the request that `ray.tune.with_resources` gave a function; None if it is unknown.

    It is unknown for a class, for a registered name and if it depends on the configuration.
    """
    # Private: there is no public way to read what `with_resources` has set.
    request = getattr(trainable, "_resources", None)
    return request if isinstance(request, PlacementGroupFactory) else None

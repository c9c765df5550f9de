"""The errors raytuner raises.

Each message names what was received, where, and what would be right. Those about a bad value are
also ``ValueError``, which users of Ray and scikit-learn catch.
"""

from __future__ import annotations


class RaytunerError(Exception):
    """Base class of every error that raytuner raises on purpose."""


class SpaceError(RaytunerError, ValueError):
    """A search space that cannot be searched: empty, a bound below the other, a bad domain."""


class ConfigError(RaytunerError, ValueError):
    """A configuration that does not fit the search space."""


class MetricError(RaytunerError, ValueError):
    """A metric, mode or time attribute that is unknown, never reported or not a number."""


class SettingError(RaytunerError, ValueError):
    """An argument of a searcher, scheduler or study outside of what it may be."""


class PlacementError(RaytunerError):
    """A request for resources that nothing in the cluster can ever satisfy."""


class HistoryError(RaytunerError):
    """A record of a search that cannot be read, or an event that does not fit it."""


class InUseError(HistoryError):
    """A record that another process, or another run in this process, is writing."""


class TrainableError(RaytunerError):
    """A training function that cannot be run as given."""


class NoResultError(RaytunerError):
    """A study in which no trial has a usable value."""


class RaytunerWarning(UserWarning):
    """Something did not go as asked and a documented fall-back took its place."""

"""The errors that raytuner raises, and a function that hides secrets in their text.

A message states what was received, where, and what is valid. Errors about a bad value are also
`ValueError`, which users of Ray and scikit-learn catch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit


class RaytunerError(Exception):
    """Base class of every error that raytuner raises on purpose."""


class SpaceError(RaytunerError, ValueError):
    """An invalid search space: empty, with bounds in the wrong order, or with a bad domain."""


class ConfigError(RaytunerError, ValueError):
    """A configuration that does not fit the search space."""


class MetricError(RaytunerError, ValueError):
    """A metric, mode or time attribute that is unknown, is never reported or is not a number."""


class SettingError(RaytunerError, ValueError):
    """An invalid argument of a searcher, scheduler or study."""


class PlacementError(RaytunerError):
    """A resource request that the cluster can never satisfy."""


class HistoryError(RaytunerError):
    """A record of a search that cannot be read or written, or an event that does not fit it."""


class InUseError(HistoryError):
    """A record that another process, or another run in this process, is writing to."""


class TrainableError(RaytunerError):
    """A training function that cannot be run as given."""


class NoResultError(RaytunerError):
    """A study in which no trial has a usable value."""


class RaytunerWarning(UserWarning):
    """Something did not work as requested, and raytuner used a documented fallback."""


_WORDS = r"secret|passw|passphrase|pgpass|token(?!s|i)|credential"
_KEYS = r"(?:api|access|private|account|shared|storage|encryption|signing|master)[_-]?key"
_SECRET = rf"(?i:{_WORDS}|{_KEYS})"
# A short word counts only at the end of a longer name: PWD is the working directory.
_VARIABLE = re.compile(rf"{_SECRET}|(?i:_(?:key|pat|pwd|auth|sas|sig)|pass)$")
_URI = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_VALUE = r"(?:(?i:bearer|basic|digest)\s+)?(?:\"[^\"]*\"|'[^']*'|\S+)"
_OPTION = re.compile(
    rf"(?P<name>[\w.-]*{_SECRET}[\w.-]*['\"]?\s*[=:]\s*|--?[\w-]*{_SECRET}[\w-]*\s+"
    rf"|(?<![A-Za-z])(?i:sig|signature|pwd|pat|sas)['\"]?\s*=\s*|\b(?i:bearer)\s+){_VALUE}"
)
_HEADER = re.compile(r"(?P<name>(?i:authorization|cookie)['\"]?\s*[=:]).*")
_MASK = "***"
_SHORTEST = 6  # characters of a secret: "1" or "true" in the environment is not one


def without_secrets(words: str, environment: Mapping[str, str] | None = None) -> str:
    """Return text with secrets replaced by a mask.

    These are masked: the user part and the query of a URI, and the value of an option or setting
    with the name of a secret, token, password, key or signature. Also masked, anywhere in the text,
    are the values of environment variables with such names, and passwords in URIs in environment
    variables.

    Args:
        words: The text, such as the error of a training function.
        environment: Variables by name. None: those of this process.

    Examples:
        >>> without_secrets("run.py --storage s3://key:hid/d@n@bucket/x?sig=abc --api-key abc", {})
        'run.py --storage s3://***@bucket/x?*** --api-key ***'
        >>> without_secrets("401 for hunter22", {"DB_PASSWORD": "hunter22"})
        '401 for ***'
    """
    known = set()
    for name, value in (os.environ if environment is None else environment).items():
        secret = value if _VARIABLE.search(name) else _password_in(value)
        if len(secret) >= _SHORTEST:
            known |= {secret, quote(secret, safe="")}
    for secret in sorted(known, key=len, reverse=True):
        words = words.replace(secret, _MASK)
    words = _URI.sub(lambda found: _masked(found[0]), words)
    words = _HEADER.sub(lambda found: f"{found['name']} {_MASK}", words)
    return _OPTION.sub(lambda found: found["name"] + _MASK, words)


def _masked(uri: str) -> str:
    """A URI with its user part (of any characters), query and fragment masked."""
    scheme, _, rest = uri.partition("://")
    user, at, rest = rest.rpartition("@")
    if "?" in user or "#" in user:  # the @ may stand in the query as well
        return f"{scheme}://{_MASK}"
    path = re.split("[?#]", rest, maxsplit=1)[0]
    query = rest[len(path) : len(path) + 1]
    return f"{scheme}://{_MASK * bool(user)}{at}{path}{query}{_MASK * bool(query)}"


def _password_in(value: str) -> str:
    try:
        return urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return ""

"""Numbers, configurations and states in words, the same wherever a person reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from raytuner.history import TrialState

WORDS = {
    TrialState.RUNNING: "running",
    TrialState.PAUSED: "paused",
    TrialState.PENDING: "pending",
    TrialState.COMPLETED: "completed",
    TrialState.STOPPED_EARLY: "stopped early",
    TrialState.FAILED: "failed",
    TrialState.REMOVED: "dropped",
}


def clock(seconds: float) -> str:
    """Seconds as a person says them.

    >>> clock(75.4), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def count(n: float, noun: str) -> str:
    """A number of things.

    >>> count(1, "trial"), count(12, "trial")
    ('1 trial', '12 trials')
    """
    return f"{n:g} {noun}" if n == 1 else f"{n:g} {noun}s"


def printable(words: str) -> str:
    """Text that a terminal shows as it is: what would steer it is written out.

    >>> printable(chr(27) + "[31m") == chr(92) + "x1b[31m"
    True
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


_SECRET = r"(?i:secret|passw|token(?!s|i)|credential|(?:api|access|private)[_-]?key)"
_IN_URI = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_OPTION = re.compile(
    rf"(?P<name>[\w.-]*{_SECRET}[\w.-]*['\"]?\s*[=:]\s*|--?[\w-]*{_SECRET}[\w-]*\s+)\S+"
)
_MASK = "***"
_SHORTEST = 6  # characters of a secret: "1" or "true" in the environment is none


def without_secrets(words: str, environment: Mapping[str, str] | None = None) -> str:
    """Text to be kept or shown, without the secrets that a process knows.

    Masked are user and password in a URI, the value of an option or setting that is called a
    secret, a token, a password or a key, and, wherever it stands, what such a variable of the
    environment holds.

    Args:
        words: The text.
        environment: Variables by name; None: those of this process.

    Example:
        >>> without_secrets("run.py --storage s3://key:hidden@bucket/x --api-key abc", {})
        'run.py --storage s3://***@bucket/x --api-key ***'
        >>> without_secrets("401 for hunter22", {"DB_PASSWORD": "hunter22"})
        '401 for ***'
    """
    known = os.environ if environment is None else environment
    held = {v for name, v in known.items() if re.search(_SECRET, name) and len(v) >= _SHORTEST}
    for secret in sorted(held, key=len, reverse=True):
        words = words.replace(secret, _MASK)
    words = _IN_URI.sub(_MASK, words)
    return _OPTION.sub(lambda found: found["name"] + _MASK, words)


def value(item: Any) -> str:
    """A hyperparameter's value, floats to four digits.

    >>> value(0.000123456), value("adam"), value(None)
    ('0.0001235', 'adam', 'None')
    """
    return f"{item:.4g}" if isinstance(item, float) else printable(str(item))


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The pairs of a nested configuration, keys joined by a slash.

    >>> dict(flat({"net": {"width": 8}, "lr": 0.1}))
    {'net/width': 8, 'lr': 0.1}
    """
    for key, item in config.items():
        if isinstance(item, Mapping) and item:
            yield from flat(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


def one_line(config: Mapping[str, Any]) -> str:
    """A configuration in one line.

    >>> one_line({"lr": 0.001, "optimizer": "adam"})
    'lr=0.001 optimizer=adam'
    """
    return " ".join(f"{printable(str(key))}={value(item)}" for key, item in flat(config))


def states(counts: Mapping[TrialState, int]) -> str:
    """Trials by state; a state that no trial is in is left out.

    >>> states({TrialState.STOPPED_EARLY: 7, TrialState.RUNNING: 2, TrialState.FAILED: 0})
    '2 running, 7 stopped early'
    """
    parts = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts.get(state)]
    return ", ".join(parts) or "no trials yet"

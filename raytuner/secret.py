"""Secrets are not kept or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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

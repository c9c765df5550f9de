"""Keep secrets out of records, logs and pages.

raytuner does not keep command lines or the queries of URIs at all. It masks secrets in text that
others wrote, such as the error of a training function.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

_WORDS = r"secret|passw|passphrase|pgpass|token(?!s|i)|credential"
_KEYS = r"(?:api|access|private|account|shared|storage|encryption|signing|master)[_-]?key"
_SECRET = rf"(?i:{_WORDS}|{_KEYS})"
# A short word counts only at the end of a name, and not alone: PWD is the working directory.
_VARIABLE = re.compile(rf"{_SECRET}|(?i:_(?:key|pat|pwd|auth|sas|sig)|pass)$")
_URI = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_VALUE = r"(?:(?i:bearer|basic|digest)\s+)?(?:\"[^\"]*\"|'[^']*'|\S+)"
_OPTION = re.compile(
    rf"(?P<name>[\w.-]*{_SECRET}[\w.-]*['\"]?\s*[=:]\s*|--?[\w-]*{_SECRET}[\w-]*\s+"
    rf"|(?<![A-Za-z])(?i:sig|signature|pwd|pat|sas)['\"]?\s*=\s*|\b(?i:bearer)\s+){_VALUE}"
)
_HEADER = re.compile(r"(?P<name>(?i:authorization|cookie)['\"]?\s*[=:]).*")
_MASK = "***"
_SHORTEST = 6  # characters of a secret: "1" or "true" in the environment is none


def without_secrets(words: str, environment: Mapping[str, str] | None = None) -> str:
    """Return text to be kept or shown, without the secrets that a process knows.

    The mask replaces the user part and the query of a URI, and the value of an option or setting
    whose name says that it is a secret, a token, a password, a key or a signature. It also
    replaces, anywhere in the text, the value of an environment variable with such a name, and the
    password in a URI that an environment variable holds.

    Args:
        words: The text.
        environment: Variables by name; None: those of this process.

    Example:
        >>> without_secrets("run.py --storage s3://key:hid/d@n@bucket/x?sig=abc --api-key abc", {})
        'run.py --storage s3://***@bucket/x?*** --api-key ***'
        >>> without_secrets("401 for hunter22", {"DB_PASSWORD": "hunter22"})
        '401 for ***'
    """
    held = set()
    for name, value in (os.environ if environment is None else environment).items():
        secret = value if _VARIABLE.search(name) else _password_in(value)
        if len(secret) >= _SHORTEST:
            held |= {secret, quote(secret, safe="")}
    for secret in sorted(held, key=len, reverse=True):
        words = words.replace(secret, _MASK)
    words = _URI.sub(lambda found: _bare(found[0]), words)
    words = _HEADER.sub(lambda found: f"{found['name']} {_MASK}", words)
    return _OPTION.sub(lambda found: found["name"] + _MASK, words)


def _bare(uri: str) -> str:
    """Return a URI with its user part, which may hold any sign, its query and fragment masked."""
    scheme, _, rest = uri.partition("://")
    user, at, rest = rest.rpartition("@")
    if "?" in user or "#" in user:  # the sign may stand in the query as well
        return f"{scheme}://{_MASK}"
    ends = [n for n in (rest.find("?"), rest.find("#")) if n >= 0]
    end = min(ends, default=len(rest))
    query = rest[end : end + 1] + _MASK if end < len(rest) else ""
    return f"{scheme}://{_MASK * bool(user)}{at}{rest[:end]}{query}"


def _password_in(value: str) -> str:
    try:
        return urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return ""

"""Names of parametrised tests that are the same in each process."""

import re
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def named(value: Any) -> str:
    """The value's `repr` without addresses in memory, shortened."""
    return _ADDRESS.sub("", repr(value))[:60]

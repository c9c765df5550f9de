"""How much memory this process takes at most (Linux)."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_PROCESS = Path("/proc/self")


def start_anew() -> float | None:
    """Give back what is free, and forget the peak.

    Returns:
        MiB in memory now; None where the system does not say.
    """
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return None
    return _mebibytes("VmRSS")


def peak() -> float | None:
    """The most MiB that were in memory at a time since then."""
    return _mebibytes("VmHWM")


def _mebibytes(field: str) -> float | None:
    try:
        lines = (_PROCESS / "status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) / 1024 if found else None

"""The figures of the micro-benchmark as Markdown."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.micro.proposals import OURS
from benchmarks.race.method import commit
from benchmarks.race.table import markdown_table, prose

_PACKAGES = ("raytuner", "optuna", "torch", "botorch", "pytest-benchmark")

_HEAD = (
    "observations", "d", "searcher", "first s", "median s", "ratio", "largest s", "other hooks s",
    "memory MiB",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The versions of the measured packages."""
    return {name: version(name) + (commit() if name == "raytuner" else "") for name in _PACKAGES}


def as_markdown(file: Path) -> str:
    """A stored run of ``python -m benchmarks.micro``."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    cases = stored["cases"]
    fastest = {
        (case["observations"], case["dimensions"]): case["median_s"]
        for case in cases
        if case["name"] == OURS
    }
    packages = ", ".join(f"{name} {number}" for name, number in stored["versions"].items())
    return "\n".join(
        [
            prose(
                "Processor seconds of a call of `suggest`, with BLAS on one thread. The first call"
                " learns all observations at once. Each later call has one more observation; the"
                ' table shows their median and maximum. "Ratio" is the median over raytuner\'s'
                ' median. "Other hooks" are one report and the end of a trial: together with a'
                ' proposal, they hold Ray\'s loop. "Memory" is the peak above what the process held'
                f" before.{_left_out(cases)}"
            ),
            "",
            *markdown_table(
                _HEAD,
                (
                    _row(case, fastest.get((case["observations"], case["dimensions"])))
                    for case in cases
                ),
            ),
            "",
            prose(f"{stored['machine']}; {packages}."),
            "",
        ]
    )


def _left_out(cases: list[dict[str, Any]]) -> str:
    """Why the peer has fewer rows, if it has."""
    most = {case["name"]: case["observations"] for case in cases}  # they come in ascending order
    return "".join(
        f" {name} was measured up to {count:,} observations (`--peer-up-to`), because its time"
        " grows with their cube."
        for name, count in most.items()
        if count < most[OURS]
    )


def _row(case: dict[str, Any], ours: float | None) -> tuple[str, ...]:
    memory = case["peak_mib"]
    return (
        f"{case['observations']:,}",
        str(case["dimensions"]),
        case["name"],
        f"{case['first_s']:.3g}",
        f"{case['median_s']:.3g}",
        "-" if not ours else f"{case['median_s'] / ours:.2f}",
        f"{case['worst_s']:.3g}",
        f"{case['hooks_s']:.2g}",
        "-" if memory is None else f"{memory:.0f}",
    )

"""What a method of the race is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.problem import Problem


@dataclass(frozen=True)
class Contest:
    """One run of one method.

    Attributes:
        problem: What is to be solved.
        seed: Seed of everything random.
        workers: Trials that run at the same time.
        budget: Mean full trainings a worker.
        start_s: Virtual seconds of each start or resume of a trial. Defaults to 0.
    """

    problem: Problem
    seed: int
    workers: int
    budget: float
    start_s: float = 0.0

    @property
    def budget_s(self) -> float:
        """Virtual seconds."""
        return self.budget * self.problem.training_s


@dataclass(frozen=True)
class Search:
    """A searcher and a scheduler, as a Tuner takes them.

    Attributes:
        searcher: A Ray Tune searcher or search algorithm.
        scheduler: A Ray Tune scheduler; None: every trial is trained in full.
        num_samples: Trials; -1 for as many as the budget allows.
    """

    searcher: Any
    scheduler: Any = None
    num_samples: int = -1


MakeSearcher = Callable[[Contest], Any]


@dataclass(frozen=True)
class Method:
    """A method by name.

    Attributes:
        name: Its name in results.
        title: Its name in tables.
        make: Makes a new searcher and scheduler for a run.
        modules: What must be importable beside raytuner and Ray, as ``module`` or
            ``module:distribution`` where the names differ.
    """

    name: str
    title: str
    make: Callable[[Contest], Search]
    modules: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it cannot run in this environment; None: it can."""
        return missing(self.modules)

    def versions(self) -> dict[str, str]:
        """The versions of what it runs on."""
        return versions(self.modules)


def missing(modules: tuple[str, ...]) -> str | None:
    """Which of ``module`` or ``module:distribution`` cannot be imported; None: all can."""
    absent = [name for name, _ in _pairs(modules) if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def versions(modules: tuple[str, ...]) -> dict[str, str]:
    """The versions of raytuner, Ray and the distributions of ``modules``."""
    found = {}
    for name in ("raytuner", "ray", *(distribution for _, distribution in _pairs(modules))):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "?"
    found["raytuner"] += commit()
    return found


def _pairs(modules: tuple[str, ...]) -> list[tuple[str, str]]:
    parts = [name.partition(":") for name in modules]
    return [(module, distribution or module) for module, _, distribution in parts]


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit, as ``+abc1234``; with ``.dirty`` if raytuner's package was changed since."""
    root = Path(__file__).parents[2]
    try:
        name = _git(root, "rev-parse", "--short", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", "raytuner")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"+{name}{'.dirty' if changes else ''}"


def _git(root: Path, *command: str) -> str:
    ran = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=True)
    return ran.stdout.strip()

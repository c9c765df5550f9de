"""A study that runs in a process of its own, to be hurt, and to be gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.faults.ledger import Ledger, read
from benchmarks.faults.study import LEDGER, MAX_T
from benchmarks.faults.verdict import results
from raytuner.folders import Folder, location

PATIENCE_S = 600.0
"""A study that takes longer, with all its lives together, hangs."""


class Hangs(Exception):  # noqa: N818  # what is found out, not an error of the harness
    """The study did not end."""


@dataclass
class Patient:
    """One study.

    Attributes:
        method: How it searches; see :mod:`benchmarks.faults.study`.
        folder: Its own folder; behind a URI, if it keeps its results in an object store.
        ledger: The folder of its trials' ledgers.
        address: Of the Ray cluster.
        lives: How each of its processes ended: the exit code, and what it printed last.
        in_full: By trial that its results had in full after one of its lives, how often it had sent
            its last report by then.
    """

    method: str
    folder: Folder
    ledger: Path
    address: str
    lives: list[tuple[int, str]] = field(default_factory=list)
    in_full: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def alive(self, **environment: str) -> Iterator[Life]:
        """Begin it, or go on with it; it is killed at the latest when this ends."""
        log = self.ledger.parent / f"{self.folder.name}.{len(self.lives)}.log"
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.study", self.method, location(self.folder)],
            env={
                **os.environ,
                "RAY_ADDRESS": self.address,
                LEDGER: str(self.ledger),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            start_new_session=True,
        )
        life = Life(process, self.ledger)
        try:
            yield life
        finally:
            life.kill()
            output, _ = process.communicate()
            said = (output.strip().splitlines() or [""])[-1]
            self.lives.append((process.returncode, said))
            sent = life.seen().sent
            for trial_id, t in results(self.folder):
                if t == MAX_T:
                    self.in_full.setdefault(trial_id, sent[trial_id, t])

    def finish(self, environment: Mapping[str, str] | None = None) -> bool:
        """Let it go on until it ends; whether it came to its end by itself."""
        with self.alive(**(environment or {})) as life:
            life.wait()
        return self.lives[-1][0] == 0


@dataclass
class Life:
    """One of a study's processes."""

    process: subprocess.Popen[str]
    ledger: Path

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def seen(self) -> Ledger:
        """What its trials have seen by now."""
        return read(self.ledger)

    def wait(self, seconds: float = PATIENCE_S) -> None:
        """Wait for its end.

        Raises:
            Hangs: It has not ended by then.
        """
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Hangs from None

    def get_going(self) -> None:
        """Wait until a trial of this life trains, or it is over."""
        before = sum(self.seen().sent.values())
        deadline = time.monotonic() + PATIENCE_S
        while not self.over and sum(self.seen().sent.values()) == before:
            if time.monotonic() > deadline:
                raise Hangs
            time.sleep(0.05)

    def pass_time(self, seconds: float) -> None:
        """Let it run for so long, or until its end."""
        deadline = time.monotonic() + seconds
        while not self.over and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, to the driver and what it started itself; Ray ends its trials."""
        if not self.over:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def ray_processes(name: str) -> list[psutil.Process]:
    """Ray's workers that run the actor class ``name``."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        if title.startswith(f"ray::{name}"):
            found.append(process)
    return found

"""What is done to a study. Each is done at a random moment, as often as it can be in one study."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.patient import Life, Patient, ray_processes
from benchmarks.faults.study import JUMP

TIMES = 4  # at most, in one study
_WITHIN_S = 6.0  # a moment is drawn from the first so many seconds of a life's training
_DISK_BYTES = 3 << 20


@dataclass
class Ward:
    """What there is to hurt.

    Attributes:
        patient: The study.
        cluster: Ray's ``Cluster``; a node of it can be lost.
        rng: Draws the moments.
    """

    patient: Patient
    cluster: Any
    rng: random.Random

    @property
    def local_folder(self) -> Path:
        """The study's folder, of which the files can be hurt."""
        folder = self.patient.folder
        if not isinstance(folder, Path):
            raise ValueError(f"{self.patient.method!r} has no disk of its own that could be hurt")
        return folder

    def moment(self, life: Life) -> bool:
        """Wait for a random moment; whether the study still runs then."""
        life.get_going()
        life.pass_time(self.rng.uniform(0, _WITHIN_S))
        return not life.over


Injury = Callable[[Ward], int]
"""Hurts a study until it has ended; how often it did."""


def driver(ward: Ward) -> int:
    """SIGKILL of the study's own process, which is then gone on with."""
    return _kill_drivers(ward)


def head(ward: Ward) -> int:
    """The same, and what Ray keeps on the head's own disk is gone too."""
    session = Path(ward.cluster.head_node.get_session_dir_path())
    return _kill_drivers(ward, lambda: shutil.rmtree(session / "artifacts", ignore_errors=True))


def _kill_drivers(ward: Ward, then: Callable[[], object] = lambda: None) -> int:
    for done in range(TIMES):
        with ward.patient.alive() as life:
            if not ward.moment(life):
                return done
            life.kill()
        then()
    ward.patient.finish()
    return TIMES


def trial(ward: Ward) -> int:
    """SIGKILL of the process in which a trial trains."""
    return _kill_some(ward, lambda life: list(life.seen().pids.values()))


def proposer(ward: Ward) -> int:
    """SIGKILL of the process in which proposals are computed."""
    return _kill_some(ward, lambda _: [one.pid for one in ray_processes("RaytunerProposer")])


def _kill_some(ward: Ward, pids: Callable[[Life], list[int]]) -> int:
    """Kill one of these processes at random moments of one life."""
    done = 0
    with ward.patient.alive() as life:
        while done < TIMES and ward.moment(life):
            done += _kill_one(pids(life), ward.rng)
        life.wait()
    return done


def node(ward: Ward) -> int:
    """A node dies with the trials on it; another comes."""
    done = 0
    with ward.patient.alive() as life:
        while done < TIMES and ward.moment(life):
            ward.cluster.remove_node(ward.rng.choice(ward.cluster.worker_nodes_list))
            ward.cluster.add_worker()
            done += 1
        life.wait()
    return done


def disk(ward: Ward) -> int:
    """The disk of the results is full, and later it is not; the study is gone on with."""
    done = 0
    folder = ward.local_folder
    with small_disk(folder.parent):
        filler = folder.parent / "filler"
        while done < TIMES:
            with ward.patient.alive() as life:
                if not ward.moment(life):
                    break
                fill(filler)
                done += 1
                life.pass_time(2.0)
                filler.unlink()
                life.wait()
            if ward.patient.lives[-1][0] == 0:
                break
        else:
            ward.patient.finish()
        shutil.copytree(folder, ward.patient.ledger.parent / "kept")
    shutil.move(ward.patient.ledger.parent / "kept", folder)
    return done


def checkpoint(ward: Ward) -> int:
    """Checkpoints of the trials that run cannot be written: a file is where the folder would be."""
    done = 0
    with ward.patient.alive() as life:
        while done < TIMES and ward.moment(life):
            for trial_id, t in _latest(life).items():
                for folder in ward.local_folder.glob(f"*{trial_id}*"):
                    for number in range(t + 1, t + 4):
                        path = folder / f"checkpoint_{number:06d}"
                        if not path.exists():
                            path.write_text("in the way")
                            done += 1
        life.wait()
    return done


def clock(ward: Ward) -> int:
    """The driver's clock jumps, by up to a day to either side."""
    after, by = ward.rng.uniform(4, 10), ward.rng.uniform(-86400, 86400)
    ward.patient.finish({JUMP: f"{after}:{by}"})
    return 1


INJURIES: dict[str, Injury] = {
    "driver killed": driver,
    "the head lost": head,
    "a trial's process killed": trial,
    "the proposer killed": proposer,
    "a node lost": node,
    "the disk full": disk,
    "checkpoints unwritable": checkpoint,
    "the clock jumps": clock,
}

OF_A_FOLDER = {"the disk full", "checkpoints unwritable"}
"""Those that need a folder of a file system."""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of a few MiB at ``folder``. Needs the right to mount."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take all room that is left on the disk of ``path``."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass  # full


def _kill_one(pids: list[int], rng: random.Random) -> int:
    """SIGKILL one of them that lives; how many were killed."""
    living = [pid for pid in pids if psutil.pid_exists(pid)]
    if not living:
        return 0
    os.kill(rng.choice(living), signal.SIGKILL)
    return 1


def _latest(life: Life) -> dict[str, int]:
    """By trial, the last t it has sent."""
    latest: dict[str, int] = {}
    for trial_id, t in life.seen().sent:
        latest[trial_id] = max(t, latest.get(trial_id, 0))
    return latest

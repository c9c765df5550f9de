"""``python -m benchmarks.faults``: hurt studies, hold them to their ledgers, write the page."""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.faults.injuries import INJURIES, OF_A_FOLDER, Ward
from benchmarks.faults.ledger import read
from benchmarks.faults.page import write
from benchmarks.faults.patient import Hangs, Patient
from benchmarks.faults.study import IN_S3, METHODS
from benchmarks.faults.verdict import judge
from benchmarks.s3 import bucket
from raytuner.folders import Folder

HERE = Path(__file__).parents[1]
RAW = HERE / "results" / "faults" / "studies.jsonl"
PAGE = HERE / "FAULTS.md"


class Nodes(Cluster):
    """A head that trains nothing, and two nodes with two slots each."""

    def __init__(self) -> None:
        super().__init__(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            self.add_worker()

    @property
    def worker_nodes_list(self) -> list[Any]:
        """The nodes that train, oldest first."""
        return list(self.worker_nodes)

    def add_worker(self) -> None:
        """One node more."""
        self.add_node(num_cpus=2)


@contextmanager
def cluster() -> Iterator[Nodes]:
    """A cluster of its own, connected to."""
    nodes = Nodes()
    ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()  # type: ignore[no-untyped-call]


def hurt(
    injury: str, method: str, seed: int, nodes: Nodes, folder: Path, results: Folder
) -> dict[str, Any]:
    """One study, hurt; what was found, as it is stored."""
    for local in (folder / "results", folder / "ledger"):
        local.mkdir()
    patient = Patient(method, results / "study", folder / "ledger", nodes.address)
    ward = Ward(patient, nodes, random.Random(f"{injury} {method} {seed}"))
    start, times = time.monotonic(), 0
    try:
        times = INJURIES[injury](ward)
        hangs = False
    except Hangs:
        hangs = True
    # What gave up, with an error, is gone on with, as its user would.
    again = 0
    while not hangs and patient.lives[-1][0] != 0 and again < 3:
        again += 1
        try:
            patient.finish()
        except Hangs:
            hangs = True
    ended = not hangs and patient.lives[-1][0] == 0
    verdict = judge(patient.folder, read(patient.ledger), patient.in_full, ended=ended)
    return {
        "injury": injury,
        "method": method,
        "seed": seed,
        "times": times,
        "hangs": hangs,
        "lives": patient.lives,
        "seconds": round(time.monotonic() - start, 1),
        **asdict(verdict),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--injuries", default=",".join(INJURIES), help="comma-separated")
    parser.add_argument("--methods", default=";".join(METHODS), help="with semicolons between")
    parser.add_argument("--studies", type=int, default=2, help="of each; default 2")
    parser.add_argument("--first", type=int, default=0, help="number of the first; default 0")
    parser.add_argument("--keep", type=Path, help="keep the folders of the studies here")
    parser.add_argument("--page", action="store_true", help="write the page of the stored studies")
    given = parser.parse_args()
    if given.page:
        write(RAW, PAGE)
        return
    RAW.parent.mkdir(parents=True, exist_ok=True)
    methods = given.methods.split(";")
    with bucket() if IN_S3 in methods else nullcontext() as remote, cluster() as nodes:
        for injury in given.injuries.split(","):
            for method in methods:
                if method == IN_S3 and injury in OF_A_FOLDER:
                    continue
                for seed in range(given.first, given.first + given.studies):
                    with TemporaryDirectory() as place:
                        folder = Path(place)
                        if given.keep is not None:
                            folder = given.keep / injury / method / str(seed)
                            folder.mkdir(parents=True)
                        results: Folder = folder / "results"
                        if method == IN_S3:
                            assert remote is not None
                            results = remote / f"{injury} {seed}".replace(" ", "-")
                        found = hurt(injury, method, seed, nodes, folder, results)
                    with RAW.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                    print(json.dumps(found), file=sys.stderr, flush=True)
    write(RAW, PAGE)


if __name__ == "__main__":
    main()

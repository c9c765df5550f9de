"""``python -m benchmarks.real``: make reference.json anew."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch come in, as in the race

import json
import time
from dataclasses import asdict

import click

from benchmarks.real.problems import INSTANCES, REFERENCE, measured


@click.command()
@click.option("--sample", default=100, show_default=True, type=click.IntRange(2))
def main(sample: int) -> None:
    """Train random configurations of each real problem, and keep their best and median."""
    found = {}
    for instance in INSTANCES:
        start = time.perf_counter()
        found[instance] = asdict(measured(instance, sample))
        click.echo(f"{instance}: {found[instance]} in {time.perf_counter() - start:.0f} s")
    REFERENCE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

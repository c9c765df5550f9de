"""`python -m benchmarks.references`: measure what the regret on each problem refers to."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch come in, as in the race

import json
import time
from dataclasses import asdict

import click

from benchmarks.families import FAMILIES, benchmark
from benchmarks.problem import REFERENCES


@click.command()
@click.option("--problems", default=",".join(FAMILIES), help="Families, or family/instance.")
def main(problems: str) -> None:
    """Find the best value, the median and the mean time of each problem, and store them.

    The families' environment variables name the folders of their data.
    """
    for part in problems.split(","):
        family, _, instance = part.partition("/")
        problem = benchmark(family)
        for name in problem.chosen([instance] if instance else ["development", "test"]):
            start = time.perf_counter()
            found = asdict(problem.measured(name))
            click.echo(f"{family}/{name}: {found} in {time.perf_counter() - start:.0f} s")
            known = json.loads(REFERENCES.read_text("utf-8")) if REFERENCES.is_file() else {}
            known[f"{family}/{name}"] = found
            REFERENCES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()

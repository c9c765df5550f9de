"""``python -m benchmarks.fleet``: searches on a fleet of workers, some of which come and go.

On the virtual clock, with Ray's two seconds for a trial's start and the searcher's processor time.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import click
from ray.tune.search import BasicVariantGenerator

from benchmarks.busy.virtual import SPACE, objective
from benchmarks.race.method import versions
from benchmarks.race.runs import this_machine
from raytuner import BoTorchSearch
from raytuner.simulate import Cluster, EventKind, Settings, simulate

STARTUP_S = 2.0
PAGE = Path(__file__).with_name("FLEET.md")

CLUSTERS: dict[str, Callable[[int], Cluster]] = {
    "fixed": lambda n: Cluster(n, STARTUP_S),
    "three waves": lambda n: Cluster(n, STARTUP_S, _waves(n // 10)),
    "autoscaler": lambda n: Cluster(10, STARTUP_S, [(60.0 * k, 10) for k in range(1, n // 10)]),
}

# A searcher by its seed, and how its seconds are charged.
SEARCHES: dict[str, tuple[Callable[[int], Any], Literal["inline", "background"]]] = {
    "raytuner, background": (lambda seed: BoTorchSearch(seed=seed), "background"),
    "raytuner, inline": (lambda seed: BoTorchSearch(seed=seed, background=False), "inline"),
    "Ray's random search": (lambda seed: BasicVariantGenerator(random_state=seed), "inline"),
}


@dataclass(frozen=True)
class Measured:
    """A search of so many trials.

    Attributes:
        filled_s: Virtual seconds until each of the first workers had started a trial.
        busy: Utilisation until the last trial had started.
        end_s: Virtual seconds until the end.
        worker_hours: Hours that workers existed.
        lost: How many attempts at trials were lost with their workers.
        repeated: Units of training that were computed again, as a share of all that count.
        real_s: Real seconds of the whole simulation.
    """

    filled_s: float
    busy: float
    end_s: float
    worker_hours: float
    lost: int
    repeated: float
    real_s: float


def run(search: str, cluster: str, workers: int, trials: int, seed: int) -> Measured:
    """Simulate a search; a lost trial is retried as often as needed, from its start."""
    make, charge = SEARCHES[search]
    fleet, begin = CLUSTERS[cluster](workers), time.perf_counter()
    simulation = simulate(
        objective,
        SPACE,
        searcher=make(seed),
        metric="loss",
        mode="min",
        num_samples=trials,
        cluster=fleet,
        max_failures=-1,
        settings=Settings(charge=charge, timer=time.process_time),
        seed=seed,
    )
    starts = sorted(t.started_at for t in simulation.trials if t.started_at is not None)
    needed = sum(len(trial.values) for trial in simulation.trials)
    return Measured(
        filled_s=starts[min(fleet.workers, trials) - 1],
        busy=simulation.utilisation(starts[-1]),
        end_s=simulation.end_s,
        worker_hours=simulation.worker_hours(),
        lost=sum(event.kind is EventKind.RETRIED for event in simulation.events),
        repeated=simulation.resource_spent / needed - 1,
        real_s=time.perf_counter() - begin,
    )


def row(search: str, cluster: str, found: Measured) -> str:
    """Return a search's row of the table."""
    return (
        f"| {search} | {cluster} | {found.filled_s:.1f} | {found.busy:.1%} | {found.end_s:.0f}"
        f" | {found.worker_hours:.1f} | {found.lost} | {found.repeated:.1%} | {found.real_s:.0f} |"
    )


def page(rows: Sequence[str], command: str) -> str:
    """Return the page of results."""
    packages = ", ".join(f"{name} {one}" for name, one in versions(("torch", "botorch")).items())
    return f"""# Whole fleets

```sh
{command}
```

{this_machine()}; {packages}.

Trials run on the virtual clock. They have nine epochs, take about 90 s, and need 2 s to start. The
searcher's processor time is charged next to the loop ("background") or to it ("inline").

- "Three waves": after 60, 120 and 180 s, a tenth of the workers is lost for a minute. Their trials
  start again.
- "Autoscaler": 10 workers, and 10 more every minute.

| column | meaning |
|---|---|
| filled s | seconds until each of the first workers has started a trial |
| busy | utilisation until the last trial has started |
| lost | attempts at trials that were lost with their workers |
| repeated | share of epochs that were computed again |
| real s | real seconds of the simulation |

| search | workers | filled s | busy | end s | worker-hours | lost | repeated | real s |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def _waves(n: int) -> list[tuple[float, int]]:
    changes = [(60.0 * k, -n) for k in (1, 2, 3)] + [(60.0 * k, n) for k in (2, 3, 4)]
    return sorted(changes, key=lambda change: (change[0], -change[1]))  # they come back first


@click.command()
@click.option("--search", "names", multiple=True, type=click.Choice(list(SEARCHES)))
@click.option("--workers", default=1000, show_default=True)
@click.option("--trials", default=3000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", default=PAGE, type=click.Path(path_type=Path), help="The page.")
def main(names: tuple[str, ...], workers: int, trials: int, seed: int, out: Path) -> None:
    """Measure searches (all, unless some are named) on each kind of fleet, and write the page."""
    rows = []
    for search, cluster in product(names or SEARCHES, CLUSTERS):
        rows.append(row(search, cluster, run(search, cluster, workers, trials, seed)))
        click.echo(rows[-1])
    named = "".join(f' --search "{name}"' for name in names)
    sizes = f"--workers {workers} --trials {trials} --seed {seed}"
    out.write_text(page(rows, f"python -m benchmarks.fleet{named} {sizes}"), encoding="utf-8")


if __name__ == "__main__":
    main()

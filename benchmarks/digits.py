"""Our search against Ray's own on the demo's digits, with the same wall time.

    python -m benchmarks.digits --seeds 5 --budget-s 120

BoTorchSearch with raytuner's ASHAScheduler against Ray's random search with Ray's ASHAScheduler:
plain `ray.tune.Tuner` for both, the same trainable, space, CPUs, rungs and wall budget, Ray started
and its workers warm before the clock runs, the order of the two turned round at every seed. The
configuration that a search found best on the validation split is trained once more and scored on
the test split, which no search sees.

Each run is one line of JSON, appended as it ends; a run that the file holds is not run again. The
table is made from the file.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler as RayASHA
from ray.tune.search.basic_variant import BasicVariantGenerator

from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.demo.digits import MAX_T, METRIC, SPACE, retrain, train

GRACE = 1
FACTOR = 3

# For each method: its searcher and its scheduler, for a seed.
METHODS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "BoTorchSearch + ASHAScheduler": lambda seed: (
        BoTorchSearch(seed=seed),
        ASHAScheduler(max_t=MAX_T, grace_period=GRACE, reduction_factor=FACTOR, seed=seed),
    ),
    "Ray: random search + ASHAScheduler": lambda seed: (
        BasicVariantGenerator(random_state=seed),
        RayASHA(max_t=MAX_T, grace_period=GRACE, reduction_factor=FACTOR),
    ),
}
OURS, THEIRS = METHODS


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        method: Key of `METHODS`.
        seed: Seed of the search.
        budget_s: Seconds it was given.
        cpus: Trials at a time, one CPU each.
        validation: Best last value of a trial trained in full; None if there is no such trial.
        validation_any: Best last value of any trial.
        test: Accuracy of the best configuration on the test split, after training it once more.
        completed: Trials trained in full.
        stopped: Trials stopped early, those that the end of the budget cut included.
        failed: Trials that failed.
        epochs: Epochs run.
        wall_s: Seconds it took.
        config: The best configuration.
    """

    method: str
    seed: int
    budget_s: float
    cpus: int
    validation: float | None
    validation_any: float
    test: float
    completed: int
    stopped: int
    failed: int
    epochs: int
    wall_s: float
    config: dict[str, Any]


def fit_tuner(searcher: Any, scheduler: Any, *, time_budget_s: float, folder: Path) -> Any:
    """Tune the digits with Ray's Tuner. Ctrl-C, which only ends it, raises KeyboardInterrupt."""
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=-1,
            time_budget_s=time_budget_s,
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=folder.name, storage_path=str(folder.parent), verbose=0),
    )
    start = time.monotonic()
    results = tuner.fit()
    if time.monotonic() - start < time_budget_s:
        raise KeyboardInterrupt
    return results


def search(method: str, seed: int, budget_s: float, cpus: int) -> Run:
    """Run one search on a Ray that is up already."""
    searcher, scheduler = METHODS[method](seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        results = fit_tuner(
            searcher, scheduler, time_budget_s=budget_s, folder=Path(folder) / "search"
        )
        wall_s = time.monotonic() - start
    reported = [r for r in results if r.metrics and METRIC in r.metrics]
    usable = [r.metrics for r in reported if r.error is None]
    if not usable:
        raise RuntimeError(f"{method}, seed {seed}: no trial reported in {budget_s:g} s")
    in_full = [metrics for metrics in usable if metrics["training_iteration"] >= MAX_T]
    best = max(in_full or usable, key=itemgetter(METRIC))["config"]
    last = results.get_dataframe()
    full = last.loc[last["training_iteration"] >= MAX_T, METRIC]
    return Run(
        method=method,
        seed=seed,
        budget_s=budget_s,
        cpus=cpus,
        validation=float(full.max()) if len(full) else None,
        validation_any=float(last[METRIC].max()),
        test=retrain(best).test,
        completed=len(in_full),
        stopped=len(usable) - len(in_full),
        failed=results.num_errors,
        epochs=sum(r.metrics["training_iteration"] for r in reported),
        wall_s=round(wall_s, 1),
        config=best,
    )


def warm_up(cpus: int) -> None:
    """Have the operating system's caches hold what workers import, for whoever comes first."""
    task: Any = ray.remote(num_cpus=1)(_imports)
    ray.get([task.remote() for _ in range(cpus)])


def _imports() -> None:
    from raytuner.demo.digits import load_data

    load_data()


def read(file: Path) -> list[Run]:
    """The runs in a file; none if there is no file."""
    if not file.exists():
        return []
    return [Run(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def bootstrap(differences: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """A 95 % percentile interval of the mean."""
    sample = np.random.default_rng(0).choice(differences, (draws, len(differences)))
    low, high = np.quantile(sample.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def paired(runs: Sequence[Run], field: str) -> list[float]:
    """Ours less theirs, for each seed that both have run."""
    by_method = {m: {r.seed: getattr(r, field) for r in runs if r.method == m} for m in METHODS}
    seeds = sorted(by_method[OURS].keys() & by_method[THEIRS].keys())
    pairs = [(by_method[OURS][seed], by_method[THEIRS][seed]) for seed in seeds]
    return [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]


def as_markdown(runs: Sequence[Run], command: str, machine: Mapping[str, str]) -> str:
    """The runs of one budget as a table, with what is needed to make it again."""
    seeds = sorted({run.seed for run in runs})
    lines = [
        f"`{command}`, seeds {', '.join(map(str, seeds))}; "
        + ", ".join(f"{name} {what}" for name, what in machine.items())
        + ".",
        "",
        "| search, mean over the seeds | validation | test | in full | stopped | failed | epochs"
        " | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        mine = [run for run in runs if run.method == method]
        if mine:
            lines.append(_row(method, mine))
    for field in ("validation", "test"):
        difference = paired(runs, field)
        if len(difference) > 1:
            low, high = bootstrap(difference)
            lines += [
                "",
                f"Difference in {field} accuracy, ours less theirs, over {len(difference)} pairs:"
                f" {np.mean(difference):+.4f}, 95 % bootstrap interval {low:+.4f} to {high:+.4f}.",
            ]
    lines += [
        "",
        "| seed | search | validation | best of any trial | test |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {run.seed} | {run.method} | {_score(run.validation)} | {_score(run.validation_any)}"
        f" | {_score(run.test)} |"
        for run in sorted(runs, key=lambda run: (run.seed, run.method))
    ]
    return "\n".join(lines) + "\n"


def _row(method: str, runs: Sequence[Run]) -> str:
    found = [run.validation for run in runs if run.validation is not None]
    cells = [
        method,
        _score(float(np.mean(found)) if found else None),
        _score(float(np.mean([run.test for run in runs]))),
        *(
            f"{np.mean([getattr(run, field) for run in runs]):.1f}"
            for field in ("completed", "stopped", "failed", "epochs", "wall_s")
        ),
    ]
    return f"| {' | '.join(cells)} |"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def this_machine(cpus: int) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "CPUs used": f"{cpus} of {os.cpu_count()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("raytuner", "ray", "torch", "botorch")},
    }


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Number of seeds, from 0.")
@click.option("--budget-s", default=120.0, show_default=True, help="Seconds for each search.")
@click.option("--cpus", default=2, show_default=True, help="Trials at a time, one CPU each.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("digits.jsonl"),
    show_default=True,
    help="File of the runs.",
)
def main(seeds: int, budget_s: float, cpus: int, out: Path) -> None:
    """Run what the file lacks, and print the table."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints a banner at verbose=0 too
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    warm_up(cpus)
    for seed in range(seeds):
        order = [OURS, THEIRS] if seed % 2 == 0 else [THEIRS, OURS]
        for method in order:
            done = {(run.method, run.seed, run.budget_s, run.cpus) for run in read(out)}
            if (method, seed, budget_s, cpus) in done:
                continue
            run = search(method, seed, budget_s, cpus)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(run)) + "\n")
            print(
                f"seed {seed}, {method}: validation {_score(run.validation)}, test {run.test:.4f},"
                f" {run.completed} in full, {run.stopped} stopped, {run.failed} failed,"
                f" {run.epochs} epochs in {run.wall_s:.0f} s",
                file=sys.stderr,
            )
    ray.shutdown()
    wanted = [
        run
        for run in read(out)
        if (run.budget_s, run.cpus) == (budget_s, cpus) and run.seed < seeds
    ]
    command = f"python -m benchmarks.digits --seeds {seeds} --budget-s {budget_s:g} --cpus {cpus}"
    click.echo(as_markdown(wanted, command, this_machine(cpus)))


if __name__ == "__main__":
    main()

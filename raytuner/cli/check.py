"""`raytuner check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raytuner.cli.common import FILE
from raytuner.cli.loading import read_study
from raytuner.cli.run import resources_of


@click.command()
@click.argument("study", required=False, metavar="[STUDY.toml]", type=FILE)
@click.option("--cpus", type=float, help="CPUs of one trial.")
@click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.")
@click.option(
    "--cluster",
    "cluster_file",
    type=FILE,
    help="The file that `ray up` starts the cluster from: what its workers could hold counts too.",
)
def check(
    study: Path | None, cpus: float | None, gpus: float | None, cluster_file: Path | None
) -> None:
    """See what the cluster has, and how many trials fit on it at once.

    Of the cluster that RAY_ADDRESS names, or this machine. A trial's needs are those of STUDY.toml,
    or --cpus and --gpus; one CPU if nothing says. The exit code is 2 if no node, not even one that
    the autoscaler could add, can ever hold a trial.
    """
    from raytuner.placement import check

    settings: dict[str, Any] = {} if study is None else read_study(study)
    found = check(resources_of(settings.get("resources"), cpus, gpus), cluster_file=cluster_file)
    for line in found.lines():
        click.echo(line)
    found.require()

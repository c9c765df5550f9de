"""The command line: `raytuner demo`, `raytuner run`, `raytuner simulate`.

Only what parses a command line is imported here, so that `raytuner --help` is quick.

Exit codes: 0 it worked; 1 it ran and nothing usable came of it; 2 bad input; 130 Ctrl-C.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from raytuner import __version__
from raytuner.cli.loading import load_function, load_space
from raytuner.cli.simulate import simulate
from raytuner.errors import RaytunerError, SettingError

if TYPE_CHECKING:
    from raytuner.study import Study

_Command = TypeVar("_Command", bound=Callable[..., Any])

NOTHING_USABLE = 1
BAD_INPUT = 2
INTERRUPTED = 130


class _Group(click.Group):
    """Commands whose errors are one line, and whose exit codes are those above."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RaytunerError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


def _quieten_ray() -> None:
    """The summary counts failures and says why; Ray would print a traceback for each as well."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def _search_options(command: _Command) -> _Command:
    """The options that every search has."""
    for option in (
        click.option("--seed", type=int, help="Seed of the search."),
        click.option(
            "--storage-path",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder that the results' own folder is made in.  [default: ~/raytuner_results]",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="raytuner", message="%(prog)s %(version)s")
def main() -> None:
    """Bayesian hyperparameter search with early stopping on Ray Tune."""


main.add_command(simulate)


@main.command()
@click.option("--compare", is_flag=True, help="Give Ray's own random search the same time, too.")
@click.option(
    "--time-budget-s",
    type=click.FloatRange(0, min_open=True),
    default=90.0,
    show_default=True,
    help="Seconds for the search.",
)
@click.option(
    "--num-samples",
    type=int,
    default=60,
    show_default=True,
    help="Trials at the most; -1 for as many as there is time for.",
)
@_search_options
def demo(
    compare: bool,
    time_budget_s: float,
    num_samples: int,
    seed: int | None,
    storage_path: Path | None,
) -> None:
    """Tune a network that reads handwritten digits, in about two minutes on two cores."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "the demo needs scikit-learn, for its digits: pip install 'raytuner[demo]'"
        ) from None
    from rich.console import Console

    from raytuner.demo.run import run_demo

    _quieten_ray()
    study = run_demo(
        Console(),
        compare=compare,
        seed=0 if seed is None else seed,
        time_budget_s=time_budget_s,
        num_samples=num_samples,
        storage_path=storage_path,
    )
    _exit_as(study)


@main.command()
@click.argument("function", metavar="MODULE:FUNCTION")
@click.option(
    "--space",
    "space_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="TOML file that describes the search space.",
)
@click.option("--metric", required=True, help="What the function reports, to be optimised.")
@click.option("--mode", type=click.Choice(["min", "max"]), required=True)
@click.option(
    "--num-samples",
    type=int,
    required=True,
    help="Number of trials; -1 for as many as --time-budget-s allows.",
)
@click.option("--max-t", type=float, help="Reports of a full training; turns early stopping on.")
@click.option(
    "--grace-period", type=float, default=1, show_default=True, help="No trial stops before this."
)
@click.option(
    "--reduction-factor",
    type=int,
    default=3,
    show_default=True,
    help="About one trial in so many goes on at each rung.",
)
@click.option("--time-budget-s", type=float, help="Seconds for the search.")
@click.option("--cpus", type=float, help="CPUs of one trial.  [default: 1]")
@click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.  [default: 0]")
@click.option("--max-concurrent", type=int, help="Trials at a time.  [default: as many as fit]")
@click.option("--name", help="Name of the results' own folder.  [default: function and time]")
@_search_options
def run(
    function: str,
    space_file: Path,
    metric: str,
    mode: str,
    num_samples: int,
    max_t: float | None,
    grace_period: float,
    reduction_factor: int,
    time_budget_s: float | None,
    cpus: float | None,
    gpus: float | None,
    max_concurrent: int | None,
    name: str | None,
    seed: int | None,
    storage_path: Path | None,
) -> None:
    """Tune a training function of your own.

    MODULE:FUNCTION is imported from the current directory or from what is installed; train:fit is
    the function fit in train.py. It takes a configuration, a dict, and calls
    ray.tune.report({METRIC: ...}) after each unit of training.
    """
    trainable = load_function(function)
    space = load_space(space_file)

    from rich.console import Console

    import raytuner
    from raytuner.study.summary import summary

    _quieten_ray()
    study = raytuner.tune(
        trainable,
        space,
        metric=metric,
        mode=mode,
        num_samples=num_samples,
        resources=_resources(cpus, gpus),
        max_t=max_t,
        grace_period=grace_period,
        reduction_factor=reduction_factor,
        time_budget_s=time_budget_s,
        storage_path=storage_path,
        name=name,
        seed=seed,
        max_concurrent=max_concurrent,
    )
    Console().print(summary(study))
    _exit_as(study)


def _resources(cpus: float | None, gpus: float | None) -> dict[str, float] | None:
    """What a trial asks for; None leaves it to the trainable."""
    if cpus is None and gpus is None:
        return None
    return {"cpu": 1 if cpus is None else cpus, **({} if gpus is None else {"gpu": gpus})}


def _exit_as(study: Study) -> None:
    """End with the exit code that a study calls for."""
    if study.interrupted:
        raise SystemExit(INTERRUPTED)
    if study.best is None:
        raise SystemExit(NOTHING_USABLE)

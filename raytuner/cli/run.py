"""`raytuner demo`, `check`, `run`, `resume`, `extend` and `confirm`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import raytuner
from raytuner.cli.common import (
    FILE,
    FOLDER,
    INTERRUPTED,
    NOTHING_USABLE,
    given_settings,
    setting_options,
)
from raytuner.cli.loading import load_function, load_space, read_study, search_here
from raytuner.errors import SettingError
from raytuner.folders import Folder
from raytuner.study.settings import SETTINGS, Use, names

if TYPE_CHECKING:
    from raytuner.study.study import Study


def _function(
    ctx: click.Context, param: click.Parameter, name: str | None
) -> Callable[..., Any] | None:
    search_here()  # also for the function that the record names
    return None if name is None else load_function(name)


space_option = click.option(
    "--space", "space_file", type=FILE, help="TOML file that describes the search space."
)
trainable_option = click.option(
    "--trainable",
    metavar="MODULE:FUNCTION",
    callback=_function,
    help="The training function, if it moved.",
)
cpus_option = click.option("--cpus", type=float, help="CPUs of one trial.")
gpus_option = click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.")


@click.command()
@click.option("--compare", is_flag=True, help="Give random search and Ray's ASHA the same time.")
@setting_options(["time_budget_s", "num_samples", "seed", "storage_path"])
def demo(compare: bool, **options: Any) -> None:
    """Tune a network that reads handwritten digits, in about two minutes on two cores.

    The search takes 90 seconds or 60 trials if no option says otherwise.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "the demo needs scikit-learn, for its digits: pip install 'raytuner[demo]'"
        ) from None
    from rich.console import Console

    from raytuner.demo.run import run_demo

    exit_as(run_demo(Console(), compare=compare, **given_settings(options)))


@click.command()
@click.argument("study", required=False, metavar="[STUDY.toml]", type=FILE)
@cpus_option
@gpus_option
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


@click.command()
@click.argument("what", metavar="STUDY.toml | MODULE:FUNCTION")
@space_option
@cpus_option
@gpus_option
@setting_options(list(SETTINGS), defaults=True)
def run(
    what: str, space_file: Path | None, cpus: float | None, gpus: float | None, **options: Any
) -> None:
    """Tune a training function of your own.

    STUDY.toml holds the whole study: training function, search space, metric, number of trials and
    the rest, by the names of the options. Options take precedence.

    MODULE:FUNCTION is imported from the current directory or from what is installed; train:fit is
    the function fit in train.py. It takes a configuration, a dict, and calls
    ray.tune.report({METRIC: ...}) after each unit of training. --space, --metric, --mode and a
    budget are needed then.
    """
    settings: dict[str, Any] = {"trainable": what}
    if what.endswith(".toml"):
        settings = read_study(Path(what))
    settings |= given_settings(options)
    if "trainable" not in settings:
        raise SettingError(f'{what} names no training function; add trainable = "module:function"')
    trainable = load_function(settings.pop("trainable"))
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    for name, key in (("param_space", "space"), ("metric", "metric"), ("mode", "mode")):
        if name not in settings:
            raise SettingError(
                f"there is no {key}: give --{key}, or {key} in a study's file, above its first"
                " [table]"
            )
    if "num_samples" not in settings:
        if not {"time_budget_s", "gpu_hours"} & settings.keys():
            raise SettingError(
                "there is no budget: give --num-samples, --time-budget-s or --gpu-hours, or one of"
                " them in a study's file"
            )
        settings["num_samples"] = -1
    settings["resources"] = resources_of(settings.get("resources"), cpus, gpus)

    conclude(raytuner.tune(trainable, settings.pop("param_space"), **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@trainable_option
def resume(folder: Folder, trainable: Callable[..., Any] | None) -> None:
    """Continue an interrupted study.

    Trials that ran continue from their last checkpoints, and the remaining trials follow.
    """
    study = raytuner.load(folder)
    if not (study.interrupted or study.running):
        raise SettingError(
            f"{folder} ran to its end; `raytuner extend {folder} --num-samples N` adds trials"
        )
    conclude(study.resume(trainable))


@click.command()
@click.argument("folder", type=FOLDER)
@space_option
@setting_options(["num_samples", *names(Use.CHANGE)])
@trainable_option
def extend(folder: Folder, space_file: Path | None, **options: Any) -> None:
    """Add trials or time to a study that has ended.

    All trials so far are learned from, and early stopping compares with them. Settings that are not
    given are as before.

    With a larger --max-t, trials that had reached the old one count as stopped there. The best of
    them, at most half of the new trials, are tried again from their start.

    --space has the same hyperparameters as the study's. Trials that lie outside of it stay in the
    record, but new ones are proposed without them.
    """
    trainable = options.pop("trainable")
    settings = given_settings(options)
    if not {"num_samples", "time_budget_s", "gpu_hours"} & settings.keys():
        raise SettingError("extend by what? Give --num-samples, --time-budget-s or --gpu-hours")
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    from raytuner.study.run import can_resume

    study = raytuner.load(folder)
    if study.interrupted and can_resume(study.path):
        raise SettingError(f"{folder} was interrupted; `raytuner resume {folder}` comes first")
    conclude(study.extend(trainable=trainable, **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--top", "k", type=int, default=3, show_default=True, help="So many of the best.")
@click.option("--repeats", type=int, default=3, show_default=True, help="Trainings of each.")
@click.option("--seed-key", help="Key that the training takes its seed from.")
@click.option("--seed", type=int, help="Seed of these seeds.")
@setting_options(["max_concurrent_trials"])
@trainable_option
def confirm(folder: Folder, **options: Any) -> None:
    """Train the best few again, so that the winner is not the luckiest."""
    study = raytuner.load(folder)
    study.confirm(**options)
    conclude(study)


def resources_of(
    known: dict[str, Any] | None, cpus: float | None, gpus: float | None
) -> dict[str, Any] | None:
    """Return what a trial needs: what a study's file says, changed by the options.

    Raises:
        SettingError: The file asks for several bundles, and options would change one.
    """
    given = {key: n for key, n in (("cpu", cpus), ("gpu", gpus)) if n is not None}
    if not given:
        return known
    if "bundles" in (known or {}):
        raise SettingError(
            "the study's file asks for several bundles; --cpus and --gpus are for a single one:"
            " change the file"
        )
    return {"cpu": 1, **(known or {}), **given}


def conclude(study: Study) -> None:
    """Print how a study ended, and end with its exit code."""
    from rich.console import Console

    from raytuner.study.summary import summary

    Console().print(summary(study))
    exit_as(study)


def exit_as(study: Study) -> None:
    """End with the exit code of a study."""
    if study.interrupted:
        raise SystemExit(INTERRUPTED)
    if study.history.best is None:
        raise SystemExit(NOTHING_USABLE)

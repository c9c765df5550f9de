"""`raytuner run`, `resume`, `extend` and `confirm`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import raytuner
from raytuner.cli.common import (
    FOLDER,
    conclude,
    given_settings,
    quieten_ray,
    setting_options,
    space_option,
)
from raytuner.cli.loading import load_function, load_space, read_study
from raytuner.errors import SettingError, TrainableError
from raytuner.folders import Folder
from raytuner.study.settings import SETTINGS, Use, names

if TYPE_CHECKING:
    from raytuner.study import Study

trainable_option = click.option(
    "--trainable", metavar="MODULE:FUNCTION", help="The training function, if it moved."
)


@click.command()
@click.argument("what", metavar="STUDY.toml | MODULE:FUNCTION")
@space_option
@click.option("--cpus", type=float, help="CPUs of one trial.  [default: 1]")
@click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.  [default: 0]")
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
            hint = ""
            if name in getattr(settings.get("param_space"), "template", {}):
                hint = f". The file has {name} in [space]: put it above the first [table]"
            raise SettingError(f"there is no {key}: give --{key}, or {key} in a study's file{hint}")
    if "num_samples" not in settings:
        if not {"time_budget_s", "gpu_hours"} & settings.keys():
            raise SettingError(
                "there is no budget: give --num-samples, --time-budget-s or --gpu-hours, or one of"
                " them in a study's file"
            )
        settings["num_samples"] = -1
    settings["resources"] = resources_of(settings.get("resources"), cpus, gpus)

    quieten_ray()
    conclude(raytuner.tune(trainable, settings.pop("param_space"), **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@trainable_option
def resume(folder: Folder, trainable: str | None) -> None:
    """Continue an interrupted study.

    Trials that ran continue from their last checkpoints, and the remaining trials follow.
    """
    study = raytuner.load(folder)
    if not (study.interrupted or study.running):
        raise SettingError(
            f"{folder} ran to its end; `raytuner extend {folder} --num-samples N` adds trials"
        )
    quieten_ray()
    conclude(study.resume(_function_of(study, trainable)))


@click.command()
@click.argument("folder", type=FOLDER)
@space_option
@setting_options(["num_samples", *names(Use.CHANGE)])
@trainable_option
def extend(folder: Folder, space_file: Path | None, trainable: str | None, **options: Any) -> None:
    """Add trials or time to a study that has ended.

    All trials so far are learned from, and early stopping compares with them. Settings that are not
    given are as before.

    With a larger --max-t, trials that had reached the old one count as stopped there. The best of
    them, at most half of the new trials, are tried again from their start.

    --space has the same hyperparameters as the study's. Trials that lie outside of it stay in the
    record, but new ones are proposed without them.
    """
    settings = given_settings(options)
    if not {"num_samples", "time_budget_s", "gpu_hours"} & settings.keys():
        raise SettingError("extend by what? Give --num-samples, --time-budget-s or --gpu-hours")
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    study = raytuner.load(folder)
    if study.interrupted and study.can_resume:
        raise SettingError(f"{folder} was interrupted; `raytuner resume {folder}` comes first")
    quieten_ray()
    conclude(study.extend(trainable=_function_of(study, trainable), **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--top", "k", type=int, default=3, show_default=True, help="So many of the best.")
@click.option("--repeats", type=int, default=3, show_default=True, help="Trainings of each.")
@click.option("--seed-key", help="Key that the training takes its seed from.")
@click.option("--seed", type=int, help="Seed of these seeds.")
@setting_options(["max_concurrent_trials"])
@trainable_option
def confirm(folder: Folder, trainable: str | None, **options: Any) -> None:
    """Train the best few again, so that the winner is not the luckiest."""
    study = raytuner.load(folder)
    quieten_ray()
    study.confirm(trainable=_function_of(study, trainable), **options)
    conclude(study)


def _function_of(study: Study, given: str | None) -> Callable[..., Any]:
    """Return the training function of a study, by the name in its record unless one is given."""
    name = given or study.history.get_meta("trainable")
    if name is None:
        raise TrainableError(
            "the record does not say where the training function is to be found; name it with"
            " --trainable module:function"
        )
    try:
        return load_function(name)
    except TrainableError as error:
        runs = study.history.get_meta("runs", [])
        hint = f". The study was run from {runs[-1]['folder']}: go there" if runs else ""
        raise TrainableError(f"{error}{hint}, or name it with --trainable") from error


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

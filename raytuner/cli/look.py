"""`raytuner list`, `show` and `best`: what there is, to read and to pipe on."""

from __future__ import annotations

import time

import click

from raytuner.cli.common import FOLDER, NOTHING_USABLE, load
from raytuner.folders import DEFAULT_STORAGE, Folder, folders_in

_SHOWN = 10


@click.command("list")
@click.argument("folder", type=FOLDER, required=False)
def list_(folder: Folder | None) -> None:
    """List the studies in a folder.

    FOLDER is where studies have their own folders; ~/raytuner_results if none is given.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from raytuner.errors import RaytunerError, SettingError
    from raytuner.report import text
    from raytuner.study.standing import last_news

    place = DEFAULT_STORAGE.expanduser() if folder is None else folder
    try:
        folders = folders_in(place)
    except OSError as error:
        raise SettingError(f"{place} is out of reach: {error}") from error
    found = []
    for path in folders:
        try:
            found.append(load(path))
        except RaytunerError:
            continue  # something else
    if not found:
        click.echo(f"There is no study in {place}.", err=True)
        raise SystemExit(NOTHING_USABLE)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("study", overflow="fold")
    table.add_column("trials", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("best", overflow="fold")
    table.add_column("state")
    table.add_column("last news")
    for study in found:
        best = study.history.best()
        table.add_row(
            Text(text.printable(study.path.name)),
            str(len(study.history)),
            str(len(study.failures)),
            Text("-" if best is None else text.printable(f"{study.metric} {best.value:.5g}")),
            "running" if study.running else "interrupted" if study.interrupted else "done",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(last_news(study.history))),
        )
    Console().print(table)


@click.command()
@click.argument("folder", type=FOLDER)
def show(folder: Folder) -> None:
    """Show how a study stands: its best configuration and trials."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from raytuner.report import text
    from raytuner.study.summary import summary

    study = load(folder)
    console = Console()
    console.print(summary(study))
    ended = study.ranked[:_SHOWN]
    if not ended:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trial", study.metric, study.history.time_attr):
        table.add_column(Text(text.printable(name)), justify="right")
    table.add_column("state")
    table.add_column("configuration", overflow="fold")
    varies = {column.name for column in study.history.space.columns}
    for trial in ended:
        config = {key: item for key, item in text.flat(trial.config) if key in varies}
        table.add_row(
            str(trial.number),
            f"{trial.value:.5g}",
            f"{trial.t:g}",
            text.WORDS[trial.state],
            Text(text.one_line(config)),
        )
    console.print()
    console.print(table)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "toml"]),
    default="json",
    show_default=True,
    help="How to write it.",
)
def best(folder: Folder, form: str) -> None:
    """Print the best configuration, to pipe on."""
    from raytuner.report import text

    study = load(folder)
    trial = study.best
    write = text.configuration_as_json if form == "json" else text.configuration_as_toml
    click.echo(write(trial.config).rstrip())

"""`raytuner list`, `show`, `best`, `report`, `export` and `recover`: the results of studies."""

from __future__ import annotations

import time
from pathlib import Path

import click

import raytuner
from raytuner.cli.common import FOLDER, NOTHING_USABLE
from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import DEFAULT_STORAGE, Folder, folders_in

_SHOWN = 10


@click.command("list")
@click.argument("folder", type=FOLDER, required=False)
def list_(folder: Folder | None) -> None:
    """List the studies in a folder.

    FOLDER contains the folders of the studies. Default: ~/raytuner_results.
    """
    from rich.console import Console

    from raytuner.study.summary import table

    place = DEFAULT_STORAGE.expanduser() if folder is None else folder
    try:
        folders = folders_in(place)
    except OSError as error:
        raise SettingError(f"cannot read {place}: {error}") from error
    found = []
    for path in folders:
        try:
            found.append(raytuner.load(path))
        except RaytunerError:
            continue  # not a study
    if not found:
        click.echo(f"There is no study in {place}.", err=True)
        raise SystemExit(NOTHING_USABLE)
    rows = []
    for study in found:
        best = study.history.best
        rows.append(
            [
                study.path.name,
                str(len(study.history)),
                str(len(study.failures)),
                "-" if best is None else f"{study.metric} {best.value:.5g}",
                "running" if study.running else "interrupted" if study.interrupted else "done",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(study.history.last_event_at)),
            ]
        )
    columns = ["study", "trials", "failed", "best", "state", "last event"]
    Console().print(table(columns, rows, right=["trials", "failed"]))


@click.command()
@click.argument("folder", type=FOLDER)
def show(folder: Folder) -> None:
    """Show a study: its state, best configuration and best trials."""
    from rich.console import Console

    from raytuner.report import text
    from raytuner.study.summary import summary, table

    study = raytuner.load(folder)
    console = Console()
    console.print(summary(study))
    varies = {column.name for column in study.history.space.columns}
    rows = [
        [
            str(trial.number),
            f"{trial.value:.5g}",
            f"{trial.t:g}",
            text.WORDS[trial.state],
            text.one_line({k: item for k, item in text.flat(trial.config) if k in varies}),
        ]
        for trial in study.ranked[:_SHOWN]
    ]
    if rows:
        numbers = ["trial", study.metric, study.history.time_attr]
        console.print()
        console.print(table([*numbers, "state", "configuration"], rows, right=numbers))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "toml"]),
    default="json",
    show_default=True,
    help="Output format.",
)
def best(folder: Folder, form: str) -> None:
    """Print the best configuration as JSON or TOML."""
    from raytuner.report import text

    config = raytuner.load(folder).best.config
    write = text.configuration_as_json if form == "json" else text.configuration_as_toml
    click.echo(write(config).rstrip())


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: report.html in FOLDER]",
)
@click.option("--live", is_flag=True, help="Serve a page that follows the study, until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port.  [default: a free one]"
)
def report(folder: Folder, output: Path | None, live: bool, port: int) -> None:
    """Write a report that shows and explains a study.

    The report is one HTML file that needs no network. With --live, this command serves the page
    to this machine instead, and the page follows the running study.
    """
    study = raytuner.load(folder)
    if not live:
        click.echo(study.report(output))
        return
    from raytuner.report.live import Server

    with Server(lambda: raytuner.load(folder).history, study.path, port=port) as server:
        click.echo(f"{server.url}\nPress Ctrl-C to stop.")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo(err=True)


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def export(folder: Folder, output: Path) -> None:
    """Write the trials of a study to OUTPUT.

    CSV (.csv) and Parquet (.parquet) have one row per trial. An Optuna storage (.db) also has the
    learning curves; open it with `optuna-dashboard sqlite:///OUTPUT`.
    """
    from raytuner.study.export import write_storage, write_table

    form = output.suffix.lower()
    if form not in (".csv", ".parquet", ".db"):
        raise SettingError(
            f"{output} has no known format; its name must end in .csv, .parquet or .db"
        )
    study = raytuner.load(folder)
    if not output.parent.is_dir():
        raise SettingError(f"cannot write {output}: the folder {output.parent} does not exist")
    try:
        (write_storage if form == ".db" else write_table)(study, output)
    except OSError as error:
        raise SettingError(f"cannot write {output}: {error.strerror or error}") from error
    click.echo(f"{len(study.history)} trials written to {output}", err=True)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="New folder for the recovered record.  [default: FOLDER, where the damaged file is kept]",
)
def recover(folder: Path, to: Path | None) -> None:
    """Recover a study with a damaged or missing record.

    Uses the readable parts of the record, and the copies in Ray's saved state. Stop a running study
    first.
    """
    from raytuner.report import text
    from raytuner.study.recovery import recover

    for line in recover(folder, to).lines():
        click.echo(text.printable(line))

"""`raytuner report`."""

from __future__ import annotations

from pathlib import Path

import click

from raytuner.cli.common import FOLDER, load
from raytuner.folders import Folder


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: report.html in FOLDER]",
)
@click.option("--live", is_flag=True, help="Serve a page that follows the study, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port.  [default: any free]")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def report(
    folder: Folder, output: Path | None, live: bool, host: str, port: int, opens: bool
) -> None:
    """Make a page that shows and explains a study.

    It is one HTML file that opens without a network. With --live it is served from this machine
    instead, and follows the study while it runs; served at another address than this machine's
    own, it asks for the token in the link that is printed.
    """
    if live:
        _serve(folder, host, port, opens)
        return
    study = load(folder)
    file = study.report(output)
    click.echo(file)
    if opens:
        click.launch(str(file))


def _serve(folder: Folder, host: str, port: int, opens: bool) -> None:
    study = load(folder)  # bad input shows before anything is served

    from raytuner.report.live import Server

    with Server(lambda: load(folder).history, study.path, host=host, port=port) as server:
        click.echo(f"{server.url}\nCtrl-C ends it.")
        if opens:
            click.launch(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo(err=True)

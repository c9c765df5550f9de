"""The command line.

This module imports only what parsing needs, so that `raytuner --help` is fast.

Exit codes: 0 success; 1 no usable result; 2 bad input; 130 Ctrl-C.
"""

from __future__ import annotations

import logging
from typing import Any

import click

from raytuner import __version__
from raytuner.cli.common import BAD_INPUT, INTERRUPTED, NOTHING_USABLE
from raytuner.cli.results import best, export, list_, recover, report, show
from raytuner.cli.run import check, confirm, demo, extend, resume, run
from raytuner.cli.simulate import simulate
from raytuner.errors import NoResultError, RaytunerError

__all__ = ["BAD_INPUT", "INTERRUPTED", "NOTHING_USABLE", "main"]


class _Group(click.Group):
    """Commands that print an error as one line and end with the exit codes above."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RaytunerError as error:
            from raytuner.report.text import printable  # the message repeats input unchanged

            message = "\n".join(map(printable, str(error).splitlines()))
            click.echo(f"Error: {message}", err=True)
            ctx.exit(NOTHING_USABLE if isinstance(error, NoResultError) else BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which a user needs them


_RUNNING = [demo, check, run, resume, extend, confirm]
_READING = [list_, show, best, report, export, recover, simulate]


@click.group(
    cls=_Group,
    commands=_RUNNING + _READING,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="raytuner", message="%(prog)s %(version)s")
def main() -> None:
    """Bayesian hyperparameter search with early stopping on Ray Tune."""
    # Ray would print a traceback for each failure. The summary counts them instead.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)

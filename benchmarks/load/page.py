"""The page of many trials, from what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load.real import SLOTS, SOAK_SECONDS, SOAK_SLOTS
from benchmarks.load.virtual import MAX_T, WORKERS
from benchmarks.race.table import markdown_table

_HEAD = f"""\
# Many trials

What a driver takes in memory and time as trials add up, by `python -m benchmarks.load`: the first
and the last twentieth of each search. "virtual": on the virtual clock, {WORKERS} workers, trials of
up to {MAX_T} reports, early stopping. "real": on a real Ray with {SLOTS} slots and as many
processes, which Ray uses again where another trial is at hand; a training reports {MAX_T} numbers
and does nothing else. "soak": the same with {SOAK_SLOTS} slots, for long, and
{SOAK_SECONDS:g} s of sleep before each report.

Last run on 2026-11-29, the soak on 2026-11-26, on two cores beside others' work: a load of 4 to 27,
which is in the times. Memory differs from run to run too: the same 1,500 trials of raytuner on a
real Ray took 51 KiB each the other time. Python 3.11, ray 2.60.0,
seed 0. By its reports, 30 of the soak's slots trained on average: two cores could not start
processes fast enough for the others.

A decision is a call of the searcher's or scheduler's hooks, by the clock: at 1,000 us, a driver
takes 1,000 results a second. For a trial, milliseconds of the whole driver's processor, Ray's or
the simulator's loop included. On a real Ray the hooks are not timed apart: a decision there is a
report, with all that the driver does for it. The times of two rows on a real Ray cannot be
compared, since the load differed by more than they do. Shares of one run can: of the samples that
`py-spy` took of the driver, those within raytuner's code, in these seconds of a run:

| search | seconds | raytuner | Ray's loop | Ray's loggers | serialisation | other threads |
|---|---|---|---|---|---|---|
| Ray's random search + ASHA | 45 to 85 | 0 % | 31 % | 23 % | 5 % | 41 % |
| raytuner, random | 45 to 85 | 14 % | 28 % | 22 % | 6 % | 31 % |
| raytuner | 45 to 85 | 15 % | 32 % | 20 % | 7 % | 26 % |
| raytuner | 185 to 215 | 12 % | 33 % | 20 % | 7 % | 28 % |

So raytuner adds 14 to 18 % to all else in the same process.

What grows: memory, by what is kept of each trial, and what Ray's own loop takes. Its ASHA takes a
percentile of all values of a rung for each new one. In "virtual", `raytuner, random` puts together
arrays of the whole record for each proposal, inside of `suggest`, and looks for used points there:
0.2 ms for the arrays at 1,000 trials, 0.4 ms at 10,000. The model's proposals come from another
process ("real", "soak"), for which no part of raytuner's share was seen to grow. A search of 10,000
trials on a real Ray has not been run with this version.

![Memory and time over trials](plots/load.svg)
"""


def write(raw: Path, page: Path, plot: Path) -> None:
    """Write the page and its plot from the stored runs."""
    runs = [json.loads(line) for line in raw.read_text().splitlines()]
    page.write_text(as_markdown(runs))
    draw(runs, plot)


def as_markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    head = [
        "where", "search", "trials", "us a decision", "ms a trial", "memory MiB", "KiB a trial",
        "trials a s",
    ]  # fmt: skip
    return "\n".join([_HEAD, *markdown_table(head, map(_row, runs))]) + "\n"


def _row(run: Mapping[str, Any]) -> list[str]:
    first, last = run["stretches"][0], run["stretches"][-1]
    grown = last["memory_mib"] - first["memory_mib"]
    more = last["trials"] - first["trials"]
    return [
        run["where"],
        run["search"],
        f"{last['trials']:,}",
        _span(first, last, "decision_us", ".0f"),
        _span(first, last, "trial_ms", ".1f"),
        _span(first, last, "memory_mib", ".0f"),
        f"{1024 * grown / more:.1f}" if more else "",
        f"{last['trials'] / last['wall_s']:.1f}",
    ]


def _span(first: Mapping[str, Any], last: Mapping[str, Any], name: str, form: str) -> str:
    return f"{first[name]:{form}} to {last[name]:{form}}"


def draw(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Memory, and milliseconds a trial, over the trials of each run."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "load"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for run in runs:
        trials = [one["trials"] for one in run["stretches"]]
        name = f"{run['search']}, {run['where']}"
        left.plot(trials, [one["memory_mib"] for one in run["stretches"]], label=name)
        right.plot(trials, [one["trial_ms"] for one in run["stretches"]], label=name)
    left.set(xlabel="trials", ylabel="memory of the driver, MiB", xscale="log")
    right.set(xlabel="trials", ylabel="its processor, ms a trial", xscale="log", yscale="log")
    right.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

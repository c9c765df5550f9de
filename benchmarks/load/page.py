"""The page of many trials, from the stored runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load.real import SLOTS, STARTING
from benchmarks.load.training import MAX_T
from benchmarks.load.virtual import WORKERS
from benchmarks.race.table import markdown_table

_HEAD = f"""\
# Many trials

`python -m benchmarks.load` measures the driver's memory and time as trials add up. The table shows
the first and the last twentieth of each search (20 trials of a soak).

- "virtual": on the virtual clock with {WORKERS} workers, trials of up to {MAX_T} reports, and
  early stopping.
- "real": on a real Ray with {SLOTS} slots. Ray reuses a process when another trial is ready. A
  training reports {MAX_T} numbers and does nothing else.
- "soak": many slots for long, and a sleep before each report. {STARTING} trials start at the same
  time. "busy" is the share of the slots' time that was training, after the first stretch.

All runs were on two cores with Python 3.11, Ray 2.60.0 and seed 0. The soaks ran on 2026-12-01, and
the runs of 10,000 trials on a real Ray on 2026-11-30. Nothing ran beside them, except in the first
four minutes of the soak of Ray's random search. The others ran from 2026-11-26 to 2026-11-29. Other
work caused a load of 4 to 27 then, which raises the times.

The soaks had 128 slots, which is about what two cores can keep busy. A process takes 6 s of
processor time to start, and 130 MiB of memory, so the slots filled in eight to ten minutes. From
then on, each slot was training. (The 104 % of Ray's search come from a stretch that ends after a
wave of reports.) raytuner's driver needed 20 ms per report, and that of Ray's random search 16 ms.
With 192 slots and all processes starting at the same time, no trial had ended after 12 minutes.
With early stopping after one report, trials ended faster than processes could start: 30 of 64 slots
were training.

Over 10,000 trials on a real Ray, raytuner's random search with ASHA needed 0.90 times the processor
time of Ray's, and 1.11 times the memory per trial. The ratio of the times was 1.14 in the first
quarter of the trials, and 0.75 in the last. In the last twentieth, Ray's search took 2.1 times as
long per trial as in the first, and raytuner's took 1.5 times as long.

A decision is one call of a hook of the searcher or scheduler, in wall time: at 1,000 us, a driver
takes 1,000 results per second. On a real Ray the hooks are not timed separately, so a decision
there is a report with everything that the driver does for it. The milliseconds per trial are
processor time of the whole driver, with the loop of Ray or of the simulator.

Compare the times of two rows on a real Ray only if both have 10,000 trials. For the others, the
load differed more than the times do. Shares within one run can be compared. The next table shows
where `py-spy` found the driver, in these seconds of earlier runs of 1,500 trials:

| search | seconds | raytuner | Ray's loop | Ray's loggers | serialisation | other threads |
|---|---|---|---|---|---|---|
| Ray's random search + ASHA | 45 to 85 | 0 % | 31 % | 23 % | 5 % | 41 % |
| raytuner, random | 45 to 85 | 14 % | 28 % | 22 % | 6 % | 31 % |
| raytuner | 45 to 85 | 15 % | 32 % | 20 % | 7 % | 26 % |
| raytuner | 185 to 215 | 12 % | 33 % | 20 % | 7 % | 28 % |

So raytuner adds 14 to 18 % to everything else in the driver.

These things grow with the number of trials:

- Memory, because each trial is kept.
- Ray's own loop. Ray's ASHA also computes a percentile of all values at a rung for each new value.
- In "virtual", `raytuner, random` builds arrays of the whole record for each proposal, inside
  `suggest`, and looks for used points in them. The arrays take 0.2 ms at 1,000 trials and 0.4 ms at
  10,000.

In "real" and "soak", another process computes the model's proposals, and no part of raytuner's
share was seen to grow.

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
        "where", "search", "trials", "us per decision", "ms per trial", "memory MiB",
        "KiB per trial", "trials per s", "busy",
    ]  # fmt: skip
    return "\n".join([_HEAD, *markdown_table(head, map(_row, runs))]) + "\n"


def _row(run: Mapping[str, Any]) -> list[str]:
    first, last = run["stretches"][0], run["stretches"][-1]
    grown = last["memory_mib"] - first["memory_mib"]
    more = last["trials"] - first["trials"]
    return [
        f"{run['where']}, {run['slots']} slots" if "slots" in run else run["where"],
        run["search"],
        f"{last['trials']:,}",
        _span(first, last, "decision_us", ".0f"),
        _span(first, last, "trial_ms", ".1f"),
        _span(first, last, "memory_mib", ".0f"),
        f"{1024 * grown / more:.1f}" if more and "slots" not in run else "",  # a soak has too few
        f"{last['trials'] / last['wall_s']:.1f}",
        _busy(run),
    ]


def _busy(run: Mapping[str, Any]) -> str:
    """The share of the slots' time that was training, after the first stretch of a soak."""
    if "slots" not in run:
        return ""
    first, *later = run["stretches"]
    trained = run["seconds"] * sum(one["decisions"] for one in later)
    return f"{trained / run['slots'] / (later[-1]['wall_s'] - first['wall_s']):.0%}"


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
    right.set(xlabel="trials", ylabel="its processor, ms per trial", xscale="log", yscale="log")
    right.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

"""Regret over the budget, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.race.figures import MARKS, Floats, mean_over_problems, regrets
from benchmarks.race.runs import Run
from benchmarks.race.table import title_of

_SHARES = np.linspace(0.0, 1.0, 201)
_FLOOR = 0.003  # the axis is logarithmic
_DASHES = ("-", "--", ":", "-.")


def draw(by_method: Mapping[str, Sequence[Run]], file: Path) -> None:
    """Write a plot of each method's mean regret, ours drawn thick.

    Args:
        by_method: Each method's runs.
        file: Where to; its suffix says in which format.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    # The same runs give the same bytes.
    mpl.rcParams.update({"svg.hashsalt": "raytuner", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9.0, 5.5), layout="constrained")
    colours = pyplot.get_cmap("tab10")
    # As good as they were last, and those first that got to the end.
    order = sorted(by_method, key=lambda name: _last(mean_regret(by_method[name])))
    for number, name in enumerate(order):
        axes.plot(
            _SHARES,
            np.maximum(mean_regret(by_method[name]), _FLOOR),
            label=title_of(name),
            color=colours(number % 10),
            linestyle=_DASHES[number // 10 % len(_DASHES)],
            linewidth=2.6 if name.startswith("ours") else 1.2,
        )
    axes.set_yscale("log")
    axes.set_xlabel("share of the budget")
    axes.set_ylabel(f"mean normalised regret (below {_FLOOR:g} drawn there)")
    axes.set_xticks(MARKS, [f"{mark:.0%}" for mark in MARKS])
    axes.set_xlim(0.0, 1.0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _last(regret: Floats) -> tuple[bool, float]:
    known = regret[~np.isnan(regret)]
    return len(known) < len(regret), float(known[-1])


def mean_regret(runs: Sequence[Run]) -> Floats:
    """Mean over the runs at evenly spaced shares of the budget, none above 1."""
    return mean_over_problems(runs, regrets(runs, marks=_SHARES.tolist()))

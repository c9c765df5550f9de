"""Choose the learning rate of a wide network with narrow ones, at equal compute.

Each way to search has the compute of 3, 6 and 12 trainings of the widest network. The figures are
its losses with the chosen configuration, trained again with other seeds.

python -m benchmarks.width
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import chain, islice, product
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
import torch
from ray import tune
from torch import Tensor, nn

import raytuner
from benchmarks.race.method import versions
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table
from raytuner.bayes import BayesProposer
from raytuner.bayes.proposer import Proposal, RandomProposer
from raytuner.history import Goal, History, TrialState
from raytuner.search.tune_space import space_from_tune

WIDTHS = (32, 64, 128, 256)
MARKS = (3, 6, 12)
RATES = tuple(np.logspace(-4, -0.5, 8).round(7).tolist())
RESULTS = Path("benchmarks/results/width/searches.jsonl")
PAGE = Path("benchmarks/WIDTH.md")
_INPUTS, _CLASSES, _LAYERS, _STEPS, _BATCH = 32, 10, 2, 200, 64
_EXAMPLES, _HELD_OUT = 40_000, 4_000
_NARROW = 2.0  # compute of the narrowest network's trials, where its best are carried over
_FRESH = (1_000, 1_001, 1_002)  # seeds of the final trainings

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1.0),
    "output": tune.loguniform(0.1, 10.0),
    "init": tune.loguniform(0.25, 4.0),
    "warm_up": tune.uniform(0.0, 0.5),
}


@dataclass(frozen=True)
class Setting:
    """The hyperparameters of a training.

    Attributes:
        width: Of the hidden layers.
        mup: Whether maximal update parametrisation (µP) applies. False: the standard one.
        lr: Learning rate of Adam, at the narrowest width.
        output: Multiplier of the output.
        init: Multiplier of the standard deviations of the initial weights.
        warm_up: Share of the steps in which the learning rate rises.
        power: The learning rate is in proportion to the width to this negative power.
    """

    width: int
    mup: bool = False
    lr: float = 0.01
    output: float = 1.0
    init: float = 1.0
    warm_up: float = 0.1
    power: float = 0.0

    @property
    def rates(self) -> tuple[float, float]:
        """The learning rates of the first and last weights, and of the hidden ones."""
        ratio = self.width / WIDTHS[0]
        lr = self.lr * ratio**-self.power
        return lr, lr / ratio if self.mup else lr

    @property
    def cost(self) -> float:
        """The multiply-adds of the training, in units of the widest network's."""
        own, widest = (w * (_INPUTS + _LAYERS * w + _CLASSES) for w in (self.width, WIDTHS[-1]))
        return own / widest


class Network(nn.Module):
    """A perceptron without biases, in either parametrisation.

    Maximal update parametrisation with Adam: the learning rate of hidden weights and the multiplier
    of the output are in proportion to 1 / width, and the last weights do not shrink as the width
    grows. At the narrowest width it equals the standard parametrisation.

    Source: G. Yang et al. (2022), "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
    Hyperparameter Transfer", arXiv:2203.03466, table 8.
    """

    def __init__(self, setting: Setting, generator: torch.Generator) -> None:
        super().__init__()
        width = setting.width

        def drawn(rows: int, columns: int, variance: float) -> nn.Parameter:
            values = torch.randn(rows, columns, generator=generator)
            return nn.Parameter(setting.init * math.sqrt(variance) * values)

        self.first = drawn(width, _INPUTS, 2 / _INPUTS)
        self.hidden = nn.ParameterList(drawn(width, width, 2 / width) for _ in range(_LAYERS))
        self.last = drawn(_CLASSES, width, 1 / (WIDTHS[0] if setting.mup else width))
        self._multiplier = setting.output * (WIDTHS[0] / width if setting.mup else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes, `(n, classes)`."""
        x = torch.relu(x @ self.first.T)
        for layer in self.hidden:
            x = torch.relu(x @ layer.T)
        return self._multiplier * (x @ self.last.T)


@cache
def data() -> tuple[Tensor, Tensor]:
    """Return inputs, and the classes that a random network gives them."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    inward, bias, outward = draw(8, _INPUTS), draw(8), draw(_CLASSES, 8)
    x = draw(_EXAMPLES + _HELD_OUT, _INPUTS)
    return x, (torch.tanh(2 * x @ inward.T / math.sqrt(_INPUTS) + bias) @ outward.T).argmax(1)


@cache
def train(setting: Setting, seed: int) -> float:
    """Return the held-out loss of a training, at most that of equal chances."""
    x, y = data()
    generator = torch.Generator().manual_seed(seed)
    network = Network(setting, generator)
    outer, hidden = setting.rates
    groups = [
        {"params": [network.first, network.last], "lr": outer},
        {"params": list(network.hidden), "lr": hidden},
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95))
    rise = max(round(setting.warm_up * _STEPS), 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (_STEPS - step) / (_STEPS - rise + 1))
    )
    for batch in torch.randint(_EXAMPLES, (_STEPS, _BATCH), generator=generator):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(x[batch]), y[batch]))
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(network(x[_EXAMPLES:]), y[_EXAMPLES:]))
    return min(math.log(_CLASSES), loss)  # NaN is not less


@dataclass(frozen=True)
class Trained:
    """A trial: what was trained, and its loss."""

    setting: Setting
    loss: float


# A trial, and a function that instead trains what is proposed if it is the last trial.
Trials = Iterator[tuple[Trained, Callable[[], tuple[Proposal, Trained]] | None]]


def searched(
    seed: int,
    *,
    make: Any = BayesProposer,
    width: Any = WIDTHS[-1],
    power: Any = 0.0,
    mup: bool = False,
) -> Trials:
    """Search without end, one trial at a time. A domain as `width` or `power` is searched."""
    space = space_from_tune({**SPACE, "width": width, "power": power})
    goal = Goal.of("loss", "min", cost="cost" if space.fidelities else None)
    history, proposer = History(space, goal=goal), make(space, seed)

    def asked(left: int | None = None) -> tuple[Proposal, Trained]:
        history.left = left
        proposer.tell(history.snapshot())
        (proposal,) = proposer.ask(1)
        setting = Setting(mup=mup, **proposal.config)
        return proposal, Trained(setting, train(setting, seed))

    last = partial(asked, left=1) if space.fidelities else None
    while True:
        proposal, trial = asked()
        yield trial, last
        trial_id = str(len(history))
        history.add(trial_id, proposal.config, proposal.origin)
        history.report(trial_id, 1, trial.loss, {"cost": trial.setting.cost})
        history.end(trial_id, TrialState.COMPLETED)


@cache
def narrow(seed: int) -> tuple[Trained, ...]:
    """Return the trials of the narrowest network, the same in both parametrisations."""
    count = int(_NARROW / Setting(WIDTHS[0]).cost)
    return tuple(trial for trial, _ in islice(searched(seed, width=WIDTHS[0]), count))


def carried(seed: int, *, mup: bool) -> Trials:
    """Train the narrowest network, then the widest with its configurations, the best first."""
    best = sorted(narrow(seed), key=lambda trial: trial.loss)
    wide = (replace(trial.setting, width=WIDTHS[-1], mup=mup) for trial in best)
    for trial in chain(narrow(seed), (Trained(s, train(s, seed)) for s in wide)):
        yield trial, None


_FIDELITY = raytuner.fidelity(tune.choice(list(WIDTHS)))
WAYS: Mapping[str, Callable[[int], Trials]] = {
    "random search, widest only": partial(searched, make=RandomProposer),
    "raytuner, widest only": searched,
    "fidelity": partial(searched, width=_FIDELITY),
    "fidelity, power": partial(searched, width=_FIDELITY, power=tune.uniform(0.0, 1.0)),
    "fidelity, µP": partial(searched, width=_FIDELITY, mup=True),
    "carried over": partial(carried, mup=False),
    "carried over, µP": partial(carried, mup=True),
}


@dataclass(frozen=True)
class Run:
    """The result of a search with some compute.

    Attributes:
        way: One of `WAYS`, or with its last training kept.
        seed: Seed of the search and of its trainings.
        budget: The compute, in trainings of the widest network.
        spent: What the trials used of it.
        trials: How many trials there were.
        full: How many of them trained the widest network.
        lr: Learning rate of the first and last weights in the best of these.
        loss: Mean loss of that configuration, trained with fresh seeds.
        versions: Versions of raytuner, Ray and PyTorch.
        machine: Where it ran.
    """

    way: str
    seed: int
    budget: int
    spent: float
    trials: int
    full: int
    lr: float
    loss: float
    versions: dict[str, str]
    machine: str


def found(way: str, seed: int, budget: int, trials: Sequence[Trained]) -> Run:
    """Train the best configuration of the widest network again."""
    full = [trial for trial in trials if trial.setting.width == WIDTHS[-1]]
    best = min(full, key=lambda trial: trial.loss).setting
    loss = fmean(train(best, fresh) for fresh in _FRESH)
    return Run(
        way, seed, budget, round(sum(trial.setting.cost for trial in trials), 4), len(trials),
        len(full), round(best.rates[0], 7), round(loss, 5), versions(("torch",)), this_machine(),
    )  # fmt: skip


def search(way: str, seed: int) -> list[Run]:
    """Search once, and return what it has found at `MARKS`."""
    plain, kept, trials, spent = list[Run](), list[Run](), list[Trained](), 0.0
    for trial, last in WAYS[way](seed):
        spent += trial.setting.cost
        for mark in MARKS[len(kept) :]:
            if last is not None and spent > mark - 1 + 1e-9:
                kept.append(found(f"{way}, last training kept", seed, mark, [*trials, last()[1]]))
        for mark in MARKS[len(plain) :]:
            if spent > mark + 1e-9:
                plain.append(found(way, seed, mark, trials))
        if len(plain) == len(MARKS):
            break
        trials.append(trial)
    return plain + kept


@dataclass(frozen=True)
class Sweep:
    """The losses of one width at the learning rates `RATES`, other hyperparameters fixed."""

    width: int
    mup: bool
    losses: tuple[float, ...]


def sweep(width: int, mup: bool) -> Sweep:
    """Train with each learning rate."""
    settings = [Setting(width, mup, lr) for lr in RATES]
    losses = [fmean(train(setting, seed) for seed in _FRESH) for setting in settings]
    return Sweep(width, mup, tuple(np.round(losses, 5).tolist()))


def page(runs: Sequence[Run], sweeps: Sequence[Sweep]) -> str:
    """Return the page: losses by way and compute, and by learning rate and width."""
    rows = []
    for way in dict.fromkeys(run.way for run in runs):
        own = [[run for run in runs if (run.way, run.budget) == (way, mark)] for mark in MARKS]
        cells = [_mean([run.loss for run in some]) for some in own]
        full, trials = (fmean(getattr(r, name) for r in own[0]) for name in ("full", "trials"))
        rows.append([way, str(len(own[0])), *cells, f"{full:.1f} of {trials:.0f}"])
    marks = [f"{mark} trainings" for mark in MARKS]
    head = ["way", "runs", *marks, f"trials of the widest, {MARKS[0]}"]
    lines = []
    for s in sweeps:
        cells = [f"**{x:.3f}**" if x == min(s.losses) else f"{x:.3f}" for x in s.losses]
        lines.append(["µP" if s.mup else "standard", str(s.width), *cells])
    rates = markdown_table(["", "width", *(f"{lr:.2g}" for lr in RATES)], lines)
    known = {(run.machine, *(f"{k} {v}" for k, v in run.versions.items())) for run in runs}
    where = f"One core of {'; '.join(map(', '.join, sorted(known)))}."
    parts = [_HEAD, *markdown_table(head, rows), "", _RATES, *rates, "", _CONCLUSION, where, ""]
    return "\n".join(parts)


def _mean(losses: Sequence[float]) -> str:
    """Return the mean loss and its standard error over the seeds of the search."""
    error = f" ({np.std(losses, ddof=1) / math.sqrt(len(losses)):.3f})" if len(losses) > 1 else ""
    return f"{fmean(losses):.3f}{error}"


_HEAD = """\
# The learning rate of a wide network

How do you choose the learning rate of a network that you can train only three times? This page
compares ways to do that at equal compute (`python -m benchmarks.width`).

- Task: a perceptron of width 256 (narrower: 32, 64, 128) learns the classes that a random network
  assigns, in 200 steps of Adam. The searches tune the learning rate, the multipliers of the output
  and of the initial weights, and the warm-up.
- Compute: the multiply-adds of all trials. The unit is one training of the widest network; a
  training of the narrowest takes 1/42.
- Figures: held-out loss of the chosen network, a mean over three trainings with fresh seeds, which
  do not count as compute. In brackets: the standard error over the seeds of the search. A training
  that diverges has the loss of equal chances, 2.30.
- fidelity: one search among all widths (`raytuner.fidelity`), as far as the compute goes.
- last training kept: one full training is left for the configuration that the model prefers.
- power: the learning rate is `lr * (width / 32)**-power`, and `power` in [0, 1] is searched too.
- µP: maximal update parametrisation (G. Yang et al. 2022, arXiv:2203.03466, table 8).
- carried over: a search with the narrowest network uses the compute of two full trainings. The rest
  goes to the widest network, with the best configurations of that search, in order.
"""
_RATES = """\
## Does the optimum move?

Losses by learning rate, where the multipliers are 1 and the warm-up takes a tenth of the steps:
"""
_CONCLUSION = """\
In the standard parametrisation, the best learning rate falls from 0.03 to 0.01. In µP it stays.

- Three trainings: carry over in µP, or use a fidelity in µP and keep the last training. If you
  cannot change the network, use a fidelity and keep the last training. raytuner does that if it
  knows the number of trials.
- Carrying over in the standard parametrisation is no better than random search.
- Six or more: in µP, a fidelity is as good as carrying over. In the standard parametrisation, it is
  no better than the widest network alone, with or without a power.
- This is one task with five seeds: differences below two standard errors may be chance.
"""


def load() -> tuple[list[Run], list[Sweep]]:
    """Return the stored runs and sweeps."""
    if not RESULTS.exists():
        return [], []
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    runs = [Run(**row) for row in rows if "way" in row]
    sweeps = [Sweep(**{**r, "losses": tuple(r["losses"])}) for r in rows if "width" in r]
    return runs, sweeps


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Seeds of the searches, from 0.")
def main(seeds: int) -> None:
    """Run what the results lack, and write the page."""
    torch.set_num_threads(1)
    runs, sweeps = load()

    def store(record: Run | Sweep) -> None:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    for mup, width in product((False, True), WIDTHS):
        if (width, mup) not in [(s.width, s.mup) for s in sweeps]:
            sweeps.append(sweep(width, mup))
            store(sweeps[-1])
    for seed, way in product(range(seeds), WAYS):
        if (way, seed) not in [(run.way, run.seed) for run in runs]:
            for run in search(way, seed):
                runs.append(run)
                store(run)
    text = page(runs, sweeps)
    PAGE.write_text(text, encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()

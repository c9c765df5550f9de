"""What it is worth to know something already: earlier studies, beliefs, and many hyperparameters.

Earlier studies and beliefs are measured on instances of LCBench, each trial trained in full, four
at a time. The figures are mean regrets of the incumbent after so many trials, with standard errors:
0 is the best value that a local search finds, and 1 the median of random configurations. Many
hyperparameters are measured on functions with a known minimum, some of them with few columns that
matter: the figure is how far the incumbent is from it.

python -m benchmarks.knowledge earlier
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from botorch.test_functions.synthetic import Hartmann
from numpy.typing import NDArray

from benchmarks import transfer_peers, yahpo
from raytuner.bayes import BayesProposer, Proposer, SobolProposer
from raytuner.bayes.belief import Belief
from raytuner.bayes.transfer import Task
from raytuner.history import History, TrialState
from raytuner.search.priors import near, read_priors
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Categorical, Config, Float, Integer, Space

_WORKERS = 4
_EARLIER_TRIALS = 40
_EARLIER_TASKS = 3

Loss = Callable[[Config], float]
Losses = NDArray[np.float64]
Make = Callable[[int], Proposer]


@dataclass(frozen=True)
class Function:
    """A function to minimise.

    Attributes:
        space: Its space.
        loss: Its value, above its minimum.
    """

    space: Space
    loss: Loss


# -- the search -----------------------------------------------------------------------------------


def incumbents(problem: Function, proposer: Proposer, trials: int, seed: int) -> Losses:
    """The lowest loss after each trial; trials end in a random order."""
    history = History(problem.space, metric="loss", mode="min")
    rng, pending = np.random.default_rng(seed), list[str]()
    for number in range(trials):
        proposer.tell(history.snapshot())
        (proposal,) = proposer.ask(1)
        history.add(str(number), proposal.config, proposal.origin)
        pending.append(str(number))
        if len(pending) == _WORKERS:
            _end(history, pending.pop(int(rng.integers(_WORKERS))), problem.loss)
    for trial_id in pending:
        _end(history, trial_id, problem.loss)
    return np.minimum.accumulate([trial.value for trial in history.trials])


def _end(history: History, trial_id: str, loss: Loss) -> None:
    history.report(trial_id, 1, loss(history[trial_id].config))
    history.end(trial_id, TrialState.COMPLETED)


# -- LCBench --------------------------------------------------------------------------------------


def network(surrogate: yahpo.Surrogate, instance: str) -> Function:
    """The regret of a fully trained network."""
    problem = surrogate.problem(instance)

    def regret(config: Config) -> float:
        accuracy, _ = surrogate.predict(instance, yahpo.LCBENCH.max_t, config)
        return problem.regret(float(accuracy[0]))

    return Function(space_from_tune(surrogate.space), regret)


def random_task(problem: Function, name: str, seed: int) -> Task:
    """An earlier study: random trials."""
    history = History(problem.space, metric="loss", mode="min")
    rng = np.random.default_rng([seed, int(name)])
    for number, config in enumerate(problem.space.sample(rng, _EARLIER_TRIALS)):
        history.add(str(number), config)
        _end(history, str(number), problem.loss)
    return Task(history.snapshot(), np.ones(problem.space.dim, dtype=bool))


def opposite(task: Task) -> Task:
    """What would be learned from the same trials if all were the other way round."""
    return replace(task, snapshot=task.snapshot.with_objective(-task.snapshot.y))


def belief_at(space: Space, point: Losses) -> tuple[Belief, ...]:
    """A belief around a configuration."""
    (config,) = space.decode(point[None])
    return read_priors({column.name: near(config[column.name]) for column in space.columns}, space)


def knowing(what: str, own: Task, others: Sequence[Task], space: Space) -> Mapping[str, Make]:
    """The ways to search.

    Args:
        what: "earlier" or "priors".
        own: Random trials of the same problem.
        others: Random trials of others.
        space: The search space.
    """
    if what == "earlier":
        return {
            "nothing": lambda seed: BayesProposer(space, seed),
            f"{len(others)} other data sets": lambda seed: BayesProposer(space, seed, tasks=others),
            "the same data set, the wrong way round": lambda seed: BayesProposer(
                space, seed, tasks=[opposite(own)]
            ),
        }
    good, bad = (belief_at(space, task.best()[0]) for task in (others[0], opposite(own)))
    return {
        "nothing": lambda seed: BayesProposer(space, seed),
        "near what was best on another data set": lambda seed: BayesProposer(
            space, seed, beliefs=good
        ),
        "near what is worst": lambda seed: BayesProposer(space, seed, beliefs=bad),
    }


def on_lcbench(
    data: Path,
    what: str,
    trials: int,
    seeds: int,
    studies: int = _EARLIER_TASKS,
    held_out: bool = False,
    peers: bool = False,
) -> dict[str, Losses]:
    """Return the regrets by what is known, each `(runs, trials)`.

    Args:
        data: Folder of YAHPO's data.
        what: "earlier" or "priors".
        trials: How many trials a search has.
        seeds: How many seeds, from 0.
        studies: How many earlier studies a search knows; they are of development instances.
        held_out: Whether to search on the instances of the race, not of development.
        peers: Whether peers search too, that know the same earlier studies.
    """
    surrogate = yahpo.load(data)
    earlier = {name: network(surrogate, name) for name in yahpo.LCBENCH.development}
    problems = earlier
    if held_out:
        problems = {name: network(surrogate, name) for name in yahpo.LCBENCH.test}
    found: dict[str, list[Losses]] = {}
    for name, problem in problems.items():
        for seed in range(seeds):
            order = np.random.default_rng([7, seed, int(name)]).permutation(
                [other for other in earlier if other != name]
            )
            others = [random_task(earlier[o], o, seed) for o in order[:studies].tolist()]
            own = random_task(problem, name, seed)
            makes = dict[str, Make](knowing(what, own, others, problem.space))
            if peers:
                full = surrogate.problem(name)
                makes |= transfer_peers.searches(transfer_peers.PEERS, full, others)
            for known, make in makes.items():
                run = incumbents(problem, make(seed), trials, seed)
                found.setdefault(known, []).append(run)
    return {known: np.array(runs) for known, runs in found.items()}


# -- many hyperparameters -------------------------------------------------------------------------


def _vector(config: Config) -> Losses:
    return np.array(list(config.values()), dtype=np.float64)


def hartmann6(dim: int) -> Function:
    """Hartmann's function of six columns among many that play no part."""
    active = np.random.default_rng(5).permutation(dim)[:6]
    function = Hartmann(dim=6)

    def loss(config: Config) -> float:
        x = torch.as_tensor(_vector(config)[active])
        return float(function.evaluate_true(x[None])) - function.optimal_value

    return Function(Space({f"x{i}": Float(0, 1) for i in range(dim)}), loss)


def ackley(dim: int) -> Function:
    """Ackley's function around a random place."""
    centre = np.random.default_rng(dim).uniform(-3, 3, dim)

    def loss(config: Config) -> float:
        z = _vector(config) - centre
        bowl = -20 * math.exp(-0.2 * math.sqrt((z**2).mean()))
        return float(bowl - math.exp(np.cos(2 * math.pi * z).mean()) + 20 + math.e)

    return Function(Space({f"x{i}": Float(-5, 10) for i in range(dim)}), loss)


def levy(dim: int) -> Function:
    """Levy's function."""

    def loss(config: Config) -> float:
        w = 1 + (_vector(config) - 1) / 4
        middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
        last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2)
        return float(np.sin(math.pi * w[0]) ** 2 + middle.sum() + last)

    return Function(Space({f"x{i}": Float(-10, 10) for i in range(dim)}), loss)


def mixed(dim: int) -> Function:
    """Numbers, whole numbers and choices in turn, each less important than the one before."""
    rng = np.random.default_rng(3)
    domains = (Float(0, 1), Integer(0, 10), Categorical(list("abcd")))
    space = Space({f"x{i}": domains[i % 3] for i in range(dim)})
    (best,) = space.decode(rng.random((1, dim)))

    def loss(config: Config) -> float:
        total = 0.0
        for i, (value, goal) in enumerate(zip(config.values(), best.values(), strict=True)):
            if isinstance(value, str):
                part = 0.3 * (value != goal)
            else:
                part = 2 * ((value - goal) / (1 if isinstance(value, float) else 10)) ** 2
            total += math.exp(-i / 6) * part
        return total

    return Function(space, loss)


FUNCTIONS: dict[str, Callable[[], Function]] = {
    "Hartmann6 in 100": lambda: hartmann6(100),
    "Ackley, 20": lambda: ackley(20),
    "Ackley, 50": lambda: ackley(50),
    "Levy, 20": lambda: levy(20),
    "mixed, 30": lambda: mixed(30),
}


def on_functions(trials: int, seeds: int) -> dict[str, Losses]:
    """Losses by function and search, each ``(runs, trials)``, and seconds a proposal by name."""
    found: dict[str, Losses] = {}
    for name, make in FUNCTIONS.items():
        problem = make()
        d = problem.space.dim
        searches: dict[str, Callable[[Space, int], Any]] = {
            "random": SobolProposer,
            f"raytuner, the model after {d + 1} trials": partial(BayesProposer, n_initial=d + 1),
            "raytuner": BayesProposer,
        }
        for search, proposer in searches.items():
            start = time.process_time()
            runs = [
                incumbents(problem, proposer(problem.space, s), trials, s) for s in range(seeds)
            ]
            seconds = (time.process_time() - start) / (trials * seeds)
            found[f"{name}: {search} ({seconds:.2f} s a proposal)"] = np.array(runs)
    return found


def table(found: Mapping[str, Losses], places: Sequence[int]) -> str:
    """Return the means after so many trials, with standard errors, as Markdown."""
    lines = [f"| | {' | '.join(map(str, places))} |", f"|---|{'---|' * len(places)}"]
    for name, runs in found.items():
        errors = runs.std(axis=0, ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else None
        cells = [
            f"{runs[:, place - 1].mean():.3f}"
            + ("" if errors is None else f" ± {errors[place - 1]:.3f}")
            for place in places
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.argument("what", type=click.Choice(["earlier", "priors", "many"]))
@click.option(
    "--data",
    envvar=yahpo.DATA_VARIABLE,
    default="yahpo_data",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of YAHPO's data, for LCBench. Environment: {yahpo.DATA_VARIABLE}.",
)
@click.option(
    "--studies",
    default=_EARLIER_TASKS,
    show_default=True,
    type=click.IntRange(1, len(yahpo.LCBENCH.development) - 1),
    help="Earlier studies.",
)
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(1), help="From 0.")
@click.option(
    "--held-out", is_flag=True, help="Search on the instances of the race, not of development."
)
@click.option("--peers", is_flag=True, help="Also search with peers that know earlier studies.")
def main(what: str, data: Path, studies: int, seeds: int, held_out: bool, peers: bool) -> None:
    """Measure searches that know something, and those of many hyperparameters."""
    if what == "many":
        click.echo(table(on_functions(100, seeds), (30, 50, 75, 100)))
    else:
        found = on_lcbench(data, what, 30, seeds, studies, held_out, peers)
        click.echo(table(found, (5, 8, 10, 15, 20, 30)))


if __name__ == "__main__":
    main()

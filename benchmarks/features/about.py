"""What the page says of each problem: it is drawn without the data that problems may need."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.features.problems import EARLIER_TRIALS, NETWORK_LIMIT, STUDIED, TARGET

_REGRET = (
    "The loss is the regret of the best {}, in units of that of the median of random"
    " configurations."
)
_MISSING = (
    "The loss is the share that is missing of the best front's hypervolume. Nobody is told the"
    " reference point. raytuner without the feature minimises the sum of the objectives."
)
_PRIOR = (
    "Hartmann's function in six dimensions, and a guess of the optimum, {}; its standard deviation"
    " is 0.1. "
    + _REGRET.format("value")
    + " All others, raytuner without the feature among them, try the guess first."
)


@dataclass(frozen=True)
class About:
    """A problem in words.

    Attributes:
        feature: The feature that it shows.
        text: What is searched, what the loss is, and what methods without the feature do.
    """

    feature: str
    text: str


ABOUT: dict[str, About] = {
    "constrained": About(
        "outcome constraint",
        "Hartmann's function in six dimensions, feasible within the unit ball: 8 % of the cube. The"
        " constraint is known by its value at evaluated points only. "
        + _REGRET.format("feasible value")
        + " raytuner without the feature adds the constraint's excess to the objective.",
    ),
    "parameter-constrained": About(
        "parameter constraint",
        f"A made-up network of four hyperparameters with `layers * units <= {NETWORK_LIMIT}`, known"
        " beforehand: 37 % of the space. "
        + _REGRET.format("network that is small enough")
        + " A suggestion that is too large counts as an evaluation and has no value. Optuna has no"
        " constraints on hyperparameters, and Ax linear ones only, which this is not: both are told"
        " by how many doublings a suggestion exceeds it, as an outcome constraint. Optuna takes no"
        " trial without a value: it is told the worst so far. Random search draws until the"
        " constraint is kept. To raytuner without the feature, a network that is too large is a"
        " trial that failed.",
    ),
    "zdt1": About(
        "two objectives",
        f"ZDT1 in eight dimensions, two objectives, reference point (1.1, 4). {_MISSING}",
    ),
    "dtlz2": About(
        "three objectives",
        f"DTLZ2 in six dimensions, three objectives, reference point (1.1, 1.1, 1.1). {_MISSING}",
    ),
    "noisy": About(
        "noise",
        "Branin's function plus normal noise of standard deviation 10. The loss is the regret of"
        " the true value of what the method says is best, in units of that of the median of random"
        " configurations. Ax says so by its model; Optuna, random search and raytuner without the"
        " feature by the best value they were told.",
    ),
    "transfer": About(
        "earlier studies",
        f"The final accuracy on LCBench's development instance {TARGET}, after studies of"
        f" {EARLIER_TRIALS} random configurations each on {', '.join(STUDIED)}. "
        + _REGRET.format("value")
        + " Peers have nothing of the kind and begin from nothing, as raytuner without does.",
    ),
    "conditional": About(
        "conditions",
        "A made-up choice of three models with two, three and four hyperparameters of their own;"
        " the one with the lowest optimum is bad almost everywhere. "
        + _REGRET.format("value")
        + " Optuna defines the space by running (TPE by groups; GPSampler draws what is conditional"
        " at random), Ax by a hierarchical space. raytuner without the feature searches a flat"
        " space of all ten.",
    ),
    "high-dimensional": About(
        "many dimensions",
        "Hartmann's function of six of a hundred hyperparameters. " + _REGRET.format("value"),
    ),
    "prior-right": About(
        "prior that is right", _PRIOR.format("0.1 from the optimum in each dimension")
    ),
    "prior-wrong": About(
        "prior that is wrong", _PRIOR.format("half of the range off in each dimension")
    ),
    "fidelity": About(
        "fidelity",
        "Hartmann's function in six dimensions, augmented: at a fidelity of less than 1 it is a"
        " little wrong, and an evaluation costs 0.1 of a full one and 0.9 times its fidelity. "
        + _REGRET.format("value at full fidelity")
        + " The evaluations are what full ones cost; Optuna, Ax, random search and raytuner without"
        " the feature make full ones only.",
    ),
}

"""Descriptions of the problems for the page. Importing them loads no data."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.features.problems import EARLIER_TRIALS, NETWORK_LIMIT, STUDIED, TARGET

_REGRET = (
    "The loss is the regret of the best {}. A loss of 1 is the median regret of random"
    " configurations."
)
_MISSING = (
    "The loss is the missing share of the best front's hypervolume. No method knows the reference"
    " point. raytuner without the feature minimises the sum of the objectives."
)
_PRIOR = (
    "Hartmann's function in six dimensions, and a guess of the optimum. The guess is {}, and has a"
    " standard deviation of 0.1. "
    + _REGRET.format("value")
    + " All others, also raytuner without the feature, try the guess first."
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
        "Hartmann's function in six dimensions. The unit ball is feasible: 8 % of the cube. Methods"
        " know the constraint only by its value at evaluated points. "
        + _REGRET.format("feasible value")
        + " raytuner without the feature adds the constraint's excess to the objective.",
    ),
    "parameter-constrained": About(
        "parameter constraint",
        "A synthetic network with four hyperparameters. The constraint"
        f" `layers * units <= {NETWORK_LIMIT}` is known beforehand. It allows 37 % of the space. "
        + _REGRET.format("network that is small enough")
        + " A suggestion that is too large counts as an evaluation without a value. Optuna has no"
        " constraints on hyperparameters, and Ax has linear ones only. This one is not linear, so"
        " both get the excess in doublings as an outcome constraint. Optuna takes no trial without"
        " a value, so it gets the worst value so far. Random search draws until the constraint is"
        " satisfied. For raytuner without the feature, a network that is too large is a failed"
        " trial.",
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
        "Branin's function plus normal noise with a standard deviation of 10. Each method names its"
        " best configuration. Ax asks its model. Optuna, random search and raytuner without the"
        " feature take the best value that they were told. The loss is the regret of the true value"
        " of that configuration. A loss of 1 is the median regret of random configurations.",
    ),
    "transfer": About(
        "earlier studies",
        f"The final accuracy on LCBench's development instance {TARGET}, after studies of"
        f" {EARLIER_TRIALS} random configurations each on {', '.join(STUDIED)}. "
        + _REGRET.format("value")
        + " The other libraries have no such feature here. They start from nothing, and so does"
        " raytuner without the feature.",
    ),
    "conditional": About(
        "conditions",
        "A synthetic choice of three models with two, three and four hyperparameters of their own."
        " The model with the lowest optimum is bad almost everywhere. "
        + _REGRET.format("value")
        + " Optuna defines the space by running: TPE uses groups, and GPSampler draws conditional"
        " values at random. Ax has a hierarchical space. raytuner without the feature searches a"
        " flat space of all ten hyperparameters.",
    ),
    "high-dimensional": About(
        "many dimensions",
        "Hartmann's function of six out of a hundred hyperparameters. " + _REGRET.format("value"),
    ),
    "prior-right": About(
        "prior that is right", _PRIOR.format("0.1 from the optimum in each dimension")
    ),
    "prior-wrong": About(
        "prior that is wrong", _PRIOR.format("off by half of the range in each dimension")
    ),
    "fidelity": About(
        "fidelity",
        "Hartmann's function in six dimensions, with a fidelity. Below 1, the value is a little"
        " wrong. An evaluation costs 0.1 of a full one plus 0.9 times its fidelity. "
        + _REGRET.format("value at full fidelity")
        + " Evaluations are counted by their cost, in full ones. Optuna, Ax, random search and"
        " raytuner without the feature make full evaluations only.",
    ),
}

"""Small models that are really trained, a report at a time.

Each learner gives a generator of validation losses, and the seconds that an epoch is taken to need.
The seconds are a model, not a measurement: so a run is the same on every machine and under any
load, and one process can stand for many workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from ray import tune

from benchmarks.real.data import Split

Config = Mapping[str, Any]

_SEED = 0  # of every training: a configuration has one curve

_STEP_S = 2e-4  # of a minibatch, whatever its size
_WEIGHT_S = 2e-9  # of one row and one weight, forth and back
_SORT_S = 1e-7  # of one row and one column at one level of a tree
_TREE_S = 1e-3
_TREES = 4  # stages of boosting between two reports


@dataclass(frozen=True)
class Learner:
    """What is trained.

    Attributes:
        space: A ``param_space`` of Ray Tune.
        losses: The validation loss after each epoch, for ever, with a configuration.
        seconds: What an epoch takes with a configuration.
    """

    space: Mapping[str, Any]
    losses: Callable[[Config, Split], Iterator[float]]
    seconds: Callable[[Config, Split], float]


def _mlp_losses(config: Config, split: Split) -> Iterator[float]:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    make = MLPClassifier if split.classes else MLPRegressor
    model = make(
        hidden_layer_sizes=_layers(config),
        alpha=config["alpha"],
        learning_rate_init=config["learning_rate"],
        batch_size=int(config["batch_size"]),
        beta_1=config["beta_1"],
        random_state=np.random.RandomState(_SEED),  # a number would shuffle each epoch alike
    )
    classes = {"classes": np.arange(split.classes)} if split.classes else {}
    while True:
        # Rates that are too high overflow. What is then predicted is scored as any other.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                model.partial_fit(split.x, split.y, **classes)
                predict = model.predict_proba if split.classes else model.predict
                prediction = predict(split.x_validation)
            except ValueError:  # weights that are no numbers any more
                prediction = np.full((len(split.x_validation), max(1, split.classes)), np.nan)
        yield split.loss(prediction)


def _torch_losses(config: Config, split: Split) -> Iterator[float]:
    import torch
    from torch import nn

    with torch.random.fork_rng():  # the searcher may draw from the same generator
        torch.manual_seed(_SEED)
        sizes = [split.x.shape[1], *_layers(config)]
        hidden: list[nn.Module] = []
        for before, after in pairwise(sizes):
            hidden += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config["dropout"])]
        model = nn.Sequential(*hidden, nn.Linear(sizes[-1], max(1, split.classes)))
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
    )
    x = torch.tensor(split.x, dtype=torch.float32)
    y = torch.tensor(split.y, dtype=torch.long if split.classes else torch.float32)
    x_validation = torch.tensor(split.x_validation, dtype=torch.float32)
    loss_of = nn.CrossEntropyLoss() if split.classes else nn.MSELoss()
    epoch = 0
    while True:
        epoch += 1
        with torch.random.fork_rng():
            torch.manual_seed(_SEED + epoch)
            model.train()
            for rows in torch.split(torch.randperm(len(x)), int(config["batch_size"])):
                optimiser.zero_grad()
                output = model(x[rows])
                loss_of(output if split.classes else output[:, 0], y[rows]).backward()
                optimiser.step()
        model.eval()
        with torch.no_grad():
            output = model(x_validation)
            output = torch.softmax(output, dim=1) if split.classes else output[:, 0]
        yield split.loss(output.double().numpy())


def _boosting_losses(config: Config, split: Split) -> Iterator[float]:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    make = GradientBoostingClassifier if split.classes else GradientBoostingRegressor
    model = make(
        n_estimators=0,
        warm_start=True,
        learning_rate=config["learning_rate"],
        max_depth=int(config["max_depth"]),
        min_samples_leaf=int(config["min_samples_leaf"]),
        subsample=config["subsample"],
        max_features=config["max_features"],
        random_state=np.random.RandomState(_SEED),
    )
    while True:
        model.n_estimators += _TREES
        with np.errstate(all="ignore"):
            model.fit(split.x, split.y)
            predict = model.predict_proba if split.classes else model.predict
            prediction = predict(split.x_validation)
        yield split.loss(prediction)


def _layers(config: Config) -> tuple[int, ...]:
    return (int(config["units"]),) * int(config["layers"])


def _network_seconds(config: Config, split: Split) -> float:
    rows, columns = split.x.shape
    sizes = [columns, *_layers(config), max(1, split.classes)]
    weights = sum(before * after for before, after in pairwise(sizes))
    return _STEP_S * -(-rows // int(config["batch_size"])) + _WEIGHT_S * rows * weights


def _boosting_seconds(config: Config, split: Split) -> float:
    rows, columns = split.x.shape
    level = _SORT_S * rows * config["subsample"] * columns * config["max_features"]
    trees = _TREES * (split.classes if split.classes > 2 else 1)
    return trees * (_TREE_S + level * int(config["max_depth"]))


_NETWORK = {
    "learning_rate": tune.loguniform(1e-4, 0.3),
    "units": tune.lograndint(4, 65),
    "layers": tune.randint(1, 4),
    "batch_size": tune.lograndint(16, 257),
}

LEARNERS = {
    "mlp": Learner(
        {**_NETWORK, "alpha": tune.loguniform(1e-6, 1.0), "beta_1": tune.uniform(0.5, 0.99)},
        _mlp_losses,
        _network_seconds,
    ),
    "torch": Learner(
        {
            **_NETWORK,
            "momentum": tune.uniform(0.0, 0.99),
            "weight_decay": tune.loguniform(1e-6, 0.1),
            "dropout": tune.uniform(0.0, 0.8),
        },
        _torch_losses,
        _network_seconds,
    ),
    "boosting": Learner(
        {
            "learning_rate": tune.loguniform(5e-3, 1.0),
            "max_depth": tune.randint(1, 9),
            "min_samples_leaf": tune.lograndint(1, 65),
            "subsample": tune.uniform(0.2, 1.0),
            "max_features": tune.uniform(0.1, 1.0),
        },
        _boosting_losses,
        _boosting_seconds,
    ),
}

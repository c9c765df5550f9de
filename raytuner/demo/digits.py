"""The demo's training function: a PyTorch network that reads scikit-learn's handwritten digits.

The data are split once, with a fixed seed and every digit in the same proportion: half for
training, a quarter for validation and a quarter for test. The training half is used five times: as
it is, and moved by a pixel in each direction. A search sees only the validation accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from ray import tune
from torch import nn

MAX_T = 27
"""Epochs of a full training."""

METRIC = "accuracy"
"""The metric that a trial reports after each epoch: the accuracy on the validation digits."""

SEED = 0

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1.0),
    "batch_size": tune.choice([16, 32, 64, 128, 256]),
    "layers": tune.randint(1, 5),
    "width": tune.lograndint(8, 257),
    "dropout": tune.uniform(0.0, 0.7),
    "weight_decay": tune.loguniform(1e-7, 1e-1),
    "optimizer": tune.choice(["sgd", "rmsprop", "adam", "adamw"]),
}
"""The hyperparameters."""


class Split(NamedTuple):
    """Images, `n x 64`-dim in [0, 1], and the digits they show, `n`-dim."""

    images: torch.Tensor
    digits: torch.Tensor


class Data(NamedTuple):
    """The three parts of the data."""

    train: Split
    validation: Split
    test: Split


class Scores(NamedTuple):
    """Accuracies of one trained network."""

    validation: float
    test: float


@cache
def load_data() -> Data:
    """Return 898 digits for training (4490 with the moved ones), 449 and 450 for the others."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    train_x, rest_x, train_y, rest_y = train_test_split(
        images / 16.0, digits, test_size=0.5, stratify=digits, random_state=SEED
    )
    valid_x, test_x, valid_y, test_y = train_test_split(
        rest_x, rest_y, test_size=0.5, stratify=rest_y, random_state=SEED
    )
    train, validation, test = (
        Split(torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y))
        for x, y in ((train_x, train_y), (valid_x, valid_y), (test_x, test_y))
    )
    return Data(moved(train), validation, test)


def moved(split: Split) -> Split:
    """Return a split five times: as it is, and moved by one pixel in each direction."""
    padded = nn.functional.pad(split.images.view(-1, 8, 8), (1, 1, 1, 1))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    images = [padded[:, y : y + 8, x : x + 8].reshape(-1, 64) for y, x in corners]
    return Split(torch.cat(images), split.digits.repeat(len(corners)))


def make_network(config: Mapping[str, Any]) -> nn.Sequential:
    """Return a fully connected network of `layers` hidden layers of `width` units each."""
    sizes = [64] + [config["width"]] * config["layers"]
    hidden = [
        layer
        for fan_in, fan_out in pairwise(sizes)
        for layer in (nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(config["dropout"]))
    ]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 10))


def make_optimizer(network: nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer that a configuration names."""
    make: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": partial(torch.optim.SGD, momentum=0.9),
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    settings = {name: config[name] for name in ("lr", "weight_decay")}
    return make[config["optimizer"]](network.parameters(), **settings)


def epochs(config: Mapping[str, Any]) -> Iterator[nn.Module]:
    """Train for `MAX_T` epochs and yield the network after each; deterministic for a config."""
    torch.manual_seed(SEED)
    network = make_network(config)
    optimizer = make_optimizer(network, config)
    images, digits = load_data().train
    for _ in range(MAX_T):
        network.train()
        for batch in torch.split(torch.randperm(len(digits)), config["batch_size"]):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), digits[batch])
            torch.autograd.backward(loss)
            optimizer.step()
        yield network


@torch.no_grad()
def accuracy(network: nn.Module, split: Split) -> float:
    """Return the share of digits that the network reads right."""
    network.eval()
    right = network(split.images).argmax(dim=1) == split.digits
    return float(right.double().mean())


def train(config: dict[str, Any]) -> None:
    """Train a network and report its validation accuracy after each epoch."""
    torch.set_num_threads(1)  # trials run side by side, one to a core
    for network in epochs(config):
        tune.report({METRIC: accuracy(network, load_data().validation)})


def retrain(config: Mapping[str, Any]) -> Scores:
    """Train a configuration in full once more and score it on validation and test data."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            *_, network = epochs(config)
    finally:
        torch.set_num_threads(threads)
    data = load_data()
    return Scores(accuracy(network, data.validation), accuracy(network, data.test))

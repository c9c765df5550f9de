"""A training function for the command line. Its search space is in `space.toml`."""

from typing import Any

import torch
from ray import tune
from torch import nn


def fit(config: dict[str, Any]) -> None:
    """Fit a small network to one period of a sine."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.linspace(-1.0, 1.0, 64).unsqueeze(1)
    y = torch.sin(torch.pi * x)
    layers: list[nn.Module] = [nn.Linear(1, 16), nn.Tanh()]
    for _ in range(config["layers"] - 1):
        layers += [nn.Linear(16, 16), nn.Tanh()]
    network = nn.Sequential(*layers, nn.Linear(16, 1))
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config["optimizer"]]
    optimizer = kind(network.parameters(), lr=config["lr"])
    for _ in range(config["steps"]):
        for _ in range(10):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network(x), y)
            torch.autograd.backward(loss)
            optimizer.step()
        tune.report({"loss": loss.item()})

"""Tune accuracy and latency together, and print the Pareto front.

A network of one to three layers learns scikit-learn's handwritten digits. Its latency is measured:
the microseconds for one digit.

    python examples/tradeoff.py
    python examples/tradeoff.py --trials 6 --epochs 3
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from ray import tune
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import raytuner

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "layers": tune.randint(1, 4),
    "width": raytuner.when(tune.lograndint(8, 1025), layers=[2, 3]),
}


def build(config: dict[str, Any]) -> nn.Module:
    """Build the network of a configuration."""
    parts: list[nn.Module] = []
    wide = 64
    for _ in range(config["layers"] - 1):
        parts += [nn.Linear(wide, config["width"]), nn.ReLU()]
        wide = config["width"]
    return nn.Sequential(*parts, nn.Linear(wide, 10))


def latency_us(model: nn.Module, digit: Tensor) -> float:
    """Return the microseconds for one digit: a median, because other programs run too."""
    taken = []
    with torch.inference_mode():
        for _ in range(200):
            start = time.perf_counter()
            model(digit)
            taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken)


def train(config: dict[str, Any]) -> None:
    """Train, and report accuracy and latency after each epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)
    inputs, targets = torch.tensor(X_train, dtype=torch.float32), torch.tensor(y_train)
    unseen, right = torch.tensor(X_test, dtype=torch.float32), torch.tensor(y_test)
    model = build(config)
    optimizer = torch.optim.Adam(model.parameters(), config["lr"])
    for _ in range(config["epochs"]):
        for batch in torch.split(torch.randperm(len(inputs)), 64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            torch.autograd.backward(loss)
            optimizer.step()
        with torch.inference_mode():
            accuracy = (model(unseen).argmax(1) == right).float().mean().item()
        tune.report({"accuracy": accuracy, "latency_us": latency_us(model, unseen[:1])})


def main(argv: list[str] | None = None) -> raytuner.Study:
    """Search, and print the Pareto front."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--storage-path", type=Path)
    given = parser.parse_args(argv)
    study = raytuner.tune(
        train,
        {**SPACE, "epochs": given.epochs},
        metric=["accuracy", "latency_us"],
        mode=["max", "min"],
        num_samples=given.trials,
        max_t=given.epochs,
        storage_path=given.storage_path,
        seed=0,
    )
    print("accuracy  latency  layers  width")
    for trial in sorted(study.pareto, key=lambda trial: trial.value_of("latency_us")):
        config, latency = trial.config, trial.value_of("latency_us")
        width = config.get("width", "")
        print(f"{trial.value:8.3f} {latency:5.0f} us {config['layers']:7} {width:6}")
    return study


if __name__ == "__main__":
    main()

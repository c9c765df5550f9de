"""Tune a transformer with smaller ones: width and data are fidelities.

Most trials train a narrow network on a part of the text. The search learns what they cost, and what
they say about the full network. The best trial is one of the full network on all of the text.

    python examples/transformer_fidelity.py
    python examples/transformer_fidelity.py --trials 6 --sequences 200
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor, nn

import raytuner

LETTERS, LENGTH = 8, 16

SPACE: dict[str, Any] = {
    "width": raytuner.fidelity(tune.choice([16, 32, 64])),
    "data": raytuner.fidelity(tune.uniform(0.1, 1.0)),
    "lr": tune.loguniform(1e-4, 1e-1),
    "layers": tune.randint(1, 4),
    "dropout": tune.uniform(0.0, 0.5),
    "decay": tune.loguniform(1e-4, 1.0),
}


class Transformer(nn.Module):
    """Predicts the next letter at each place."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.letters = nn.Embedding(LETTERS, width)
        self.places = nn.Parameter(0.1 * torch.randn(LENGTH - 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, LETTERS)
        self.register_buffer("mask", torch.triu(torch.ones(LENGTH - 1, LENGTH - 1), 1).bool())

    def forward(self, text: Tensor) -> Tensor:
        """Return scores of the next letters, ``(n, letter, place)``."""
        read = self.body(self.letters(text) + self.places, mask=self.mask, is_causal=True)
        scores: Tensor = self.head(read)
        return scores.transpose(1, 2)


def text(sequences: int) -> Tensor:
    """Return text where most letters are the sum of the two before, modulo the alphabet."""
    generator = torch.Generator().manual_seed(0)
    found = torch.randint(LETTERS, (sequences, LENGTH), generator=generator)
    for place in range(2, LENGTH):
        kept = torch.rand(sequences, generator=generator) < 0.95
        rule = (found[:, place - 1] + found[:, place - 2]) % LETTERS
        found[:, place] = torch.where(kept, rule, found[:, place])
    return found


def train(config: dict[str, Any]) -> None:
    """Train one network on its part of the text. A fifth of all text is for validation."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    every = text(config["sequences"])
    held = every[: len(every) // 5]
    rest = every[len(held) :]
    rest = rest[: max(round(config["data"] * len(rest)), 1)]
    network = Transformer(config["width"], config["layers"], config["dropout"])
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config["lr"], weight_decay=config["decay"]
    )
    for _ in range(config["epochs"]):
        network.train()
        for batch in torch.split(rest[torch.randperm(len(rest))], 32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(batch[:, :-1]), batch[:, 1:])
            torch.autograd.backward(loss)
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(network(held[:, :-1]), held[:, 1:])
        tune.report({"loss": float(loss)})


def main(arguments: list[str] | None = None) -> raytuner.Study:
    """Search, and print the best trial and the number of full trainings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--sequences", type=int, default=1500, help="sequences of the full text")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--storage-path", type=Path, help="default: ~/raytuner_results")
    args = parser.parse_args(arguments)
    study = raytuner.tune(
        train,
        {**SPACE, "sequences": args.sequences, "epochs": args.epochs},
        metric="loss",
        mode="min",
        num_samples=args.trials,
        reuse_actors=True,
        storage_path=args.storage_path,
        seed=0,
    )
    print(study.best.config, study.best.value)
    full = sum(map(study.history.is_full, study.trials))
    print(f"{full} of {len(study.trials)} trials were trained in full")
    return study


if __name__ == "__main__":
    main()

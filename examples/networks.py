"""Tune a PyTorch network: two to four layers, a convolution, or a small transformer.

dense        two to four layers on scikit-learn's handwritten digits
convolution  the same digits, as images
transformer  the next letters of a synthetic text

With --data mnist, the first two learn the 70,000 digits of MNIST. OpenML sends them once.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from ray import tune
from sklearn.datasets import fetch_openml, load_digits
from torch import Tensor, nn

import raytuner

RATE = tune.loguniform(1e-4, 1e-1)
SPACES: dict[str, dict[str, Any]] = {
    "dense": {"lr": RATE, "layers": tune.randint(2, 5), "width": tune.lograndint(16, 129)},
    "convolution": {"lr": RATE, "channels": tune.lograndint(4, 33), "kernel": tune.choice([3, 5])},
    "transformer": {"lr": RATE, "width": tune.choice([8, 16, 32]), "layers": tune.randint(1, 3)},
}
SIDES = {"digits": 8, "mnist": 28}  # width and height of an image in pixels
LETTERS = 8


class Transformer(nn.Module):
    """Predicts the next letter at each place."""

    def __init__(self, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(LETTERS, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        block = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, LETTERS)

    def forward(self, text: Tensor) -> Tensor:
        """Return logits, `n x LETTERS x length`-dim, for `n x length` letters."""
        length = text.shape[1]
        ahead = nn.Transformer.generate_square_subsequent_mask(length)
        seen = self.blocks(self.letters(text) + self.places, mask=ahead)
        return self.out(seen).transpose(1, 2)


def build(config: dict[str, Any]) -> nn.Module:
    """Build the network of a configuration."""
    if config["kind"] == "transformer":
        return Transformer(config["width"], config["layers"], length=15)
    side = SIDES[config["data"]]
    if config["kind"] == "convolution":
        channels, kernel = config["channels"], config["kernel"]
        return nn.Sequential(
            nn.Unflatten(1, (1, side)),
            nn.Conv2d(1, channels, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear((side // 2) ** 2 * channels, 10),
        )
    width = config["width"]
    parts = [nn.Flatten(), nn.Linear(side**2, width), nn.ReLU()]
    for _ in range(config["layers"] - 2):
        parts += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, 10))


def mnist() -> tuple[Tensor, Tensor]:
    """Return images and digits. After the first call, they come from scikit-learn's data folder."""
    found = fetch_openml("mnist_784", version=1, as_frame=False)
    images = torch.tensor(found.data, dtype=torch.float32).reshape(-1, 28, 28) / 255
    return images, torch.tensor(found.target.astype(int))


def data(kind: str, name: str) -> tuple[Tensor, Tensor]:
    """Return inputs and targets."""
    if kind == "transformer":
        # A letter is the sum of the two before it, modulo the alphabet. One in twenty is random.
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(LETTERS, (600, 16), generator=generator)
        for place in range(2, 16):
            kept = torch.rand(600, generator=generator) < 0.95
            rule = (text[:, place - 1] + text[:, place - 2]) % LETTERS
            text[:, place] = torch.where(kept, rule, text[:, place])
        return text[:, :-1], text[:, 1:]
    if name == "mnist":
        return mnist()
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


def train(config: dict[str, Any]) -> None:
    """Train one network. A third of the data is for validation."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = data(config["kind"], config["data"])
    held, rest = slice(0, len(x) // 3), slice(len(x) // 3, None)
    network = build(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=config["lr"])
    for _ in range(config["epochs"]):
        for batch in torch.split(torch.randperm(len(x[rest])), 64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x[rest][batch]), y[rest][batch])
            torch.autograd.backward(loss)
            optimizer.step()
        with torch.no_grad():
            right = (network(x[held]).argmax(1) == y[held]).float().mean()
        tune.report({"accuracy": float(right)})


def main(arguments: list[str] | None = None) -> raytuner.Study:
    """Search, and print the best trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=SPACES)
    parser.add_argument("--data", choices=SIDES, default="digits")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--storage-path", type=Path, help="default: ~/raytuner_results")
    args = parser.parse_args(arguments)
    if args.data == "mnist":
        try:
            mnist()  # download it before the first trial
        except OSError as error:
            parser.error(f"OpenML did not send MNIST ({error}); --data digits needs no network")
    study = raytuner.tune(
        train,
        {**SPACES[args.kind], "kind": args.kind, "data": args.data, "epochs": args.epochs},
        metric="accuracy",
        mode="max",
        num_samples=args.trials,
        max_t=args.epochs,
        storage_path=args.storage_path,
        seed=0,
    )
    print(study.best.config, study.best.value)
    return study


if __name__ == "__main__":
    main()

"""Tune Q-learning on a grid with a cliff. No library is needed."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

import raytuner

ROWS, COLUMNS = 4, 12
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def step(place: tuple[int, int], move: int) -> tuple[tuple[int, int], float, bool]:
    """Return the next place, the reward, and whether the goal is reached.

    The start is in the lower left corner, the goal in the lower right. A cliff is between them.
    """
    row = min(max(place[0] + MOVES[move][0], 0), ROWS - 1)
    column = min(max(place[1] + MOVES[move][1], 0), COLUMNS - 1)
    if row == ROWS - 1 and 0 < column < COLUMNS - 1:
        return (ROWS - 1, 0), -100.0, False
    return (row, column), -1.0, (row, column) == (ROWS - 1, COLUMNS - 1)


def episode(values: Any, config: dict[str, Any], rng: np.random.Generator) -> float:
    """Walk once and learn on the way. Return the sum of the rewards."""
    place, total, done = (ROWS - 1, 0), 0.0, False
    for _ in range(200):
        known = int(values[place].argmax())
        move = int(rng.integers(4)) if rng.random() < config["exploration"] else known
        after, reward, done = step(place, move)
        target = reward + (0.0 if done else config["discount"] * values[after].max())
        values[place][move] += config["rate"] * (target - values[place][move])
        place, total = after, total + reward
        if done:
            break
    return total


def train(config: dict[str, Any]) -> None:
    """Report the mean reward after every 20 episodes."""
    rng = np.random.default_rng(0)
    values = np.zeros((ROWS, COLUMNS, 4))
    for _ in range(config["rounds"]):
        rewards = [episode(values, config, rng) for _ in range(20)]
        tune.report({"reward": float(np.mean(rewards))})


def main(arguments: list[str] | None = None) -> raytuner.Study:
    """Search, and print the best trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of 20 episodes")
    parser.add_argument("--storage-path", type=Path, help="default: ~/raytuner_results")
    args = parser.parse_args(arguments)
    study = raytuner.tune(
        train,
        {
            "rate": tune.loguniform(1e-2, 1.0),
            "discount": tune.uniform(0.5, 1.0),
            "exploration": tune.loguniform(1e-3, 0.5),
            "rounds": args.rounds,
        },
        metric="reward",
        mode="max",
        num_samples=args.trials,
        max_t=args.rounds,
        storage_path=args.storage_path,
        seed=0,
    )
    print(study.best.config, study.best.value)
    return study


if __name__ == "__main__":
    main()

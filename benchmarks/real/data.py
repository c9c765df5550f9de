"""The data sets, split into training and validation: three of scikit-learn's, and one made here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SPLIT_SEED = 7
_VALIDATION = 0.3

_HOUSES = 2_000
_HOUSES_SEED = 11


@dataclass(frozen=True)
class Split:
    """Standardised inputs ``n x d`` and targets, to train on and to judge by.

    Attributes:
        classes: How many; 0 for a regression, whose target has mean 0 and deviation 1.
    """

    x: Floats
    y: npt.NDArray[Any]
    x_validation: Floats
    y_validation: npt.NDArray[Any]
    classes: int

    def loss(self, prediction: Floats) -> float:
        """Of a prediction for the validation rows, at most `WORST`.

        Args:
            prediction: ``n x classes`` probabilities, whose loss is the mean log loss (nats); or
                ``n`` numbers, whose loss is the root mean squared error.
        """
        if self.classes:
            chosen = prediction[np.arange(len(prediction)), self.y_validation]
            loss = float(-np.log(np.clip(chosen, 1e-12, 1.0)).mean())
        else:
            with np.errstate(over="ignore"):
                loss = float(np.sqrt(((prediction - self.y_validation) ** 2).mean()))
        return min(loss, WORST) if np.isfinite(loss) else WORST


# A model that always says the same has a loss of about 1 (of 2.3 with ten classes).
WORST = 10.0


@lru_cache
def split(name: str) -> Split:
    """The data set "digits", "breast-cancer", "wine" or "california"."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    load = {
        "digits": datasets.load_digits,
        "breast-cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
    }
    if name == "california":
        x, y = _houses()
        classes = 0
    else:
        x, y = load[name](return_X_y=True)
        classes = len(np.unique(y))
    x_train, x_validation, y_train, y_validation = train_test_split(
        x, y, test_size=_VALIDATION, random_state=_SPLIT_SEED, stratify=y if classes else None
    )
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    deviation[deviation == 0] = 1.0  # some pixels of the digits are always black
    if not classes:
        y_train, y_validation = (
            (part - y_train.mean()) / y_train.std() for part in (y_train, y_validation)
        )
    return Split(
        (x_train - mean) / deviation, y_train, (x_validation - mean) / deviation, y_validation,
        classes,
    )  # fmt: skip


def _houses() -> tuple[Floats, Floats]:
    """Districts and their median house values, after the look of the California data.

    That data set is not shipped with scikit-learn; this one has its eight columns, made up: incomes
    with a long tail, value falling off from two cities on a slanted coast, noise, and a cap.
    """
    rng = np.random.default_rng(_HOUSES_SEED)
    n = _HOUSES
    income = rng.lognormal(1.25, 0.45, n)
    age = rng.uniform(1, 52, n)
    rooms = 3.0 + 0.5 * income + rng.normal(0, 0.8, n)
    bedrooms = 0.2 * rooms + rng.normal(0, 0.08, n)
    population = rng.lognormal(7, 0.7, n)
    occupancy = 2.0 + rng.gamma(2.0, 0.5, n)
    north = rng.random(n) < 0.4
    latitude = np.where(north, 37.7, 34.0) + rng.normal(0, 0.7, n)
    longitude = np.where(north, -122.2, -118.2) + rng.normal(0, 0.7, n)
    inland = np.maximum(0.0, longitude + 0.75 * latitude + 94.0)
    city = np.exp(-((latitude - 37.7) ** 2 + (longitude + 122.2) ** 2) / 0.5)
    city += np.exp(-((latitude - 34.0) ** 2 + (longitude + 118.2) ** 2) / 0.8)
    value = 0.42 * income + 0.9 * city - 0.35 * np.sqrt(inland) - 0.25 * (occupancy - 3)
    value += 0.008 * age * city + 0.4 * np.tanh(rooms - 4 * bedrooms)
    value *= rng.lognormal(0, 0.18, n)
    columns = [income, age, rooms, bedrooms, population, occupancy, latitude, longitude]
    return np.column_stack(columns), np.clip(value, 0.15, 5.0)

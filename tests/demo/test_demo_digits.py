"""The demo's data and training function, without Ray."""

from typing import Any

import numpy as np
import pytest
import torch

from raytuner.demo import digits
from raytuner.search.tune_space import space_from_tune

GOOD: dict[str, Any] = {
    "lr": 3e-3,
    "batch_size": 64,
    "layers": 1,
    "width": 64,
    "dropout": 0.1,
    "weight_decay": 1e-5,
    "optimizer": "adam",
}


def test_the_three_splits_are_apart_and_hold_every_digit_in_proportion() -> None:
    data = digits.load_data()
    own = len(data.train.digits) // 5  # the images as they are come first
    parts = [data.train.images[:own], data.validation.images, data.test.images]
    assert [len(part) for part in parts] == [898, 449, 450]
    rows = [{tuple(row) for row in part.tolist()} for part in parts]
    assert len(set.union(*rows)) == sum(map(len, rows))
    for split in (data.train, data.validation, data.test):
        shares = torch.bincount(split.digits, minlength=10) / len(split.digits)
        assert shares.min() > 0.09
        assert shares.max() < 0.11
        assert split.images.min() >= 0
        assert split.images.max() <= 1


def test_moved_images_are_the_same_a_pixel_away() -> None:
    image = torch.arange(64.0)
    copies = digits.moved(digits.Split(image.view(1, 64), torch.tensor([7])))
    assert copies.digits.tolist() == [7] * 5
    squares = copies.images.view(5, 8, 8)
    own = image.view(8, 8)
    assert torch.equal(squares[0], own)
    assert torch.equal(squares[1][1:], own[:-1])
    assert torch.equal(squares[2][:-1], own[1:])
    assert torch.equal(squares[3][:, 1:], own[:, :-1])
    assert torch.equal(squares[4][:, :-1], own[:, 1:])


def test_a_trial_reports_the_validation_accuracy_each_epoch_and_retraining_repeats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[dict[str, float]] = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    digits.train(GOOD)
    assert len(reports) == digits.MAX_T
    assert all(set(report) == {"accuracy"} for report in reports)
    assert reports[-1]["accuracy"] > 0.9
    before = torch.random.get_rng_state()
    scores = digits.retrain(GOOD)
    assert torch.equal(before, torch.random.get_rng_state())
    assert scores.validation == reports[-1]["accuracy"]
    assert scores.test > 0.9


@pytest.mark.parametrize("u", [0.0, 0.3, 0.6, 1.0])
def test_every_corner_of_the_space_makes_a_network_that_trains(u: float) -> None:
    space = space_from_tune(digits.SPACE)
    assert space.dim >= 7
    (config,) = space.decode(np.full((1, space.dim), u))
    network = next(digits.epochs(config))
    assert 0 <= digits.accuracy(network, digits.load_data().validation) <= 1

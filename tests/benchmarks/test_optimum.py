"""The search for the best value: it finds what a random sample does not."""

import numpy as np
import numpy.typing as npt
import pytest
from ray import tune

from benchmarks.optimum import Columns, best_found, draw

SPACE = {
    "rate": tune.loguniform(1e-6, 1.0),
    "share": tune.uniform(-1.0, 1.0),
    "layers": tune.randint(1, 9),
    "width": tune.lograndint(8, 1025),
    "kind": tune.choice(["a", "b", "c"]),
}


def loss(configs: Columns) -> npt.NDArray[np.float64]:
    """0 at a corner of the space, far from most of it; NaN for a third."""
    found = np.abs(np.log10(configs["rate"])) + (1.0 - configs["share"])
    found += np.abs(configs["layers"] - 8.0) + np.abs(np.log2(configs["width"]) - 10.0)
    found += np.where(configs["kind"] == "b", 0.0, 0.01)
    return np.where(configs["kind"] == "c", np.nan, found)


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_the_corner_is_found(mode: str, sign: float) -> None:
    found = best_found(
        SPACE, lambda c: sign * loss(c), mode, first=500, kept=20, rounds=60, children=5
    )
    assert sign * found == pytest.approx(0.0, abs=0.01)
    assert np.nanmin(loss(draw(SPACE, 500, 0))) > 1.0


def test_what_is_tried_lies_in_the_space() -> None:
    def checked(configs: Columns) -> npt.NDArray[np.float64]:
        assert (configs["rate"] >= 1e-6).all()
        assert (configs["rate"] <= 1.0).all()
        assert set(configs["layers"].tolist()) <= set(range(1, 9))
        assert configs["width"].min() >= 8
        assert configs["width"].max() <= 1024
        assert configs["width"].dtype.kind == "i"
        assert set(configs["kind"].tolist()) <= {"a", "b", "c"}
        return loss(configs)

    best_found(SPACE, checked, "min", first=50, kept=10, rounds=10, children=2)

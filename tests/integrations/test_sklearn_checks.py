"""scikit-learn's own checks of an estimator, on the settings it checks its own searches with."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from scipy.stats import loguniform
from sklearn.base import is_regressor
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from raytuner.integrations.sklearn import RayTunerSearchCV

# One by one in this process; on Ray, the whole takes too long for CI (see CONTRIBUTING).
ON_RAY = os.environ.get("RAYTUNER_CHECKS_ON_RAY") == "1"
N_JOBS = 2 if ON_RAY else 1

# scikit-learn's own searches fail these too, and are marked so in its list.
EXPECTED = {"check_supervised_y_2d": "DataConversionWarning not caught"}


def searches() -> list[RayTunerSearchCV]:
    settings: dict[str, Any] = {"cv": 2, "error_score": "raise", "n_jobs": N_JOBS}
    of_lists = [
        (Ridge(), {"alpha": [0.1, 1.0]}),
        (LogisticRegression(), {"C": [0.1, 1.0]}),
        (Pipeline([("pca", PCA()), ("ridge", Ridge())]), {"ridge__alpha": [0.1, 1.0]}),
        (make_pipeline(PCA(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}),
    ]
    of_laws = [
        (Ridge(), {"alpha": loguniform(0.1, 1.0)}),
        (LogisticRegression(), {"C": loguniform(0.1, 1.0)}),
    ]
    return [
        *(RayTunerSearchCV(model, param_grid=grid, **settings) for model, grid in of_lists),
        *(
            RayTunerSearchCV(model, laws, n_iter=2, random_state=0, **settings)
            for model, laws in of_laws
        ),
    ]


def expected(search: RayTunerSearchCV) -> dict[str, str]:
    return EXPECTED if is_regressor(search.estimator) else {}


if ON_RAY:
    pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(3600)]


@parametrize_with_checks(searches(), expected_failed_checks=expected)  # type: ignore[untyped-decorator]
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)

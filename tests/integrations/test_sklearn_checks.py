"""scikit-learn's own checks of an estimator, on the settings it checks its own searches with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from scipy.stats import loguniform
from sklearn.base import is_regressor
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from raytuner.integrations.sklearn import RayTunerSearchCV

# scikit-learn's own searches fail these too, and are marked so in its list.
EXPECTED = {"check_supervised_y_2d": "DataConversionWarning not caught"}


def searches(n_jobs: int) -> list[RayTunerSearchCV]:
    settings: dict[str, Any] = {"cv": 2, "error_score": "raise", "n_jobs": n_jobs}
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


def checks(searches: list[RayTunerSearchCV]) -> Iterator[Any]:
    """Each search with each of scikit-learn's checks of it."""
    for search in searches:
        expected = EXPECTED if is_regressor(search.estimator) else {}
        yield from estimator_checks_generator(search, expected_failed_checks=expected, mark="xfail")


def name(value: Any) -> str:
    """The names of the models that are searched, or that of the check."""
    if not isinstance(value, RayTunerSearchCV):
        return str(value.func.__name__)
    model = value.estimator
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    return "+".join(type(step).__name__ for step in steps)


@pytest.mark.parametrize(("estimator", "check"), [*checks(searches(1))], ids=name)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# One search stands for all: the others differ in what is fitted, not in how Ray fits it.
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("estimator", "check"), [*checks(searches(2)[1:2])], ids=name)
def test_scikit_learns_checks_on_ray(ray_cluster: None, estimator: Any, check: Any) -> None:
    check(estimator)

"""Tune the penalty and the polynomial degree of a ridge regression with Bayesian search."""

import argparse

from scipy.stats import loguniform, randint
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from raytuner.integrations.sklearn import RayTunerSearchCV


def main(arguments: list[str] | None = None) -> float:
    """Search, and score the best candidate on the test set.

    Returns:
        R^2 on the test set.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=25)
    parser.add_argument("--n-jobs", type=int, default=1, help="1: in this process; -1: on Ray")
    args = parser.parse_args(arguments)
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    search = RayTunerSearchCV(
        make_pipeline(StandardScaler(), PolynomialFeatures(), Ridge()),
        {"ridge__alpha": loguniform(1e-3, 1e4), "polynomialfeatures__degree": randint(1, 4)},
        n_iter=args.candidates,
        n_jobs=args.n_jobs,
        random_state=0,
    )
    search.fit(X_train, y_train)
    score = float(search.score(X_test, y_test))
    print(f"{search.best_params_}: R^2 {search.best_score_:.3f} in validation, {score:.3f} in test")
    return score


if __name__ == "__main__":
    main()

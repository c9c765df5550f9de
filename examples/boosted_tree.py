"""Tune boosted trees on breast cancer data, and stop weak candidates early."""

import argparse

from ray import tune
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

from raytuner.integrations.sklearn import RayTunerSearchCV


def main(arguments: list[str] | None = None) -> RayTunerSearchCV:
    """Search on Ray. Each step of a candidate adds some of its trees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--trees", type=int, default=90)
    parser.add_argument("--steps", type=int, default=9)
    args = parser.parse_args(arguments)
    search = RayTunerSearchCV(
        GradientBoostingClassifier(n_estimators=args.trees, random_state=0),
        {
            "learning_rate": tune.loguniform(1e-3, 1.0),
            "max_depth": tune.randint(1, 7),
            "subsample": tune.uniform(0.3, 1.0),
        },
        n_iter=args.candidates,
        cv=3,
        scoring="roc_auc",
        early_stopping="warm_start",
        max_t=args.steps,
        random_state=0,
        verbose=1,
    )
    search.fit(*load_breast_cancer(return_X_y=True))
    steps = int(search.cv_results_["n_steps"].sum())
    print(f"{search.best_params_}: AUC {search.best_score_:.4f}")
    print(f"{steps} of {args.candidates * args.steps} steps were run")
    return search


if __name__ == "__main__":
    main()

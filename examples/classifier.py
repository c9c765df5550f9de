"""Tune MLPClassifier on iris or digits, and show accuracy, precision, recall, F1 and AUC."""

import argparse

from scipy.stats import loguniform, randint
from sklearn.datasets import load_digits, load_iris
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raytuner.integrations.sklearn import RayTunerSearchCV

SCORES = {
    "accuracy": "accuracy",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "f1": "f1_macro",
    "auc": "roc_auc_ovr",
}
DATA = {"iris": load_iris, "digits": load_digits}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Search for the best F1.

    Returns:
        All scores of the best candidate, by name.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--candidates", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--n-jobs", type=int, default=1, help="1: in this process; -1: on Ray")
    args = parser.parse_args(arguments)
    X, y = DATA[args.data](return_X_y=True)
    search = RayTunerSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=args.epochs, random_state=0)),
        {
            "mlpclassifier__hidden_layer_sizes": randint(4, 65),
            "mlpclassifier__learning_rate_init": loguniform(1e-4, 1e-1),
            "mlpclassifier__alpha": loguniform(1e-6, 1e-1),
            "mlpclassifier__activation": ["relu", "tanh"],
        },
        n_iter=args.candidates,
        scoring=SCORES,
        refit="f1",
        cv=3,
        n_jobs=args.n_jobs,
        random_state=0,
    ).fit(X, y)
    found = {
        name: float(search.cv_results_[f"mean_test_{name}"][search.best_index_]) for name in SCORES
    }
    print(search.best_params_)
    print(", ".join(f"{name} {score:.3f}" for name, score in found.items()))
    return found


if __name__ == "__main__":
    main()

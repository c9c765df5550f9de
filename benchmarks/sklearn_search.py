"""Time RayTunerSearchCV in one process beside scikit-learn's, scikit-optimize's and Optuna's.

Each search tries the same number of candidates of a logistic regression on iris, in a fresh process
with one thread. A library that is not installed is left out:

    pip install scikit-optimize optuna-integration
    python -m benchmarks.sklearn_search --candidates 10 30
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = {
    "RandomizedSearchCV": "scikit-learn",
    "BayesSearchCV": "scikit-optimize",
    "OptunaSearchCV": "optuna-integration",
    "RayTunerSearchCV": "raytuner",
}
_FOLDS = 3


def make(name: str, candidates: int) -> Any:
    """Return the search."""
    from sklearn.linear_model import LogisticRegression

    settings: dict[str, Any] = {"cv": _FOLDS, "random_state": 0}
    model = LogisticRegression(max_iter=300)
    ranges = {"C": (1e-3, 1e3), "tol": (1e-6, 1e-2)}
    log = {key: (*bounds, "log-uniform") for key, bounds in ranges.items()}
    if name == "RayTunerSearchCV":
        from raytuner.integrations.sklearn import RayTunerSearchCV

        return RayTunerSearchCV(model, log, n_iter=candidates, **settings)
    if name == "BayesSearchCV":
        from skopt import BayesSearchCV

        return BayesSearchCV(model, log, n_iter=candidates, **settings)
    if name == "OptunaSearchCV":
        import optuna
        from optuna_integration import OptunaSearchCV

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        laws = {
            key: optuna.distributions.FloatDistribution(*bounds, log=True)
            for key, bounds in ranges.items()
        }
        return OptunaSearchCV(model, laws, n_trials=candidates, **settings)
    from scipy.stats import loguniform
    from sklearn.model_selection import RandomizedSearchCV

    drawn = {key: loguniform(*bounds) for key, bounds in ranges.items()}
    return RandomizedSearchCV(model, drawn, n_iter=candidates, **settings)


def measure(name: str, candidates: int) -> str:
    """Return the processor seconds of the imports and of ``fit``, and the best score."""
    from sklearn.datasets import load_iris

    warnings.simplefilter("ignore")
    search = make(name, candidates)
    imported = time.process_time()
    search.fit(*load_iris(return_X_y=True))
    fitted = time.process_time() - imported
    return f"import {imported:.2f} s, fit {fitted:.2f} s, best {search.best_score_:.3f}"


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each search and number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--searches", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.inside:
        print(measure(args.searches[0], args.candidates[0]))
        return
    for candidates in args.candidates:
        for name in args.searches:
            try:
                package = f"{PACKAGES[name]} {version(PACKAGES[name])}"
            except PackageNotFoundError:
                print(f"{name}: {PACKAGES[name]} is not installed")
                continue
            command = [sys.executable, "-m", "benchmarks.sklearn_search", "--inside"]
            command += ["--searches", name, "--candidates", str(candidates)]
            found = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            print(f"{name} ({package}), {candidates} candidates: {found.stdout.strip()}")


if __name__ == "__main__":
    main()

"""Hyperparameter search as a scikit-learn estimator."""

from raytuner.integrations.sklearn.search_cv import RayTunerSearchCV

__all__ = ["RayTunerSearchCV"]

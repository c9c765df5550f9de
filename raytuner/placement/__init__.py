"""Where trials run: what one needs, and what a cluster has."""

from raytuner.placement.request import Request, Resources

__all__ = ["Request", "Resources"]

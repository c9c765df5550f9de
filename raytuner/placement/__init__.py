"""Where trials run: what one needs, what a cluster has, and whether the two go together."""

from raytuner.placement.cluster import Cluster, look
from raytuner.placement.preflight import Preflight, check, preflight
from raytuner.placement.request import Request, Resources

__all__ = ["Cluster", "Preflight", "Request", "Resources", "check", "look", "preflight"]

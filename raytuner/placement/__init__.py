"""What trials need of a cluster, and whether it can hold them."""

from raytuner.placement.preflight import Preflight, check, preflight
from raytuner.placement.request import ResourceRequest, Resources

__all__ = ["Preflight", "ResourceRequest", "Resources", "check", "preflight"]

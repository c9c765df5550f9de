"""Resource requests of trials, and checks that a cluster can hold them."""

from raytuner.placement.preflight import Preflight, check, preflight
from raytuner.placement.request import ResourceRequest, Resources

__all__ = ["Preflight", "ResourceRequest", "Resources", "check", "preflight"]

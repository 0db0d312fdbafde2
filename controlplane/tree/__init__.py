"""Process trees and flows of the agents of one boot, made from records that may be late, reordered or lost.

Records of different CPUs are not ordered by time in the ring, so nothing here depends on the order of arrival: each
fact carries its kernel time, and facts of the same kind are merged by it. What ended leaves memory after a while (the
store keeps it), within limits that hold for the whole host.
"""

from controlplane.tree.agent import AgentTree
from controlplane.tree.host import HostTree
from controlplane.tree.limits import Limits

__all__ = ["AgentTree", "HostTree", "Limits"]

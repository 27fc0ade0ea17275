"""A node as a member of a cluster: how it gets in and comes back, what it knows of the others, and what it does while it leads.

Consensus, links, the replication of shards and the choice of places are rooms of their own below; here they are joined.
"""

from qnode.cluster.cluster import Cluster
from qnode.cluster.settings import ClusterSettings, settings_from
from qnode.cluster.status import ClusterStatus, PeerStatus, SendFailure

__all__ = ["Cluster", "ClusterSettings", "ClusterStatus", "PeerStatus", "SendFailure", "settings_from"]

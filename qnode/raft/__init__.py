"""The topology: which collections and payload indexes there are, and who holds what.

It changes by commands alone, each applied as a whole, in one order. A node that runs alone commits a command by
writing the resulting topology durably, the members of a cluster by consensus; nothing else in the program decides what exists.
"""

from qnode.raft.cluster_log import ClusterLog, stored_topology
from qnode.raft.consensus import Consensus, ConsensusSettings, NoLeader, OutcomeUnknown, Status
from qnode.raft.library import Timing
from qnode.raft.standalone import StandaloneLog
from qnode.raft.topology import Reason, Rejected, apply_command
from qnode.raft.topology_log import PROPOSAL_TIMEOUT_SECONDS, TopologyLog

__all__ = [
    "PROPOSAL_TIMEOUT_SECONDS",
    "ClusterLog",
    "Consensus",
    "ConsensusSettings",
    "NoLeader",
    "OutcomeUnknown",
    "Reason",
    "Rejected",
    "StandaloneLog",
    "Status",
    "Timing",
    "TopologyLog",
    "apply_command",
    "stored_topology",
]

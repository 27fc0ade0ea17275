"""How the topology changes, and how it is written.

The values and the commands themselves are in `models`, for every floor speaks of them; here are the rules that each node
applies to them in the same order (`apply`), with a file for each subject, and their bytes (`codec`, `command_codec`).
"""

from qnode.raft.topology.apply import apply_command
from qnode.raft.topology.codec import standalone_placement, topology_from_bytes, topology_to_bytes
from qnode.raft.topology.command_codec import UnknownCommand, command_from_bytes, command_to_bytes
from qnode.raft.topology.rejection import Reason, Rejected, result_from_bytes, result_to_bytes

__all__ = [
    "Reason",
    "Rejected",
    "UnknownCommand",
    "apply_command",
    "command_from_bytes",
    "command_to_bytes",
    "result_from_bytes",
    "result_to_bytes",
    "standalone_placement",
    "topology_from_bytes",
    "topology_to_bytes",
]

"""The topology: which collections and payload indexes there are, and who holds what.

It changes by commands alone, each applied as a whole, in one order. A node that runs alone commits a command by
writing the resulting topology durably; nothing else in the program decides what exists.
"""

from qnode.raft.standalone import StandaloneLog
from qnode.raft.topology import Reason, Rejected, apply_command

__all__ = ["Reason", "Rejected", "StandaloneLog", "apply_command"]

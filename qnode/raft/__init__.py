"""The topology: which collections and payload indexes there are.

It changes by commands alone, each applied as a whole, in one order. A node that runs alone commits a command by
writing the resulting topology durably; nothing else in the program decides what exists.
"""

from qnode.raft.standalone import StandaloneLog
from qnode.raft.topology import (
    CollectionEntry,
    Command,
    CreateCollection,
    CreateFieldIndex,
    DeleteCollection,
    DropFieldIndex,
    Rejected,
    Topology,
    UpdateCollection,
    apply_command,
)

__all__ = [
    "CollectionEntry",
    "Command",
    "CreateCollection",
    "CreateFieldIndex",
    "DeleteCollection",
    "DropFieldIndex",
    "Rejected",
    "StandaloneLog",
    "Topology",
    "UpdateCollection",
    "apply_command",
]

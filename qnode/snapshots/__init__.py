"""Snapshots for users: what a collection holds in one file, and back again.

A room of the third floor, beside `cluster`: it reads and restores shards, and proposes what must change for that.
`taking` makes archives, `restoring` takes them apart again, `examining` looks at what a stranger may have made, `shelf` keeps
the finished files, `fetching` brings those of others here, `peers` has other nodes take part.
"""

from qnode.snapshots.fetching import Arriving, Location, Priority, sha256_of
from qnode.snapshots.packing import next_of
from qnode.snapshots.shelf import Shelf, SnapshotDescription
from qnode.snapshots.snapshots import Snapshots, SnapshotSettings

__all__ = [
    "Arriving",
    "Location",
    "Priority",
    "Shelf",
    "SnapshotDescription",
    "SnapshotSettings",
    "Snapshots",
    "next_of",
    "sha256_of",
]

"""Collections and their shards: routing of reads and writes, the write path, keeping step with the topology.

What exists is decided elsewhere (a `Proposer`); this room makes it so on disk and serves it.
"""

from qnode.shards.collection import Collection
from qnode.shards.collections import Collections, CollectionsSettings
from qnode.shards.local_shard import ShardSettings
from qnode.shards.proposer import Proposer

__all__ = ["Collection", "Collections", "CollectionsSettings", "Proposer", "ShardSettings"]

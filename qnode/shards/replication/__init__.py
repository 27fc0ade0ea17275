"""The replication protocol of one shard, as pure state machines: events in, actions out.

No input or output, no clock, no chance, no asyncio: a driver performs the actions and reports what happened. `shard.Shard` is the
one to use; its docstring says what the protocol keeps, `actions` what a driver has to do, `messages` what travels.
"""

from qnode.shards.replication.shard import Shard
from qnode.shards.replication.view import ReplicaState, Settings, ShardView, view_of

__all__ = ["ReplicaState", "Settings", "Shard", "ShardView", "view_of"]

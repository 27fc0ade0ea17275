"""The write-ahead log: order and durability of a shard's operations. It stores bytes and knows nothing of points."""

from qnode.wal.frames import Record
from qnode.wal.log import Log

__all__ = ["Log", "Record"]

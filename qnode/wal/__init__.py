"""The write-ahead log: order and durability of a shard's operations. It stores bytes and knows nothing of points."""

from qnode.wal.frames import MAX_PAYLOAD_BYTES, Record
from qnode.wal.log import DEFAULT_FILE_BYTES, Log

__all__ = ["DEFAULT_FILE_BYTES", "MAX_PAYLOAD_BYTES", "Log", "Record"]

"""The write-ahead log: order and durability of a shard's operations. It stores bytes and knows nothing of points."""

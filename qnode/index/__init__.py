"""A shard's points: the point store, payload indexes, segments of vectors, and reading them.

This room knows neither the log nor HTTP nor other shards.
"""

from qnode.index.builders import BuilderPool
from qnode.index.index import Index

__all__ = ["BuilderPool", "Index"]

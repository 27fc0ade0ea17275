"""Queries that are trees of searches: evaluated at the node that was asked, over the reads of its collections."""

from qnode.shards.querying.running import search

__all__ = ["search"]

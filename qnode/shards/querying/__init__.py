"""Queries that are trees of searches: evaluated at the node that was asked, over the reads of its collections."""

from qnode.shards.querying.running import search, search_now

__all__ = ["search", "search_now"]

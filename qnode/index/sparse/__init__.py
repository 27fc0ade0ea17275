"""Segments of sparse vectors: rows that grow, rows that are sealed with an inverted index, and the exact search of both."""

from qnode.index.sparse.growing import SparseGrowing
from qnode.index.sparse.sealed import SparseSealed
from qnode.index.sparse.warm import warm_up

__all__ = ["SparseGrowing", "SparseSealed", "warm_up"]

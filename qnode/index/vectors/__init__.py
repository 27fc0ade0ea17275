"""Segments of vectors: rows that grow, rows that are sealed with a graph, and the search of both."""

from qnode.index.vectors.examples import ExamplesQuery, prepare
from qnode.index.vectors.growing import GrowingSegment
from qnode.index.vectors.job import BuildJob, BuildSource
from qnode.index.vectors.query import Query, prepare_query
from qnode.index.vectors.sealed import SealedSegment
from qnode.index.vectors.warm import is_warm, warm_up

__all__ = [
    "BuildJob",
    "BuildSource",
    "ExamplesQuery",
    "GrowingSegment",
    "Query",
    "SealedSegment",
    "is_warm",
    "prepare",
    "prepare_query",
    "warm_up",
]

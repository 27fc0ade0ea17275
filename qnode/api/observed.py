"""All that the node tells of itself: what telemetry and metrics are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qnode.api.cluster_surface import ClusterSurface
from qnode.metrics import RestCounts
from qnode.quotas import Quotas

if TYPE_CHECKING:
    from qnode.shards.collections import Collections
    from qnode.shards.recall import RecallProbe
    from qnode.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Observed:
    """The parts of a node that tell something; None: it has none of it."""

    collections: Collections
    counts: RestCounts
    surface: ClusterSurface
    quotas: Quotas
    snapshots: Snapshots | None
    recall: RecallProbe | None

"""What /metrics shows of collections, of the cluster, of snapshots and of the estimated recall; `name_of` says under which names.

The names are Qdrant's, but for those of the recall and of segments, which Qdrant does not have. Left out, because nothing is
counted that they could show: `collection_hardware_metric_*`, `audit_log_dir_size_bytes`, and all of gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qnode.api.cluster_surface import ClusterSurface
from qnode.models.topology import CollectionEntry, ReplicaState
from qnode.quotas import Quotas
from qnode.shards import local_reads

if TYPE_CHECKING:
    from qnode.shards.collections import Collections
    from qnode.shards.recall import RecallProbe
    from qnode.snapshots import Snapshots

NameOf = Callable[[str], str]


class Prefixed(Collector):
    """Shows what another one shows, under names that begin with a prefix."""

    def __init__(self, collector: Collector, prefix: str) -> None:
        self._collector = collector
        self._prefix = prefix

    def collect(self) -> Iterable[Metric]:
        for metric in self._collector.collect():
            metric.name = self._prefix + metric.name
            metric.samples = [sample._replace(name=self._prefix + sample.name) for sample in metric.samples]
            yield metric


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=labels)


class AppCollector(Collector):
    """Shows which program this is."""

    def __init__(self, name: str, version: str) -> None:
        self._values = [name, version]

    def collect(self) -> Iterable[Metric]:
        app = _gauge("app_info", "information about qdrant server", "name", "version")
        app.add_metric(self._values, 1)
        yield app
        yield GaugeMetricFamily("app_status_recovery_mode", "is the node in recovery mode", 0)


class QuotaCollector(Collector):
    """Shows of the resources that have a limit whether it is exceeded."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def collect(self) -> Iterable[Metric]:
        shown = _gauge("quota_exceeded", "whether writes are refused because of a quota", "resource")
        for resource, is_exceeded in self._quotas.exceeded().items():
            if is_exceeded is not None:
                shown.add_metric([resource], int(is_exceeded))
        yield shown


class CollectionCollector(Collector):
    """Shows how the collections stand on this node."""

    def __init__(self, collections: Collections, name_of: NameOf) -> None:
        self._collections = collections
        self._name_of = name_of

    def collect(self) -> Iterable[Metric]:
        served = self._collections.open_collections()
        yield GaugeMetricFamily("collections_total", "number of collections", len(served))
        points = _gauge("collection_points", "approximate amount of points per collection", "id")
        vectors = _gauge("collection_vectors", "amount of vectors grouped by vector name", "collection", "vector")
        indexed = _gauge("collection_indexed_vectors", "amount of vectors that are in a graph", "id")
        segments = _gauge("collection_segments", "number of segments", "id")
        queue = _gauge("collection_update_queue_length", "number of waiting updates", "id")
        deferred = _gauge(
            "collection_update_queue_deferred_points", "points that searches do not see until they are indexed", "id"
        )
        running = _gauge("collection_running_optimizations", "number of running optimizations", "id")
        left_out = _gauge(
            "collection_indexed_only_excluded_points",
            "amount of points that a search with `indexed_only` does not look at",
            "id", "vector",
        )  # fmt: skip
        total = 0
        for collection in served:
            info = collection.local_info()
            shown, shards = self._name_of(collection.name), collection.shards.values()
            points.add_metric([shown], info.points_count)
            indexed.add_metric([shown], info.indexed_vectors_count)
            segments.add_metric([shown], info.segments_count)
            queue.add_metric([shown], info.update_queue_length)
            deferred.add_metric([shown], info.deferred_points_count)
            running.add_metric([shown], sum(shard.is_building for shard in shards))
            for name, count in info.vectors_count_by_name.items():
                vectors.add_metric([shown, self._name_of(name)], count)
                total += count
            for name, count in local_reads.left_out(shards, collection.settings.vectors.values()).items():
                if count:
                    left_out.add_metric([shown, self._name_of(name)], count)
        yield GaugeMetricFamily("collections_vector_total", "total number of vectors in all collections", total)
        yield from (points, vectors, indexed, segments, queue, deferred, running, left_out)


class ReplicaCollector(Collector):
    """Shows the replicas of each collection as the topology has them, and the copies that this node takes part in."""

    def __init__(self, collections: Collections, surface: ClusterSurface, name_of: NameOf) -> None:
        self._collections = collections
        self._surface = surface
        self._name_of = name_of

    def collect(self) -> Iterable[Metric]:
        fewest = _gauge("collection_active_replicas_min", "minimum number of active replicas across all shards", "id")
        most = _gauge("collection_active_replicas_max", "maximum number of active replicas across all shards", "id")
        dead = _gauge("collection_dead_replicas", "total amount of shard replicas in non-active state", "id")
        incoming = _gauge("collection_shard_transfer_incoming", "incoming shard transfers currently running", "id")
        outgoing = _gauge("collection_shard_transfer_outgoing", "outgoing shard transfers currently running", "id")
        for collection in self._collections.open_collections():
            shown, entry = [self._name_of(collection.name)], collection.entry
            active = [len(shard.active()) for shard in entry.shards.values()]
            fewest.add_metric(shown, min(active, default=0))
            most.add_metric(shown, max(active, default=0))
            dead.add_metric(shown, _count_inactive(entry))
            incoming.add_metric(shown, sum(transfer.target == self._surface.me for transfer in entry.transfers))
            outgoing.add_metric(shown, sum(transfer.source == self._surface.me for transfer in entry.transfers))
        yield from (fewest, most, dead, incoming, outgoing)


def _count_inactive(entry: CollectionEntry) -> int:
    states = (state for shard in entry.shards.values() for state in shard.replicas.values())
    return sum(state is not ReplicaState.ACTIVE for state in states)


class ClusterCollector(Collector):
    """Shows how consensus stands on this node."""

    def __init__(self, surface: ClusterSurface) -> None:
        self._surface = surface

    def collect(self) -> Iterable[Metric]:
        standing = self._surface.standing()
        yield GaugeMetricFamily("cluster_enabled", "is cluster support enabled", int(standing is not None))
        if standing is None:
            return
        yield GaugeMetricFamily("cluster_peers_total", "total number of cluster peers", len(standing.peers))
        yield GaugeMetricFamily("cluster_term", "current cluster term", standing.term)
        commit = _gauge("cluster_commit", "index of last committed operation", "peer_id")
        commit.add_metric([str(standing.peer_id)], standing.commit)
        yield commit
        pending = "total number of pending operations"
        yield GaugeMetricFamily("cluster_pending_operations_total", pending, standing.pending)
        yield GaugeMetricFamily("cluster_voter", "is the peer a voter or a learner", int(standing.is_voter))
        if standing.stopped is None:
            updated = "time at which the node last took part in consensus"
            yield GaugeMetricFamily("cluster_last_update_timestamp_seconds", updated, time.time())
        state = _gauge("cluster_working_state", "whether the node takes part in consensus", "state")
        state.add_metric([standing.consensus_thread_status], 1)
        yield state


class SnapshotCollector(Collector):
    """Shows how many snapshots are being made and restored."""

    def __init__(self, collections: Collections, snapshots: Snapshots, name_of: NameOf) -> None:
        self._collections = collections
        self._snapshots = snapshots
        self._name_of = name_of

    def collect(self) -> Iterable[Metric]:
        creating = _gauge("snapshot_creation_running", "amount of snapshot creations currently running", "id")
        recovering = _gauge(
            "snapshot_recovery_running", "amount of snapshot recovery operations currently running", "id"
        )
        created = CounterMetricFamily("snapshot_created_total", "total amount of snapshots created", labels=["id"])
        for collection in self._collections.open_collections():
            shown, count = [self._name_of(collection.name)], self._snapshots.counts.of(collection.name)
            creating.add_metric(shown, count.creating)
            recovering.add_metric(shown, count.recovering)
            created.add_metric(shown, count.created)
        yield from (creating, recovering, created)


class RecallCollector(Collector):
    """Shows what the probe of the recall has found; vectors that are scanned, which misses nothing, are not among them."""

    def __init__(self, collections: Collections, recall: RecallProbe, name_of: NameOf) -> None:
        self._collections = collections
        self._recall = recall
        self._name_of = name_of

    def collect(self) -> Iterable[Metric]:
        labels = "collection", "vector"
        recall = _gauge("collection_estimated_recall", "share of the 10 nearest points that searches find", *labels)
        at = _gauge("collection_estimated_recall_timestamp_seconds", "when the recall was last estimated", *labels)
        sample = _gauge("collection_estimated_recall_sample", "found points that the estimate rests on", *labels)
        for collection in self._collections.open_collections():
            for vector, reading in self._recall.readings(collection.name).items():
                shown = [self._name_of(collection.name), self._name_of(vector)]
                recall.add_metric(shown, reading.recall)
                at.add_metric(shown, reading.at)
                sample.add_metric(shown, reading.neighbours)
        yield from (recall, at, sample)

"""`qnode check`: whether what a stopped node has stored is whole. It reads everything and changes nothing.

Shards are read one after the other in a process of its own, for a damaged store may end the process that reads it; then
that is what is told of the shard, and another process takes the next one.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from qnode.cluster.identity import JOURNAL, is_member, peer_id_of
from qnode.disk import hold
from qnode.errors import CannotStart
from qnode.models.collection import CollectionConfig
from qnode.models.topology import STANDALONE_PEER, ReplicaState, Topology
from qnode.models.vector_params import IndexParams
from qnode.raft import StandaloneLog, stored_topology
from qnode.shards.check import Findings, check_shard

Job = tuple[str, Path, IndexParams]
"""A shard: what it is called, where it is, how its collection is configured."""


def run(storage: Path, tell: Callable[[str], None] = print) -> int:
    """Check a storage folder and tell what was found; give the number of faults. Raise CannotStart or Corruption."""
    if not (storage / "raft" / "data.mdb").exists() and not is_member(storage / "raft"):
        raise CannotStart(f"there is no node's storage in {storage} (storage.storage_path, --storage)")
    with hold(storage):
        faults = 0
        for name, findings in _checked(_jobs(storage)):
            tell(f"{name}: {findings.points:,} points, {findings.operations:,} operations in the log")
            for fault in findings.faults:
                tell(f"  {fault}")
            faults += len(findings.faults)
    tell(f"{faults} faults were found" if faults else "everything is in order")
    return faults


def _jobs(storage: Path) -> list[Job]:
    me, topology = _known(storage / "raft")
    jobs = []
    for name, number, shard in sorted(topology.shards_on(me), key=lambda place: place[:2]):
        entry = topology.collections[name]
        path = storage / "collections" / entry.folder / str(number)
        if shard.replicas[me] is ReplicaState.ACTIVE or path.exists():
            config = CollectionConfig.from_json(entry.config)
            jobs.append((f"{name}, shard {number} in {path}", path, config.index_params()))
    return jobs


def _known(folder: Path) -> tuple[int, Topology]:
    """Read what the node knew last, and who it was in it: a member of a cluster, or one that runs alone."""
    if is_member(folder):
        return peer_id_of(folder, None), stored_topology(folder / JOURNAL)
    log = StandaloneLog(folder)
    try:
        return STANDALONE_PEER, log.current
    finally:
        log.close()


def _checked(jobs: Sequence[Job]) -> Iterator[tuple[str, Findings]]:
    readers: ProcessPoolExecutor | None = None
    try:
        for name, path, params in jobs:
            readers = readers or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            try:
                yield name, readers.submit(check_shard, path, params).result()
            except BrokenProcessPool:
                readers = None
                fault = f"{path / 'store' / 'data.mdb'} is damaged: reading it ends the process"
                yield name, Findings((fault,))
    finally:
        if readers is not None:
            readers.shutdown()

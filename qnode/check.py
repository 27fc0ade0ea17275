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

from qnode.disk import hold
from qnode.errors import CannotStart
from qnode.models.collection import CollectionConfig
from qnode.models.vector_params import IndexParams
from qnode.raft import StandaloneLog
from qnode.shards.check import Findings, check_shard

Job = tuple[str, Path, IndexParams]
"""A shard: what it is called, where it is, how its collection is configured."""


def run(storage: Path, tell: Callable[[str], None] = print) -> int:
    """Check a storage folder and tell what was found; give the number of faults. Raise CannotStart or Corruption."""
    if not (storage / "raft" / "data.mdb").exists():
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
    topology = StandaloneLog(storage / "raft")
    try:
        records = topology.records()
    finally:
        topology.close()
    jobs = []
    for name, record in sorted(records.items()):
        config = CollectionConfig.from_json(record.config)
        for shard in range(config.shard_number):
            path = storage / "collections" / record.folder / str(shard)
            jobs.append((f"{name}, shard {shard} in {path}", path, config.index_params()))
    return jobs


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

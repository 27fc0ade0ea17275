"""Checking a shard whose node is stopped: its index against itself, its log, and both against each other. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from qnode.errors import Corruption, QnodeError
from qnode.index import Index
from qnode.index.check import faults as faults_of_index
from qnode.index.store import RESTORE
from qnode.models.operation import decode
from qnode.models.vector_params import IndexParams
from qnode.wal import Log

MOST_FAULTS = 20
"""More than this are not told of a shard."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found. The counts are 0 where they could not be found out."""

    faults: tuple[str, ...]
    points: int = 0
    operations: int = 0


def check_shard(path: Path, params: IndexParams) -> Findings:
    """Read all of a shard. It may end the process where the store is damaged: LMDB trusts what it reads."""
    found: list[str] = []
    points = logged = 0
    with _noting(found, path):
        index = Index.open(path, params, read_only=True, verify=True)
        points, applied_op = index.points_count, index.applied_op
        with closing(index), _noting(found, path / "store" / "data.mdb"):
            found.extend(f"{path}: {fault}" for fault in islice(faults_of_index(index), MOST_FAULTS))
        with _noting(found, path / "wal"):
            logged = sum(1 for _ in _operations(path / "wal", applied_op))
    return Findings(tuple(found), points, logged)


@contextmanager
def _noting(found: list[str], where: Path) -> Iterator[None]:
    """Note what keeps something from being read; damage may show as any error, wherever it is stumbled upon."""
    try:
        yield
    except QnodeError as error:
        found.append(str(error))
    except Exception as error:
        found.append(f"{where} cannot be read: {error!r}")


def _operations(folder: Path, applied_op: int) -> Iterator[object]:
    log = Log.open(folder, read_only=True, next_op=applied_op + 1)
    if log.first_op > applied_op + 1:
        fault = f"operations {applied_op + 1} to {log.first_op - 1} are not in it"
        raise Corruption(folder, fault, RESTORE)
    for record in log.read(log.first_op):
        yield decode(record.payload)

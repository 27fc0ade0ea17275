"""What the store knows of the rows of segments: which are dead, and what those of a growing one must read as.

    dead      (segment, chunk) → bitmap                    rows that are no longer current, 4096 a chunk, 1 = dead
    checks    (segment, first row) → last row, checksum    what a growing segment's files must hold

The pairs are big-endian, so that what belongs to one segment stands together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.index.store import Store

_PAIR = struct.Struct(">II")
_CHECK = struct.Struct("<IQ")

CHUNK_ROWS = 4096


def put_dead_chunks(
    txn: lmdb.Transaction, store: Store, segment: int, alive: npt.NDArray[np.bool_], chunks: npt.NDArray[np.int64]
) -> None:
    """Write the dead bitmaps of some chunks of a segment, as `alive` (rows,) has them."""
    for chunk in chunks.tolist():
        part = alive[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]
        txn.put(_PAIR.pack(segment, chunk), np.packbits(~part).tobytes(), db=store.dead)


def read_alive(txn: lmdb.Transaction, store: Store, segment: int, rows: int) -> npt.NDArray[np.bool_]:
    """Read which rows of a segment are alive: (rows,) bool."""
    alive = np.ones(rows, np.bool_)
    for chunk, value in _of_segment(txn, store.dead, segment):
        first = chunk * CHUNK_ROWS
        dead = np.unpackbits(np.frombuffer(value, np.uint8)).view(np.bool_)
        count = min(len(dead), rows - first)
        if count > 0:
            alive[first : first + count] = ~dead[:count]
    return alive


def put_check(txn: lmdb.Transaction, store: Store, segment: int, first: int, last: int, checksum: int) -> None:
    """Note what rows first..last-1 of a growing segment must read as."""
    txn.put(_PAIR.pack(segment, first), _CHECK.pack(last, checksum), db=store.checks)


def read_checks(txn: lmdb.Transaction, store: Store, segment: int) -> list[tuple[int, int, int]]:
    """Read the (first row, last row, checksum) of a growing segment."""
    return [(first, *_CHECK.unpack(value)) for first, value in _of_segment(txn, store.checks, segment)]


def forget_segment(txn: lmdb.Transaction, store: Store, segment: int) -> None:
    """Remove the dead bitmaps and checks of a segment that leaves the manifest."""
    for db in (store.dead, store.checks):
        for at, _ in list(_of_segment(txn, db, segment)):
            txn.delete(_PAIR.pack(segment, at), db=db)


def _of_segment(txn: lmdb.Transaction, db: Any, segment: int) -> Iterator[tuple[int, bytes]]:
    with txn.cursor(db=db) as cursor:
        found = cursor.set_range(_PAIR.pack(segment, 0))
        while found:
            owner, at = _PAIR.unpack(cursor.key())
            if owner != segment:
                return
            yield at, bytes(cursor.value())
            found = cursor.next()

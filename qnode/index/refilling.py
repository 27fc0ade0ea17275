"""Filling a new LMDB file with the pairs of another, in their order: for stores that shall be smaller, or are not trusted.

LMDB's own copy without free pages is not used: it ends the process where a posting list has pages of its own (0.9.36:
mdb_env_cwalk reads them through a cursor that knows no database). Nothing is durable before the caller syncs the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import lmdb

from qnode.index.store import DATABASES, LMDB_ENGINE, MAP_BYTES, MAX_DATABASES

PAIRS_A_COMMIT: Final = 20_000
"""What a copy has not committed yet is kept in memory."""


Bytes = bytes | memoryview


def new_environment(folder: Path) -> lmdb.Environment:
    """Make an empty store in a folder."""
    engine: dict[str, Any] = {"lib_version": LMDB_ENGINE}
    return lmdb.open(str(folder), map_size=MAP_BYTES, max_dbs=MAX_DATABASES, lock=False, sync=False, **engine)


def fill(target: lmdb.Environment, name: str, pairs: Iterable[tuple[Bytes, Bytes]]) -> tuple[int, int]:
    """Put pairs into an empty database; give how many were taken, and how many of them were new and in their order.

    It ends soon after the first that is not: pages that lead back to themselves have no last pair.
    """
    database = target.open_db(name.encode(), **DATABASES[name])
    left, total, fresh, taken = iter(pairs), 0, 0, PAIRS_A_COMMIT
    while taken == PAIRS_A_COMMIT and total == fresh:
        with target.begin(write=True) as written, written.cursor(db=database) as into:
            taken, added = into.putmulti(islice(left, PAIRS_A_COMMIT), append=True)
        total, fresh = total + taken, fresh + added
    return total, fresh

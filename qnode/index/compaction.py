"""Giving the point store's space back: LMDB's file never shrinks, so it is copied without its free pages.

The copy is complete and on disk before it takes the place of the file, by two renames; a crash between them is finished
at the next open (`store.finish_exchange`). Writes wait for the copy, which is as long as what is left; searches wait for
the renames only.

It is copied item by item (`refilling`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import lmdb

from qnode.disk import remove_tree, sync_directory, sync_file
from qnode.errors import Corruption
from qnode.index.refilling import fill, new_environment
from qnode.index.store import DATABASES, RESTORE, Store, compacted_path

SMALLEST_BYTES = 32 << 20
"""A smaller file is left alone."""

LARGEST_USED_SHARE = 0.5
"""A file is copied when no more than this share of its pages is used."""

_log = logging.getLogger(__name__)


def is_due(store: Store) -> bool:
    """Whether a copy would be much smaller than the file, and nobody holds the file as it is."""
    total = store.total_bytes
    return not store.is_held and total > SMALLEST_BYTES and store.used_bytes() < LARGEST_USED_SHARE * total


def _copy_items(store: Store, folder: Path) -> None:
    with new_environment(folder) as copy, store.reading() as txn:
        for name in DATABASES:
            database = getattr(store, name)
            with txn.cursor(db=database) as cursor:
                _, added = fill(copy, name, cursor.iternext())
            if added != txn.stat(database)["entries"]:  # else what cannot be found any more would be gone for good
                raise Corruption(store.path / "data.mdb", f"its {name} are not in their order", RESTORE)


def compact(store: Store) -> None:
    """Exchange the store for a copy of it without free pages; for the writer thread. A full disk leaves it as it is.

    So does a long read that has begun since this was found due: the exchange would wait for its end, and all others with it.
    Raises Corruption if not all can be copied; the store stays as it is.
    """
    if store.is_held:
        return
    before = store.total_bytes
    path, compacted = store.path, compacted_path(store.path)
    unfinished, old = path.with_name(f"{path.name}.copy"), path.with_name(f"{path.name}.old")
    remove_tree(unfinished)
    try:
        unfinished.mkdir()
        _copy_items(store, unfinished)
        sync_file(unfinished / "data.mdb")
    except (lmdb.Error, OSError) as error:
        remove_tree(unfinished)
        _log.warning("%s could not be made smaller: %s", path, error)
        return
    except Corruption:
        remove_tree(unfinished)
        raise
    sync_directory(unfinished)
    unfinished.rename(compacted)
    sync_directory(path.parent)

    def rename() -> None:
        path.rename(old)
        compacted.rename(path)
        sync_directory(path.parent)

    store.exchange(rename)
    remove_tree(old)
    _log.info("%s was made smaller: %d MB of %d MB are left", path, store.total_bytes >> 20, before >> 20)

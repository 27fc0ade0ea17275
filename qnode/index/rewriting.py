"""Making a store that nobody trusts one that may be opened: what can be read of it is written anew.

LMDB trusts the pages that it reads: in a file that somebody else has made they may lead anywhere, and end the process.
So every pair is read here, looked at, and put into a new file; nothing of the old file's structure is left. Do it in a
process that may die. What the pairs mean, and whether they agree, is for `check` to say afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import lmdb
import orjson

from qnode.disk import sync_directory, sync_file
from qnode.errors import BadInput
from qnode.index.records import HEAD_BYTES
from qnode.index.refilling import fill, new_environment
from qnode.index.store import DATABASES, MAP_BYTES, MAX_DATABASES, Store, get_meta_u64, put_meta_u64, seal_payload
from qnode.removal import remove_in_steps

_NUMBER_BYTES: Final = 4
_PAIR_BYTES: Final = 8
_CHECK_BYTES: Final = 12
_MOST_CHUNK_BYTES: Final = 512
_COUNTERS: Final = (b"applied_op", b"next_number")
_META: Final = (*_COUNTERS, b"manifest")

Look = Callable[[bytes, bytes], bool]
"""Whether a pair may stand where it stands."""


def rewrite(folder: Path) -> None:
    """Write the store of a copy anew; blocks. Raise BadInput where it holds what no store holds.

    Nothing of the old one is left in the folder then, for all that is there is sent. A store that is no LMDB file raises whatever
    LMDB says, or ends the process.
    """
    path, fresh, old = folder / "store", folder / "store.fresh", folder / "store.old"
    fresh.mkdir()
    source = lmdb.open(str(path), readonly=True, lock=False, create=False, max_dbs=MAX_DATABASES, map_size=MAP_BYTES)
    with source, new_environment(fresh) as target:
        _check_counts(target, {name: _copy(source, target, name, look) for name, look in _LOOKS.items()})
        target.sync(True)
    sync_file(fresh / "data.mdb")
    path.rename(old)
    fresh.rename(path)
    sync_directory(path)
    remove_in_steps(old)
    sync_directory(folder)


def renumber(folder: Path, applied_op: int) -> None:
    """Let a copy, which nobody has open, stand at another operation, which must not be before its own."""
    store = Store(folder / "store")
    try:
        with store.writing() as txn:
            assert get_meta_u64(txn, store, b"applied_op") <= applied_op
            put_meta_u64(txn, store, b"applied_op", applied_op)
    finally:
        store.close()


def applied_op_of(folder: Path) -> int:
    """Read the operation at which a copy stands that nobody has open."""
    store = Store(folder / "store", read_only=True)
    try:
        with store.reading() as txn:
            return get_meta_u64(txn, store, b"applied_op")
    finally:
        store.close()


def _is_key(key: bytes) -> bool:
    """Whether these are the bytes of a point's id."""
    return (key[0], len(key)) in ((0, 9), (1, 17))


def _is_payload(value: bytes) -> bool:
    """Whether this is a JSON object behind its checksum; it is shown to clients as it stands."""
    try:
        return type(orjson.loads(value[4:])) is dict and seal_payload(value[4:]) == value
    except orjson.JSONDecodeError:
        return False


_LOOKS: Final[dict[str, Look]] = {
    "ids": lambda key, value: _is_key(key) and len(value) == _NUMBER_BYTES,
    "records": lambda key, value: len(value) >= HEAD_BYTES and (len(value) - HEAD_BYTES) % 8 == 0,
    "payloads": lambda key, value: _is_payload(value),
    "free": lambda key, value: not value,
    "dead": lambda key, value: len(key) == _PAIR_BYTES and len(value) <= _MOST_CHUNK_BYTES,
    "checks": lambda key, value: len(key) == _PAIR_BYTES and len(value) == _CHECK_BYTES,
    "postings": lambda key, value: len(value) == _NUMBER_BYTES,
    "fields": lambda key, value: True,
    "meta": lambda key, value: key in _META and (key not in _COUNTERS or len(value) == _PAIR_BYTES),
}
"""The databases, and what their pairs look like."""

assert _LOOKS.keys() == DATABASES.keys()


def _copy(source: lmdb.Environment, target: lmdb.Environment, name: str, look: Look) -> int:
    """Copy a database in its order; give the number of its pairs."""
    from_db = source.open_db(name.encode(), create=False)
    key_bytes = _NUMBER_BYTES if DATABASES[name].get("integerkey") else None

    def looked_at(cursor: Any) -> Iterator[tuple[bytes, bytes]]:
        for key, value in cursor.iternext():
            if (key_bytes is not None and len(key) != key_bytes) or not look(key, value):
                raise BadInput(f"the store of the snapshot holds among its {name} what is none of them")
            yield key, value

    with source.begin(db=from_db) as read, read.cursor() as cursor:
        found, added = fill(target, name, looked_at(cursor))
    if found != added:
        raise BadInput(f"the {name} of the snapshot's store are not in their order")
    return found


def _check_counts(target: lmdb.Environment, counts: dict[str, int]) -> None:
    """Refuse counters that would make room for more than there is."""
    with target.begin(db=target.open_db(b"meta")) as txn:
        given = int.from_bytes(txn.get(b"next_number") or b"", "little")
    if given != counts["records"] + counts["free"] or counts["ids"] != counts["records"]:
        raise BadInput("the store of the snapshot does not hold as many points as it says")

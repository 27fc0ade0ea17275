"""Copies whose checksums fit and whose contents lie are found out, in a process that may die of them."""

import asyncio
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qnode import removal
from qnode.errors import BadInput
from qnode.index import Index
from qnode.index.check import faults
from qnode.index.copying import files_of_copy
from qnode.index.examining import fault_of_copy
from qnode.index.store import Store, put_meta_u64, seal_payload
from qnode.snapshots.examining import examine
from tests.snapshots.strangers import PARAMS, copy_of


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """Examining bounds its process, which is this one in some tests."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def changed(folder: Path, change: Callable[[Any, Store], Any]) -> Path:
    """Make a copy whose store was changed."""
    copy = copy_of(folder)
    store = Store(copy / "store")
    try:
        with store.writing() as txn:
            change(txn, store)
    finally:
        store.close()
    return copy


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def test_a_good_copy_passes_and_is_the_same_afterwards(tmp_path: Path) -> None:
    copy = copy_of(tmp_path)
    asyncio.run(examine([copy], PARAMS))
    index = Index.open(copy, PARAMS)
    try:
        assert list(faults(index)) == []
        assert (index.points_count, index.applied_op) == (50, 1)
    finally:
        index.close()


def test_nothing_of_a_large_store_is_left_beside_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "STEP_BYTES", 4096)
    monkeypatch.setattr(removal, "PAUSE_SECONDS", 0.02)
    copy = copy_of(tmp_path)
    assert fault_of_copy(copy, PARAMS) is None
    assert {path.name for path in copy.iterdir()} == {"store", "segments"}
    assert files_of_copy(copy)[0].path == "store/data.mdb"


@pytest.mark.parametrize(
    "change",
    [
        lambda txn, store: put_meta_u64(txn, store, b"next_number", (1 << 32) - 1),
        lambda txn, store: txn.put(number(3), seal_payload(b"[1]"), db=store.payloads),
        lambda txn, store: txn.put(number(3), seal_payload(b'{"a": '), db=store.payloads),
        lambda txn, store: txn.put(number(3), b"1234{}", db=store.payloads),
        lambda txn, store: txn.put(b"\x07" * 9, number(3), db=store.ids),
        lambda txn, store: txn.put(b"\x00" * 9, number(3), db=store.ids),
        lambda txn, store: txn.put(number(3), b"short", db=store.records),
        lambda txn, store: txn.put(number(3), b"", db=store.free),
        lambda txn, store: txn.put(b"other", b"x", db=store.meta),
        lambda txn, store: txn.put(b"manifest", b"x" * 20, db=store.meta),
        lambda txn, store: txn.put(b"\0\0\0\1\0\0\0\0", b"\xff" * 512, db=store.dead),
        lambda txn, store: txn.put(b"stray", number(3), db=store.postings),
        lambda txn, store: txn.drop(store.records, delete=False),
    ],
)  # fmt: skip
def test_a_store_that_contradicts_itself_is_found_out(tmp_path: Path, change: Callable[[Any, Store], Any]) -> None:
    assert fault_of_copy(changed(tmp_path, change), PARAMS) is not None


def test_rows_of_points_that_there_are_not_are_found_out(tmp_path: Path) -> None:
    copy = copy_of(tmp_path)
    entries = next(copy.glob("segments/[0-9]*/entries.bin"))
    content = bytearray(entries.read_bytes())
    content[8:12] = b"\xff\xff\xff\x7f"
    entries.write_bytes(content)
    assert fault_of_copy(copy, PARAMS) is not None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged_pages_end_no_process_but_their_own(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance, copy = random.Random(seed), copy_of(tmp_path)
    file = copy / "store" / "data.mdb"
    content = bytearray(file.read_bytes())
    for _ in range(200):
        content[chance.randrange(8192, len(content))] = chance.randrange(256)
    file.write_bytes(content)
    with pytest.raises(BadInput, match="the snapshot is damaged"):
        asyncio.run(examine([copy], PARAMS))

"""What is put wrong in an index by hand is found; what is right is left in peace."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from qnode.index import Index, maintenance
from qnode.index.check import faults
from qnode.index.segment_rows import put_dead_chunks
from qnode.index.store import Store, put_meta_u64, seal_payload
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import Delete
from qnode.models.point_id import key_of
from tests.index.test_index import ONE, TWO, Driver, upsert, vectors

POINTS = 700
THIRD = (3).to_bytes(4, "little")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """An index with a sealed and a growing segment, dead rows, free numbers, and two payload indexes."""
    made = Driver(tmp_path_factory.mktemp("check") / "shard", ONE)
    for field, kind in (("n", "integer"), ("tags[]", "keyword")):
        maintenance.create_field(made.index, field, FieldSchema(kind))
    ids = range(POINTS)
    payloads = [{"n": i % 10, "tags": [str(i % 3), "all"]} for i in ids]
    made.apply(upsert(ids, vectors(POINTS), payloads), Delete([key_of(i) for i in range(100, 120)]))
    while not maintenance.step_fields(made.index, 100):
        pass
    made.build()
    made.apply(upsert(range(50), vectors(50, seed=1), payloads[:50]), Delete([key_of(7)]))
    return made


def test_an_index_that_is_right_has_no_faults(driver: Driver) -> None:
    assert list(faults(driver.index)) == []


def test_an_index_that_is_half_built_has_no_faults(tmp_path: Path) -> None:
    made = Driver(tmp_path / "shard", TWO)
    made.apply(upsert(range(30), vectors(30), [{"n": i} for i in range(30)], "a"))
    maintenance.create_field(made.index, "n", FieldSchema("integer"))
    maintenance.create_field(made.index, "gone", FieldSchema("integer"))
    maintenance.step_fields(made.index, 10)
    maintenance.drop_field(made.index, "gone")
    made.apply(upsert(range(5, 40), vectors(35), [{"n": -i} for i in range(35)], "b"))
    assert list(faults(made.index)) == []
    made.index.close()


def lose_id(store: Store, txn: lmdb.Transaction) -> None:
    txn.delete(key_of(3), db=store.ids)


def lead_astray(store: Store, txn: lmdb.Transaction) -> None:
    txn.put(key_of(3), (5).to_bytes(4, "little"), db=store.ids)


def lose_record(store: Store, txn: lmdb.Transaction) -> None:
    txn.delete(THIRD, db=store.records)


def lose_payload(store: Store, txn: lmdb.Transaction) -> None:
    txn.delete(THIRD, db=store.payloads)


def damage_payload(store: Store, txn: lmdb.Transaction) -> None:
    txn.put(THIRD, b"\0\0\0\0{}", db=store.payloads)


def change_payload(store: Store, txn: lmdb.Transaction) -> None:
    txn.put(THIRD, seal_payload(b'{"n":3,"tags":["0"]}'), db=store.payloads)


def age_record(store: Store, txn: lmdb.Transaction) -> None:
    record = bytes(txn.get(THIRD, db=store.records))
    txn.put(THIRD, (10**6).to_bytes(8, "little") + record[8:], db=store.records)


def take_vector(store: Store, txn: lmdb.Transaction) -> None:
    record = bytes(txn.get(THIRD, db=store.records))
    txn.put(THIRD, record[:-8] + bytes(8), db=store.records)


def free_a_point(store: Store, txn: lmdb.Transaction) -> None:
    txn.put(THIRD, b"", db=store.free)


def forget_numbers(store: Store, txn: lmdb.Transaction) -> None:
    put_meta_u64(txn, store, b"next_number", 10)


def lose_posting(store: Store, txn: lmdb.Transaction) -> None:
    with txn.cursor(db=store.postings) as cursor:
        cursor.first()
        cursor.delete()


def add_posting(store: Store, txn: lmdb.Transaction) -> None:
    with txn.cursor(db=store.postings) as cursor:
        cursor.first()
        key = bytes(cursor.key())
    txn.put(key, (9999).to_bytes(4, "little"), db=store.postings)


def stray_posting(store: Store, txn: lmdb.Transaction) -> None:
    txn.put(b"\0\x63\3" + bytes(8), THIRD, db=store.postings)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_id, "there are 678 ids and 679 records"),
        (lead_astray, "the id of point number 3 leads elsewhere"),
        (lose_record, "there are 679 ids and 678 records"),
        (lose_payload, "there are 678 payloads and 679 records"),
        (damage_payload, "the payload of point number 3 does not match"),
        (change_payload, 'the index of "tags[]" lacks 0 postings and has 1 too many'),
        (age_record, "the version of point number 3 is from nowhere"),
        (take_vector, "rows of segment"),
        (free_a_point, "point number 3 counts as free"),
        (forget_numbers, "are not 10 numbers"),
        (lose_posting, 'the index of "n" lacks 1 postings and has 0 too many'),
        (add_posting, 'the index of "n" lacks 0 postings and has 1 too many'),
        (stray_posting, "there are postings of field 99, which does not exist"),
    ],
)
def test_what_contradicts_itself_is_found(
    driver: Driver, damage: Callable[[Store, lmdb.Transaction], None], words: str
) -> None:
    index = driver.index
    with index.store.env.begin(write=True) as txn:
        damage(index.store, txn)
        seen = list(faults_in(index, txn))
        txn.abort()
    assert any(words in fault for fault in seen), seen
    assert list(faults(index)) == []


def faults_in(index: Index, txn: lmdb.Transaction) -> list[str]:
    """The faults of a state that is not committed."""

    class Uncommitted:
        def __enter__(self) -> lmdb.Transaction:
            return txn

        def __exit__(self, *_: object) -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index.store, "reading", Uncommitted)
        return list(faults(index))


def test_a_row_that_is_marked_wrongly_is_found(driver: Driver) -> None:
    driver.reopen()
    part = next(part for part in driver.index.spaces[0].parts if part.is_sealed)
    alive = part.alive.copy()
    alive[np.flatnonzero(alive)[0]] = False
    with driver.index.store.writing() as txn:
        put_dead_chunks(txn, driver.index.store, part.id, alive, np.array([0]))
    driver.reopen()
    seen = list(faults(driver.index))
    with driver.index.store.writing() as txn:
        put_dead_chunks(txn, driver.index.store, part.id, part.alive, np.array([0]))
    driver.reopen()
    assert seen == [f"1 rows of segment {part.id} are dead and current, or alive and not"]
    assert list(faults(driver.index)) == []

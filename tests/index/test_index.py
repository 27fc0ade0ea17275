"""An index against what was put into it: reopening, rewriting, building, a second process."""

import multiprocessing
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from qnode.errors import Corruption, NotFound, OutOfSpace
from qnode.index import Index, compaction, maintenance, planning, ranking, reading
from qnode.index.builders import write_job
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import FieldCondition, Filter, MatchValue
from qnode.models.operation import (
    Delete,
    DeleteVectors,
    Operation,
    OverwritePayload,
    SetPayload,
    UpdateVectors,
    Upsert,
    VectorColumn,
)
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    NO_PAYLOAD,
    CountRequest,
    Nearest,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    SearchParams,
)
from qnode.models.vector_params import Distance, IndexParams, Quantization, QuantizationKind, VectorParams

DIM = 8
ONE = IndexParams((VectorParams("", 0, DIM, Distance.DOT, m=8, ef_construct=64),), indexing_threshold_kb=10)
TWO = IndexParams((VectorParams("a", 0, DIM, Distance.DOT), VectorParams("b", 1, DIM, Distance.EUCLID)))


class Driver:
    """Applies operations under ascending numbers."""

    def __init__(self, path: Path, params: IndexParams) -> None:
        self.path, self.params = path, params
        self.index = Index.open(path, params)

    def apply(self, *operations: Operation) -> int:
        first = self.index.applied_op + 1
        self.index.apply([(first + at, operation) for at, operation in enumerate(operations)])
        return self.index.applied_op

    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.path, self.params)

    def build(self) -> None:
        """Do all builds that are due, each in a process of its own."""
        while maintenance.is_due(self.index):
            build = maintenance.begin_build(self.index)
            if build is not None:
                run_builder(write_job(build, threads=1))
                maintenance.install(self.index, build)
                build.clean_up()


def run_builder(job: Path) -> None:
    command = [sys.executable, "-m", "qnode.index.vectors.build"]
    done = subprocess.run(command, input=orjson.dumps(str(job)), check=True, capture_output=True)
    assert "rows" in orjson.loads(done.stdout)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "shard", ONE)
    yield driver
    driver.index.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "shard", TWO)
    yield driver
    driver.index.close()


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def upsert(ids, values, payloads=None, name="") -> Upsert:
    keys = [key_of(i) for i in ids]
    payloads = [orjson.dumps(payload) for payload in (payloads or [{} for _ in keys])]
    return Upsert(keys, payloads, {name: VectorColumn(np.arange(len(keys), dtype=np.int32), values)})


def ids_of(points) -> list[int]:
    return [int.from_bytes(point.key[1:], "big") for point in points]


def nearest(index: Index, vector, limit=5, **options) -> list[int]:
    return ids_of(reading.search(index, QueryRequest(Nearest(vector), limit=limit, **options), vector))


def exact(values: np.ndarray, ids, vector, limit=5) -> list[int]:
    order = np.argsort(-(values @ vector), kind="stable")[:limit]
    return [ids[at] for at in order.tolist()]


def test_what_was_upserted_is_found_retrieved_listed_and_counted(one):
    values = vectors(100)
    one.apply(upsert(range(100), values, [{"n": n} for n in range(100)]))
    assert nearest(one.index, values[7]) == exact(values, list(range(100)), values[7])
    read = reading.retrieve(one.index, RetrieveRequest((key_of(9), key_of(500), key_of(3)), ALL_PAYLOAD, ALL_VECTORS))
    assert ids_of(read) == [9, 3]
    assert read[0].payload == b'{"n":9}'
    assert read[0].vectors is not None
    np.testing.assert_array_equal(read[0].vectors[""], values[9])
    assert ids_of(reading.scroll(one.index, ScrollRequest(offset=key_of(95)))) == [95, 96, 97, 98, 99]
    assert reading.count(one.index, CountRequest()) == 100


def test_everything_is_there_after_reopening(one):
    values = vectors(300)
    one.apply(upsert(range(300), values, [{"n": n % 3} for n in range(300)]))
    one.apply(Delete([key_of(n) for n in range(0, 300, 2)]))
    before = nearest(one.index, values[3], limit=20)
    one.reopen()
    assert nearest(one.index, values[3], limit=20) == before
    assert one.index.points_count == 150
    assert one.index.applied_op == 2


def test_an_upsert_replaces_the_whole_point(two):
    two.apply(upsert([1], vectors(1), [{"x": 1}], "a"))
    two.apply(upsert([1], vectors(1, 1), None, "b"))
    point = reading.retrieve(two.index, RetrieveRequest((key_of(1),), ALL_PAYLOAD, ALL_VECTORS))[0]
    assert point.payload == b"{}"
    assert list(point.vectors) == ["b"]
    assert point.version == 2


def test_a_point_without_the_searched_vector_is_no_hit(two):
    two.apply(upsert([1], vectors(1), None, "a"), upsert([2], vectors(1), None, "b"))
    request = QueryRequest(Nearest(vectors(1)[0]), using="b")
    assert ids_of(reading.search(two.index, request, vectors(1)[0])) == [2]
    with pytest.raises(NotFound, match='Vector with name "b" for point not found'):
        reading.vector_of(two.index, key_of(1), "b")


def test_vectors_are_updated_and_deleted_by_name(two):
    values = vectors(2, 3)
    two.apply(upsert([1], values[:1], None, "a"))
    column = VectorColumn(np.array([0], np.int32), values[1:])
    two.apply(UpdateVectors([key_of(1)], {"b": column}))
    assert sorted(reading.retrieve(two.index, RetrieveRequest((key_of(1),), with_vector=ALL_VECTORS))[0].vectors) == [
        "a",
        "b",
    ]
    two.apply(DeleteVectors([key_of(1)], ["a"]))
    two.reopen()
    assert list(reading.retrieve(two.index, RetrieveRequest((key_of(1),), with_vector=ALL_VECTORS))[0].vectors) == ["b"]


def test_several_changes_of_a_point_in_one_group_leave_the_last(one):
    values = vectors(3)
    one.apply(
        upsert([1], values[:1], [{"v": 1}]),
        upsert([1], values[1:2], [{"v": 2}]),
        SetPayload([key_of(1)], b'{"w":3}'),
        upsert([2], values[2:], [{"v": 4}]),
        Delete([key_of(2)]),
        OverwritePayload([key_of(1)], b'{"z":5}'),
    )
    assert nearest(one.index, values[1]) == [1]
    point = reading.retrieve(one.index, RetrieveRequest((key_of(1),), ALL_PAYLOAD, ALL_VECTORS))[0]
    assert point.payload == b'{"z":5}'
    np.testing.assert_array_equal(point.vectors[""], values[1])
    assert one.index.points_count == 1


def test_a_number_of_a_deleted_point_is_used_again_without_mixing_them_up(one):
    values = vectors(4)
    one.apply(upsert([1, 2], values[:2], [{"old": 1}, {}]))
    one.apply(Delete([key_of(1)]))
    one.apply(upsert([3], values[2:3]))
    assert one.index.population.capacity == 2
    assert sorted(nearest(one.index, values[0], limit=10)) == [2, 3]
    assert reading.retrieve(one.index, RetrieveRequest((key_of(1), key_of(3)), ALL_PAYLOAD))[0].payload == b"{}"


def test_a_failed_transaction_leaves_no_trace(one):
    values = vectors(10)
    one.apply(upsert(range(5), values[:5]))

    class Interrupted(Exception):
        pass

    def fail(*_):
        raise Interrupted

    publish, one.index.points_count = one.index._write_deaths, one.index.points_count
    one.index._write_deaths = fail
    with pytest.raises(Interrupted):
        one.apply(upsert(range(10), values))
    one.index._write_deaths = publish
    assert sorted(nearest(one.index, values[0], limit=20)) == [0, 1, 2, 3, 4]
    one.apply(upsert(range(5, 10), values[5:]))
    assert nearest(one.index, values[7]) == exact(values, list(range(10)), values[7])
    one.reopen()
    assert nearest(one.index, values[7]) == exact(values, list(range(10)), values[7])


def test_a_built_segment_finds_what_a_scan_finds_and_survives_reopening(one):
    values = vectors(2000)
    one.apply(upsert(range(2000), values))
    one.build()
    (space,) = one.index.spaces.values()
    assert [part.is_indexed for part in space.parts] == [True]
    one.reopen()
    found = [nearest(one.index, values[n], params=SearchParams(hnsw_ef=128)) for n in range(0, 2000, 50)]
    wanted = [exact(values, list(range(2000)), values[n]) for n in range(0, 2000, 50)]
    hits = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, wanted, strict=True)])
    assert hits > 0.97
    assert nearest(one.index, values[50], params=SearchParams(exact=True)) == wanted[1]


def test_a_search_of_what_is_indexed_passes_over_a_large_segment_without_a_graph(tmp_path):
    params = IndexParams((replace(ONE.vectors[0], full_scan_threshold_kb=10),), indexing_threshold_kb=10)
    driver, values = Driver(tmp_path, params), vectors(2000)
    only = SearchParams(indexed_only=True)
    driver.apply(upsert(range(300), values[:300]))  # 9.4 KB
    assert nearest(driver.index, values[7], params=only) == exact(values[:300], list(range(300)), values[7])
    assert driver.index.spaces[0].left_out == 0
    driver.apply(upsert(range(300, 1000), values[300:1000]))
    assert nearest(driver.index, values[7], params=only) == []
    assert nearest(driver.index, values[7]) == exact(values[:1000], list(range(1000)), values[7])
    assert driver.index.spaces[0].left_out == 1000
    driver.build()
    assert nearest(driver.index, values[7], params=only) == exact(values[:1000], list(range(1000)), values[7])
    assert driver.index.spaces[0].left_out == 0
    driver.apply(upsert(range(1000, 2000), values[1000:]))
    assert nearest(driver.index, values[7], params=only) == exact(values[:1000], list(range(1000)), values[7])
    assert nearest(driver.index, values[7]) == exact(values, list(range(2000)), values[7])
    assert driver.index.spaces[0].left_out == 1000
    driver.index.close()


@pytest.mark.parametrize("distance", list(Distance))
def test_scores_that_overflow_are_shown_as_the_largest_numbers(tmp_path, distance):
    driver = Driver(tmp_path, IndexParams((VectorParams("", 0, DIM, distance),)))
    values = np.full((3, DIM), 3e38, np.float32)
    values[1], values[2, ::2] = -3e38, -3e38
    driver.apply(
        Upsert([key_of(i) for i in range(3)], [b"{}"] * 3, {"": VectorColumn(np.arange(3, dtype=np.int32), values)})
    )
    for payload in (ALL_PAYLOAD, NO_PAYLOAD):
        found = reading.search(driver.index, QueryRequest(Nearest(values[0]), limit=3, with_payload=payload), values[0])
        scores = [float(point.score) for point in found]
        assert len(scores) == 3
        assert np.isfinite(scores).all()
        assert max(map(abs, scores)) == (ranking.LARGEST_SCORE if distance is not Distance.COSINE else scores[0])
    driver.index.close()


def test_what_changes_while_a_segment_is_built_is_right_afterwards(one):
    values = vectors(1500)
    one.apply(upsert(range(1000), values[:1000]))
    build = maintenance.begin_build(one.index)
    job = write_job(build, threads=1)
    one.apply(Delete([key_of(n) for n in range(0, 1000, 3)]))
    one.apply(upsert(range(1, 1000, 3), values[1000:1333]))
    run_builder(job)
    maintenance.install(one.index, build)
    now = {n: values[n] for n in range(2, 1000, 3)} | dict(zip(range(1, 1000, 3), values[1000:], strict=False))
    ids = sorted(now)
    stacked = np.array([now[n] for n in ids])
    for restarted in (False, True):
        if restarted:
            one.reopen()
        for n in range(0, 1500, 100):
            assert nearest(one.index, values[n], params=SearchParams(exact=True)) == exact(stacked, ids, values[n])
        read = reading.retrieve(one.index, RetrieveRequest(tuple(key_of(n) for n in ids), with_vector=ALL_VECTORS))
        np.testing.assert_array_equal([point.vectors[""] for point in read], stacked)


def test_changed_settings_are_followed_by_a_rebuild_that_ends(one):
    values = vectors(1000)
    one.apply(upsert(range(1000), values))
    one.build()
    (vector,) = ONE.vectors
    for changed in (
        replace(vector, m=12),
        replace(vector, quantization=Quantization(QuantizationKind.BINARY)),
        replace(vector, quantization=Quantization(QuantizationKind.SCALAR, 0.99)),
        vector,
    ):
        maintenance.configure(one.index, replace(ONE, vectors=(changed,)))
        assert maintenance.is_due(one.index)
        one.build()
        found = nearest(one.index, values[5], 1, params=SearchParams(exact=True))
        assert found == exact(values, list(range(1000)), values[5], 1)


def test_an_interrupted_build_leaves_no_files(one):
    one.apply(upsert(range(1000), vectors(1000)))
    build = maintenance.begin_build(one.index)
    run_builder(write_job(build, threads=1))
    one.reopen()
    assert sorted(child.name for child in (one.path / "segments").iterdir()) == ["1"]


def test_a_build_is_found_behind_a_closed_segment_whose_rows_all_died(one, monkeypatch):
    monkeypatch.setattr(planning, "PIECE_BYTES", 1)  # closed segments come one at a time
    one.apply(upsert(range(1000), vectors(1000)))
    assert maintenance.begin_build(one.index) is not None  # closes it, and is given up
    one.apply(upsert(range(1000), vectors(1000, 1)))
    build = maintenance.begin_build(one.index)
    assert build is not None
    assert [source.part.living for source in build.sources] == [1000]


def test_a_replaced_segment_keeps_its_files_as_long_as_a_search_holds_it(one):
    one.apply(upsert(range(1000), vectors(1000)))
    (space,) = one.index.spaces.values()
    held = space.shown
    one.build()
    segments = one.path / "segments"
    assert sorted(child.name for child in segments.iterdir()) == ["1", "2"]
    assert len(held.parts[0].segment.read(np.arange(1000))) == 1000
    del held
    for thread in threading.enumerate():
        if thread.name == "remove 1":
            thread.join()
    assert sorted(child.name for child in segments.iterdir()) == ["2"]


def test_rewriting_everything_six_times_keeps_the_disk_within_bounds(one):
    for round_ in range(6):
        one.apply(upsert(range(2000), vectors(2000, round_)))
        one.build()
    (space,) = one.index.spaces.values()
    assert sum(part.rows for part in space.parts) <= 1.5 * 2000
    values = vectors(2000, 5)
    assert nearest(one.index, values[9], params=SearchParams(exact=True)) == exact(values, list(range(2000)), values[9])


def test_deleting_most_points_gives_the_segments_back(one):
    one.apply(upsert(range(5000), vectors(5000)))
    one.build()
    full = sum(part.segment.disk_bytes for part in one.index.spaces[0].parts)
    one.apply(Delete([key_of(n) for n in range(4500)]))
    one.build()
    assert sum(part.segment.disk_bytes for part in one.index.spaces[0].parts) < 0.2 * full
    one.apply(Delete([key_of(n) for n in range(4500, 5000)]))
    one.build()
    assert one.index.points_count == 0
    assert nearest(one.index, vectors(1)[0]) == []


def churned(driver: Driver) -> np.ndarray:
    """A store that is mostly free pages: 20 000 points with large payloads, of which 500 are left."""
    payload = {"text": "x" * 4000, "n": 1}
    values = vectors(20_000)
    for first in range(0, 20_000, 2000):
        driver.apply(upsert(range(first, first + 2000), values[first : first + 2000], [payload] * 2000))
    driver.apply(Delete([key_of(n) for n in range(500, 20_000)]))
    return values[:500]


def test_deleting_most_points_gives_the_store_back(one):
    maintenance.create_field(one.index, "n", FieldSchema("integer"))
    left = churned(one)
    assert compaction.is_due(one.index.store)
    before = one.index.store.disk_bytes
    compaction.compact(one.index.store)
    assert one.index.store.disk_bytes < 0.2 * before
    assert not compaction.is_due(one.index.store)
    one.apply(upsert([500], left[:1], [{"n": 1}]))
    for restarted in (False, True):
        if restarted:
            one.reopen()
        assert reading.count(one.index, CountRequest(filtered("n", 1))) == 501
        assert nearest(one.index, left[7], 1, params=SearchParams(exact=True)) == exact(
            left, list(range(500)), left[7], 1
        )
    assert [child.name for child in one.path.iterdir() if child.name.startswith("store")] == ["store"]


@pytest.mark.parametrize("step", ["copying", "copied", "moved away", "in place"])
def test_an_exchange_of_the_store_may_be_cut_off_anywhere(one, step):
    one.apply(upsert(range(10), vectors(10)))
    store, whole = one.index.store.path, one.path / "store.whole"
    one.index.close()
    shutil.copytree(store, whole)
    if step == "copying":
        (one.path / "store.copy").mkdir()
        (one.path / "store.copy" / "data.mdb").write_bytes((store / "data.mdb").read_bytes()[:5000])
    elif step == "copied":
        whole.rename(one.path / "store.compact")
    elif step == "moved away":
        whole.rename(one.path / "store.compact")
        store.rename(one.path / "store.old")
    else:
        whole.rename(one.path / "store.old")
    one.index = Index.open(one.path, ONE)
    assert one.index.points_count == 10
    assert sorted(child.name for child in one.path.iterdir()) == ["segments", "store"]


def test_a_store_of_which_not_all_can_be_copied_stays_as_it_is(one):
    one.apply(upsert(range(100), vectors(100)))
    with one.index.store.reading() as txn:
        number = txn.get(key_of(7), db=one.index.store.ids)
    one.index.close()
    file = one.path / "store" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(key_of(7) + number, key_of(1000) + number))
    one.index = Index.open(one.path, ONE)
    before = file.stat().st_ino
    with pytest.raises(Corruption, match="ids"):
        compaction.compact(one.index.store)
    assert file.stat().st_ino == before
    assert not (one.path / "store.copy").exists()
    assert one.index.points_count == 100


def test_a_store_without_room_is_refused_as_such_and_made_when_there_is_room(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutOfSpace):
            Index.open(tmp_path / "shard", ONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    driver = Driver(tmp_path / "shard", ONE)
    driver.apply(upsert(range(3), vectors(3)))
    driver.reopen()
    assert driver.index.points_count == 3
    driver.index.close()


def test_a_long_read_does_not_hold_up_the_others_when_the_store_is_to_be_exchanged(one):
    store = one.index.store
    began, may_end = threading.Event(), threading.Event()

    def read_long() -> None:
        with store.reading():
            began.set()
            may_end.wait()

    long_read = threading.Thread(target=read_long)
    exchange = threading.Thread(target=lambda: store.exchange(lambda: None))
    long_read.start()
    began.wait()
    exchange.start()
    try:
        while not store._paused:
            pass
        with store.reading():
            assert long_read.is_alive()
    finally:
        may_end.set()
        long_read.join()
        exchange.join()


def test_searches_go_on_while_the_store_is_exchanged(one):
    left = churned(one)
    stop, faults, searched = threading.Event(), [], []

    def search() -> None:
        try:
            while not stop.is_set():
                searched.append(nearest(one.index, left[3], 1, filter=filtered("n", 1), with_payload=ALL_PAYLOAD)[0])
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        compaction.compact(one.index.store)
        seen = len(searched)
        while len(searched) < seen + 5 and not faults:
            stop.wait(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert set(searched) == {exact(left, list(range(500)), left[3], 1)[0]}


def filtered(field: str, value: int) -> Filter:
    return Filter(must=(FieldCondition(parse_path(field), MatchValue(value)),))


def test_a_filter_restricts_search_scroll_and_count(one):
    values = vectors(500)
    one.apply(upsert(range(500), values, [{"n": n % 5} for n in range(500)]))
    chosen = [n for n in range(500) if n % 5 == 2]
    assert nearest(one.index, values[0], filter=filtered("n", 2)) == exact(values[chosen], chosen, values[0])
    assert ids_of(reading.scroll(one.index, ScrollRequest(filter=filtered("n", 2), limit=4))) == chosen[:5]
    assert reading.count(one.index, CountRequest(filtered("n", 2))) == 100
    assert reading.count(one.index, CountRequest(filtered("n", 9))) == 0


@pytest.mark.parametrize("file", ["vectors.bin", "links.bin", "codes.bin", "points.bin", "op_nums.bin", "segment.json"])
def test_a_flipped_byte_in_a_sealed_segment_is_detected_and_named(one, file):
    one.apply(upsert(range(1000), vectors(1000)))
    one.build()
    folder = one.index.spaces[0].parts[0].segment.directory
    one.index.close()
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / file).write_bytes(content)
    with pytest.raises(Corruption, match=file.replace(".", r"\.")):
        Index.open(one.path, ONE)
    content[len(content) // 2] ^= 4
    (folder / file).write_bytes(content)
    one.index = Index.open(one.path, ONE)


def test_a_flipped_byte_in_a_growing_segment_is_detected_and_named(one):
    one.apply(upsert(range(100), vectors(100)))
    file = one.index.spaces[0].parts[0].segment.directory / "vectors.bin"
    one.index.close()
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    file.write_bytes(content)
    with pytest.raises(Corruption, match="segments/1 is damaged"):
        Index.open(one.path, ONE)
    content[100] ^= 4
    file.write_bytes(content)
    one.index = Index.open(one.path, ONE)


def test_a_flipped_byte_in_the_manifest_is_detected_and_named(one):
    one.apply(upsert(range(3), vectors(3)))
    one.index.close()
    file = one.path / "store" / "data.mdb"
    sound = file.read_bytes()
    damaged = bytearray(sound)
    at = -1
    while (at := sound.find(b'"next_id"', at + 1)) >= 0:
        damaged[at] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(Corruption, match=r"data\.mdb is damaged: the checksum of its manifest"):
        Index.open(one.path, ONE)
    file.write_bytes(sound)
    one.index = Index.open(one.path, ONE)


def read_elsewhere(path: Path, orders, answers) -> None:
    index = Index.open(path, ONE, read_only=True)
    while (vector := orders.get()) is not None:
        index.refresh()
        answers.put(
            (nearest(index, vector, limit=3), index.points_count, reading.count(index, CountRequest(filtered("n", 1))))
        )
    index.close()


def test_a_second_process_sees_every_write_that_was_answered(one):
    values = vectors(1200)
    one.apply(upsert([0], values[:1], [{"n": 1}]))
    context = multiprocessing.get_context("spawn")
    orders, answers = context.Queue(), context.Queue()
    reader = context.Process(target=read_elsewhere, args=(one.path, orders, answers))
    reader.start()
    try:
        for step in range(1, 12):
            first, last = 100 * step, 100 * (step + 1)
            one.apply(upsert(range(first, last), values[first:last], [{"n": 1}] * 100))
            if step % 4 == 0:
                one.build()
                compaction.compact(one.index.store)
            orders.put(values[last - 1])
            found, count, filtered_count = answers.get(timeout=60)
            ids = [0, *range(100, last)]
            assert found[0] == exact(values[ids], ids, values[last - 1], 1)[0]
            assert count == filtered_count == 100 * step + 1
            one.apply(Delete([key_of(last - 1)]), upsert([last - 1], values[last - 1 : last], [{"n": 1}]))
    finally:
        orders.put(None)
        reader.join()
    assert reader.exitcode == 0

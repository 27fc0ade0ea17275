"""Files that were damaged while the node was down: the fault is named with its way out, and the others are served."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from qnode.errors import Corruption, QnodeError
from qnode.index.vectors import warm_up
from qnode.models.collection import CollectionConfig
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, ALL_VECTORS, RetrieveRequest
from qnode.models.write import UpsertRequest
from qnode.raft import StandaloneLog
from qnode.shards import Collections, CollectionsSettings
from tests.support.node import Node

DIM = 64
POINTS = 700
SETTINGS = {"vectors": {"size": DIM, "distance": "Dot"}, "optimizers_config": {"indexing_threshold": 100}}


def upsert(ids: range, version: int = 0) -> UpsertRequest:
    values = np.array([np.full(DIM, i + version / 8) for i in ids], np.float32)
    column = VectorColumn(np.arange(len(ids), dtype=np.int32), values)
    payloads = [orjson.dumps({"version": version}) for _ in ids]
    return UpsertRequest([key_of(i) for i in ids], payloads, {"": column})


async def serving(storage: Path, act: Callable[[Collections], Any]) -> Any:
    """Open the storage in this process, act on it, close it."""
    (storage / "raft").mkdir(parents=True, exist_ok=True)
    topology = StandaloneLog(storage / "raft")
    collections = Collections(CollectionsSettings(storage / "collections", build_threads=1), topology)
    try:
        await collections.open()
        return await act(collections)
    finally:
        await collections.close()
        topology.close()


def run(storage: Path, act: Callable[[Collections], Any]) -> Any:
    return asyncio.run(serving(storage, act))


async def found(collections: Collections, name: str, ids: range) -> dict[int, tuple[int, float]]:
    """Version and first component of points that must be whole."""
    request = RetrieveRequest(tuple(key_of(i) for i in ids), ALL_PAYLOAD, ALL_VECTORS)
    shown = {}
    for point in await collections.get(name).retrieve(request):
        assert point.payload is not None
        assert point.vectors is not None
        vector = point.vectors[""]
        assert (vector == vector[0]).all()
        shown[int.from_bytes(point.key[1:], "big")] = orjson.loads(point.payload)["version"], float(vector[0])
    return shown


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a node that was stopped: "good", and "bad" with a sealed and a growing segment."""
    storage = tmp_path_factory.mktemp("stopped") / "storage"

    async def fill(collections: Collections) -> None:
        for name in ("good", "bad"):
            await collections.create(name, CollectionConfig.from_request(SETTINGS))
        await collections.get("good").write(upsert(range(10)), wait=True)
        bad = collections.get("bad")
        await bad.write(upsert(range(POINTS)), wait=True)
        while bad.local_info().indexed_vectors_count < POINTS:  # noqa: ASYNC110 - nothing tells when a build is done
            await asyncio.sleep(0.02)
        await bad.write(upsert(range(POINTS, POINTS + 10)), wait=True)

    run(storage, fill)
    return storage


def bad_shard(storage: Path) -> Path:
    """The folder of the only shard of "bad": the second collection that was made."""
    return sorted(storage.glob("collections/*/0"))[1]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def flip_in_store(path: Path, needle: bytes) -> None:
    """Flip a byte of a value wherever it stands in an LMDB file, old copies included."""
    content = path.read_bytes()
    at = content.find(needle)
    assert at >= 0
    while at >= 0:
        flip(path, at + len(needle) - 2)
        at = content.find(needle, at + 1)


def only(folder: Path, pattern: str) -> Path:
    """The one file of this name."""
    (path,) = folder.glob(pattern)
    return path


SEGMENT_FILES = ["vectors.bin", "points.bin", "op_nums.bin", "codes.bin", "links.bin", "first.bin", "segment.json"]


def damages() -> dict[str, tuple[Callable[[Path], object], str]]:
    """What is done to the shard of "bad", and which file must be named."""

    def sealed(name: str) -> Callable[[Path], object]:
        def damage(shard: Path) -> None:
            path = only(shard, "segments/[0-9]*/links.bin").with_name(name)
            flip(path, path.stat().st_size // 2)

        return damage

    def growing(name: str) -> Callable[[Path], object]:
        return lambda shard: flip(only(shard, "segments/[0-9]*/entries.bin").with_name(name), 40)

    return {
        **{f"sealed {name}": (sealed(name), name) for name in SEGMENT_FILES},
        "growing vectors": (growing("vectors.bin"), "segments/"),
        "growing entries": (growing("entries.bin"), "segments/"),
        "missing vectors": (lambda shard: only(shard, "segments/[0-9]*/entries.bin").unlink(), "entries.bin"),
        "missing segment": (
            lambda shard: shutil.rmtree(only(shard, "segments/[0-9]*/links.bin").parent),
            "segments/",
        ),
        "log record": (lambda shard: flip(only(shard, "wal/*.log"), 5000), ".log"),
        "log header": (lambda shard: flip(only(shard, "wal/*.log"), 20), ".log"),
        "manifest": (lambda shard: flip_in_store(shard / "store/data.mdb", b'"next_id"'), "data.mdb"),
        "missing store": (lambda shard: shutil.rmtree(shard / "store"), "data.mdb"),
        "store cut off": (lambda shard: cut_to(shard / "store/data.mdb", 0.5), "data.mdb"),
        "store cut off at its begin": (lambda shard: cut_to(shard / "store/data.mdb", 0.1), "data.mdb"),
        "store header": (lambda shard: (flip(shard / "store/data.mdb", 16), flip(shard / "store/data.mdb", 4112)), "data.mdb"),
    }  # fmt: skip


def cut_to(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share) // 4096 * 4096)


@pytest.mark.parametrize("what", damages())
def test_damage_is_named_with_the_way_out_and_the_others_are_served(stopped: Path, tmp_path: Path, what: str) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stopped, storage)
    damage, named = damages()[what]
    damage(bad_shard(storage))

    async def look(collections: Collections) -> QnodeError:
        assert len(await found(collections, "good", range(10))) == 10
        assert not collections.all_served
        with pytest.raises(Corruption) as caught:
            collections.get("bad")
        return caught.value

    error = run(storage, look)
    assert named in str(error)
    assert str(bad_shard(storage)) in str(error)
    assert any(words in str(error) for words in ("snapshot", "copy", "replica")), str(error)


def test_a_damaged_topology_keeps_the_node_from_starting_and_is_named(stopped: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stopped, storage)
    flip_in_store(storage / "raft/data.mdb", b'"collections"')
    node = Node(tmp_path)
    assert node.launch().wait(30) == 1
    node.client.close()
    last = node.log.read_text().splitlines()[-1]
    assert f"{storage}/raft/data.mdb is damaged" in last
    assert "backup" in last


def test_a_node_says_over_http_what_is_damaged_and_serves_the_rest(stopped: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stopped, storage)
    shard = bad_shard(storage)
    path = only(shard, "segments/[0-9]*/links.bin")
    flip(path, 100)
    with Node(tmp_path) as node:
        assert node.call("GET", "/readyz").status_code == 503
        assert node.call("GET", "/livez").status_code == 200
        for method, address, body in (
            ("GET", "/collections/bad", None),
            ("POST", "/collections/bad/points/query", {"query": [0.0] * DIM}),
            ("PUT", "/collections/bad/points", {"points": [{"id": 1, "vector": [0.0] * DIM}]}),
        ):
            answer = node.call(method, address, body)
            assert answer.status_code == 500
            assert str(path) in answer.json()["status"]["error"]
        assert node.count("good") == 10
        node.create("new", 2)
        node.upsert("new", [{"id": 1, "vector": [1, 2]}])
        node.ask("DELETE", "/collections/bad")
        node.wait_until_ready()
        node.wait_for(lambda: not shard.parent.exists())


@pytest.mark.parametrize("applied", [True, False])
def test_a_log_cut_at_any_byte_of_its_last_record_loses_that_record_at_most(tmp_path: Path, applied: bool) -> None:
    """The last record is cut; `applied`: the store had it already, as after an orderly end."""
    warm_up()  # `all_served` counts it
    storage, before = tmp_path / "storage", tmp_path / "before"

    async def begin(collections: Collections) -> None:
        await collections.create("c", CollectionConfig.from_request({"vectors": {"size": DIM, "distance": "Dot"}}))
        await collections.get("c").write(upsert(range(3)), wait=True)

    async def overwrite(collections: Collections) -> None:
        await collections.get("c").write(upsert(range(1)), wait=True)
        await collections.get("c").write(upsert(range(1), version=1), wait=True)

    run(storage, begin)
    shutil.copytree(storage, before)
    log = only(storage, "collections/*/0/wal/*.log")
    run(storage, overwrite)
    content = log.read_bytes()
    last_record = content.rindex(b"upsert") - 40
    if not applied:
        shutil.rmtree(storage)
        shutil.copytree(before, storage)

    async def check(collections: Collections) -> None:
        assert collections.all_served
        points = await found(collections, "c", range(3))
        assert {i: points[i] for i in (1, 2)} == {1: (0, 1.0), 2: (0, 2.0)}
        assert points[0] == (1, 0.125) if applied else points[0] in ((0, 0.0), (1, 0.125))
        await collections.get("c").write(upsert(range(1, 2), version=2), wait=True)

    async def check_again(collections: Collections) -> None:
        assert (await found(collections, "c", range(1, 2)))[1] == (2, 1.25)

    kept = tmp_path / "kept"
    shutil.copytree(storage, kept)
    cuts = [*range(last_record, last_record + 60), *range(last_record + 60, len(content), 13), len(content)]
    for cut in cuts:
        shutil.rmtree(storage)
        shutil.copytree(kept, storage)
        log.write_bytes(content[:cut])
        run(storage, check)
        run(storage, check_again)

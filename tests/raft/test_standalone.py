import asyncio
from pathlib import Path

import lmdb
import orjson
import pytest
import xxhash

from qnode.errors import AlreadyExists, BadRequest, Corruption, NotFound
from qnode.models.topology import ReplicaState
from qnode.models.topology_commands import CreateCollection, DropAlias, RenameAlias, SetAlias
from qnode.raft import Reason, StandaloneLog

HERE = ((0,),)


def test_a_committed_command_is_there_after_reopening(tmp_path: Path):
    log = StandaloneLog(tmp_path)
    assert asyncio.run(log.propose(CreateCollection("a", {"x": 1}, HERE))) is None
    rejected = asyncio.run(log.propose(CreateCollection("a", {"x": 2}, HERE)))
    assert rejected is not None
    assert rejected.reason is Reason.EXISTS
    log.close()
    again = StandaloneLog(tmp_path)
    assert again.current.collections["a"].config == {"x": 1}
    again.close()


def test_a_flipped_byte_is_detected_and_named(tmp_path: Path):
    log = StandaloneLog(tmp_path)
    asyncio.run(log.propose(CreateCollection("needle", {"x": 1}, HERE)))
    log.close()
    file = tmp_path / "data.mdb"
    content = bytearray(file.read_bytes())
    places = [at for at in range(len(content)) if content[at : at + 6] == b"needle"]
    assert places
    for at in places:
        content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(Corruption, match=r"data\.mdb is damaged"):
        StandaloneLog(tmp_path)


def test_commands_at_once_are_applied_one_after_the_other(tmp_path: Path):
    log = StandaloneLog(tmp_path)

    async def propose_many():
        proposals = [log.propose(CreateCollection(f"c{at % 10}", {"at": at}, HERE)) for at in range(30)]
        return await asyncio.gather(*proposals)

    answers = asyncio.run(propose_many())
    assert answers[:10] == [None] * 10
    assert [answer and answer.reason for answer in answers[10:]] == [Reason.EXISTS] * 20
    assert log.current.index == 10
    log.close()
    assert StandaloneLog(tmp_path).current == log.current


def test_a_command_whose_caller_is_cancelled_is_carried_out_or_not_but_never_half(tmp_path: Path):
    log = StandaloneLog(tmp_path)

    async def cancelled():
        caller = asyncio.create_task(log.propose(CreateCollection("a", {}, HERE)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        return await log.create("a", {})

    assert not asyncio.run(cancelled())
    log.close()
    assert list(StandaloneLog(tmp_path).current.collections) == ["a"]


def test_a_storage_of_the_first_version_opens_with_the_shards_that_it_has(tmp_path: Path):
    value = orjson.dumps(
        {
            "v": 1,
            "index": 7,
            "collections": {
                "old": {"folder": "00000003", "config": {"params": {"shard_number": 2}}, "fields": {"f": "keyword"}}
            },
        }
    )
    with lmdb.open(str(tmp_path), lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"topology", xxhash.xxh3_64_digest(value) + value)
    log = StandaloneLog(tmp_path)
    entry = log.current.collections["old"]
    assert (entry.folder, entry.fields) == ("00000003", {"f": "keyword"})
    assert [(number, shard.primary, shard.replicas) for number, shard in entry.shards.items()] == [
        (0, 0, {0: ReplicaState.ACTIVE}),
        (1, 0, {0: ReplicaState.ACTIVE}),
    ]
    assert asyncio.run(log.create("new", {}))
    assert log.current.collections["new"].folder == "00000008"
    log.close()


def test_aliases_change_all_or_none_and_tell_the_client_why(tmp_path: Path):
    log = StandaloneLog(tmp_path)

    def change(*changes: SetAlias | RenameAlias | DropAlias) -> None:
        asyncio.run(log.change_aliases(changes))

    assert asyncio.run(log.create("a", {}))
    change(SetAlias("x", "a"), RenameAlias("x", "y"), DropAlias("no such"))
    assert log.current.aliases == {"y": "a"}
    with pytest.raises(NotFound, match="Alias no such does not exists!"):
        change(DropAlias("y"), RenameAlias("no such", "z"))
    with pytest.raises(NotFound, match="Collection `b` doesn't exist!"):
        change(SetAlias("z", "b"))
    with pytest.raises(AlreadyExists, match="Collection `a` already exists!"):
        change(SetAlias("a", "a"))
    assert log.current.aliases == {"y": "a"}
    with pytest.raises(BadRequest, match="Alias with the same name already exists"):
        asyncio.run(log.create("y", {}))
    log.close()


def test_what_is_refused_for_an_expected_reason_is_told_as_false(tmp_path: Path):
    log = StandaloneLog(tmp_path)
    assert asyncio.run(log.create("a", {}))
    assert not asyncio.run(log.create("a", {}))
    assert not asyncio.run(log.update("a", {"other": 1}, {}))
    assert not asyncio.run(log.delete("b"))
    assert not asyncio.run(log.set_field("b", "f", "keyword"))
    assert not asyncio.run(log.set_field("b", "f", None))
    assert asyncio.run(log.delete("a"))
    log.close()

import asyncio
from pathlib import Path

import pytest

from qnode.errors import Corruption
from qnode.raft import CreateCollection, Rejected, StandaloneLog


def test_a_committed_command_is_there_after_reopening(tmp_path: Path):
    log = StandaloneLog(tmp_path)
    assert asyncio.run(log.propose(CreateCollection("a", {"x": 1}))) is None
    assert asyncio.run(log.propose(CreateCollection("a", {"x": 2}))) is Rejected.EXISTS
    log.close()
    again = StandaloneLog(tmp_path)
    assert again.current.collections["a"].config == {"x": 1}
    again.close()


def test_a_flipped_byte_is_detected_and_named(tmp_path: Path):
    log = StandaloneLog(tmp_path)
    asyncio.run(log.propose(CreateCollection("needle", {"x": 1})))
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
        proposals = [log.propose(CreateCollection(f"c{at % 10}", {"at": at})) for at in range(30)]
        return await asyncio.gather(*proposals)

    answers = asyncio.run(propose_many())
    assert answers == [None] * 10 + [Rejected.EXISTS] * 20
    assert log.current.index == 10
    log.close()
    assert StandaloneLog(tmp_path).current == log.current


def test_a_command_whose_caller_is_cancelled_is_carried_out_or_not_but_never_half(tmp_path: Path):
    log = StandaloneLog(tmp_path)

    async def cancelled():
        caller = asyncio.create_task(log.propose(CreateCollection("a", {})))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        return await log.propose(CreateCollection("a", {}))

    assert asyncio.run(cancelled()) is Rejected.EXISTS
    log.close()
    assert list(StandaloneLog(tmp_path).current.collections) == ["a"]

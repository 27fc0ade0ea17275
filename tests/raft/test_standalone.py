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

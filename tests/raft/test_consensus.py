"""The facade on a real event loop, with real journals; links hand messages over at the loop's next turn."""

import asyncio
import threading
from pathlib import Path

import pytest

from qnode.errors import BadRequest, Corruption
from qnode.raft.consensus import Consensus, ConsensusSettings, NoLeader, OutcomeUnknown
from qnode.raft.journal import Changes
from qnode.raft.library import Timing

FAST = ConsensusSettings(
    Timing(heartbeat=0.03, election_min=0.15, election_max=0.3, leader_fallback=0.3, resend=0.3), 0.01, 4
)


class Words:
    """A machine: all words so far; it cannot take two that are equal."""

    def __init__(self) -> None:
        self.words: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        if command == b"raise":
            raise RuntimeError("the machine is broken")
        if command in self.words:
            return b"refused"
        self.words.append(command)
        return b"taken"

    def snapshot(self) -> bytes:
        return b"\n".join(self.words)

    def restore(self, state: bytes) -> None:
        self.words = state.split(b"\n") if state else []


class Net:
    """Links between all that are open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[int, Consensus] = {}
        self.words: dict[int, Words] = {}
        self.ended: dict[int, asyncio.Future[BaseException | None]] = {}

    def start(self, peer: int, found: bool = False) -> Consensus:
        self.words[peer] = Words()
        self.ended[peer] = asyncio.get_running_loop().create_future()
        consensus = Consensus(
            peer, self.folder / str(peer), Links(self, peer), self.words[peer], self.ended[peer].set_result,
            found=found, settings=FAST,
        )  # fmt: skip
        for other, its in self.open.items():
            consensus.connected(other)
            its.connected(peer)
        self.open[peer] = consensus
        return consensus

    def stop(self, peer: int) -> None:
        self.open.pop(peer).close()
        for its in self.open.values():
            its.disconnected(peer)

    async def grow(self, count: int) -> None:
        for peer in range(1, count + 1):
            consensus = self.start(peer, found=peer == 1)
            if peer > 1:
                await self.open[1].add_peer(peer, consensus.incarnation, 20.0)

    async def close(self) -> None:
        every = list(self.open.values())
        for peer in list(self.open):
            self.stop(peer)
        await asyncio.gather(*(each.wait_closed() for each in every))


class Links:
    def __init__(self, net: Net, own: int) -> None:
        self.net, self.own = net, own

    def send(self, peer: int, message: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.arrive, peer, message)

    def arrive(self, peer: int, message: bytes) -> None:
        if peer in self.net.open and self.own in self.net.open:
            self.net.open[peer].received(self.own, message)


def test_every_peer_takes_commands_and_all_apply_them(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(3)
        for peer in (1, 2, 3):
            assert await net.open[peer].propose(b"from %d" % peer, 20.0) == b"taken"
        assert await net.open[2].propose(b"from 1", 20.0) == b"refused"
        assert net.words[2].words == [b"from 1", b"from 2", b"from 3"]
        assert net.open[2].status().voters == (1, 2, 3)
        await net.close()

    asyncio.run(scenario())


def test_all_peers_restarted_have_what_was_acknowledged(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(3)
        for number in range(12):
            await net.open[1 + number % 3].propose(b"%d" % number, 20.0)
        acknowledged = list(net.words[1].words)
        await net.close()
        for peer in (2, 3, 1):
            net.start(peer)
        assert await net.open[2].propose(b"last", 20.0) == b"taken"
        assert net.words[2].words == [*acknowledged, b"last"]
        await net.close()

    asyncio.run(scenario())


def test_many_proposals_at_once_are_all_answered(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(2)
        answers = await asyncio.gather(*(net.open[2].propose(b"%d" % number, 20.0) for number in range(200)))
        assert set(answers) <= {b"taken", None}
        assert len(net.words[2].words) == 200
        await net.close()

    asyncio.run(scenario())


def test_without_a_leader_a_proposal_ends_in_qdrants_words(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        net.start(5)
        with pytest.raises(
            NoLeader,
            match=r"^Service internal error: Failed to propose operation: leader is not established within 0.2s$",
        ):
            await net.open[5].propose(b"x", 0.2)
        await net.close()

    asyncio.run(scenario())


def test_without_a_majority_a_proposal_ends_as_unknown(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(2)
        leader = next(peer for peer in (1, 2) if net.open[peer].status().role == "Leader")
        net.stop(3 - leader)
        with pytest.raises(OutcomeUnknown, match=r"commit failed\. Timeout set at: 0\.2 seconds$"):
            await net.open[leader].propose(b"x", 0.2)
        await net.close()

    asyncio.run(scenario())


def test_a_machine_that_raises_stops_the_peer_and_tells_everybody_who_waits(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(1)
        with pytest.raises(OutcomeUnknown, match="the machine is broken"):
            await net.open[1].propose(b"raise", 20.0)
        assert str(await net.ended[1]) == "the machine is broken"
        with pytest.raises(NoLeader, match="the machine is broken"):
            await net.open[1].propose(b"x", 1.0)
        await net.close()

    asyncio.run(scenario())


def test_a_removed_peer_stops_and_says_why(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(3)
        await net.open[1].remove_peer(3, 20.0)
        assert await net.ended[3] is None
        assert "removed" in net.open[3].stopped
        with pytest.raises(BadRequest, match="Peer 3 does not exist"):
            await net.open[1].remove_peer(3, 5.0)
        await net.close()

    asyncio.run(scenario())


def test_a_damaged_journal_is_named_at_start(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(1)
        await net.open[1].propose(b"needle", 20.0)
        await net.close()
        file = tmp_path / "1" / "data.mdb"
        file.write_bytes(file.read_bytes().replace(b"needle", b"noodle"))
        with pytest.raises(Corruption, match=r"data\.mdb is damaged"):
            net.start(1)

    asyncio.run(scenario())


class HungDisk:
    """Lets the commits of one journal hang until `freed`."""

    def __init__(self, consensus: Consensus) -> None:
        self.freed, self.reached = threading.Event(), threading.Event()
        store = consensus._store
        real = store.commit

        def commit(changes: Changes) -> None:
            self.reached.set()
            assert self.freed.wait(30)
            real(changes)

        store.commit = commit  # type: ignore[method-assign]


def test_while_a_leaders_disk_hangs_its_loop_goes_on_and_others_lead(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(3)
        leader = next(peer for peer in (1, 2, 3) if net.open[peer].is_leader)
        disk = HungDisk(net.open[leader])
        with pytest.raises((OutcomeUnknown, NoLeader)):
            await net.open[leader].propose(b"into the hung disk", 0.2)
        assert disk.reached.is_set()
        others = [peer for peer in (1, 2, 3) if peer != leader]
        assert await net.open[others[0]].propose(b"through another leader", 20.0) == b"taken"
        assert any(net.open[peer].is_leader for peer in others)
        disk.freed.set()
        assert await net.open[leader].propose(b"well again", 20.0) == b"taken"
        known = len(net.words[leader].words)
        assert await net.open[others[0]].propose(b"seen by the others", 20.0) == b"taken"
        assert net.words[others[0]].words[:known] == net.words[leader].words[:known]
        await net.close()

    asyncio.run(scenario())


def test_a_peer_that_is_closed_during_a_commit_leaves_its_journal_in_order(tmp_path: Path):
    async def scenario() -> None:
        net = Net(tmp_path)
        await net.grow(1)
        await net.open[1].propose(b"first", 20.0)
        disk = HungDisk(net.open[1])
        proposing = asyncio.create_task(net.open[1].propose(b"late", 20.0))
        await asyncio.to_thread(disk.reached.wait, 20)
        closing = asyncio.create_task(net.close())
        with pytest.raises(OutcomeUnknown):
            await proposing
        assert not closing.done()
        disk.freed.set()
        await closing
        net.start(1)
        assert await net.open[1].propose(b"last", 20.0) == b"taken"
        assert net.words[1].words == [b"first", b"late", b"last"]
        await net.close()

    asyncio.run(scenario())

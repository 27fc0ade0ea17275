"""When a node is ready, from what it sees and what others tell it."""

import asyncio

from qnode.cluster.readiness import Readiness
from qnode.cluster.status import PeerStatus
from qnode.errors import Unavailable
from qnode.models.topology import Peer, ReplicaState, Topology
from qnode.models.topology_commands import AddPeer, CreateCollection
from qnode.raft.topology import apply_command


class Scene:
    """Peer 1 among others, of which some answer."""

    def __init__(self, *commits: int | None) -> None:
        self.commits = dict(enumerate(commits, start=2))
        self.topology = Topology()
        self.applied = 0
        self.started = asyncio.Event()
        self.readiness = Readiness(1, lambda: self.topology, lambda: self.applied, self.ask)
        for peer in (1, *self.commits):
            self.topology, _ = apply_command(self.topology, AddPeer(peer, f"http://n{peer}", "word"))

    async def ask(self, peer: int, timeout_seconds: float) -> PeerStatus:
        commit = self.commits[peer]
        if commit is None:
            raise Unavailable("away")
        return PeerStatus("1", "Follower", True, 1, commit, commit, 0, "working", True)

    def put(self, state: ReplicaState) -> None:
        topology, _ = apply_command(self.topology, CreateCollection("c", {}, ((2, 1),)))
        shard = topology.collections["c"].shards[0]
        object.__setattr__(shard, "replicas", {2: ReplicaState.ACTIVE, 1: state})
        self.topology = topology

    async def until(self, reason: str | None) -> None:
        async with asyncio.timeout(10):
            while self.readiness.reason != reason:  # noqa: ASYNC110 - readiness itself looks from time to time
                await asyncio.sleep(0.01)


def test_a_node_alone_is_ready_when_it_has_started() -> None:
    async def claim() -> None:
        scene = Scene()
        assert scene.readiness.reason == "the node has not told its cluster of its start yet"
        scene.started.set()
        await scene.readiness.run(scene.started)
        assert scene.readiness.reason is None

    asyncio.run(claim())


def test_a_node_waits_for_half_of_the_others_and_for_the_highest_commit_among_them() -> None:
    async def claim() -> None:
        scene = Scene(7, None, None, 5)
        scene.commits[5] = None
        scene.started.set()
        running = asyncio.create_task(scene.readiness.run(scene.started))
        await scene.until("only 1 of 4 other peers answer")
        scene.commits[5] = 9
        await scene.until("the node has applied 0 of 9 changes of the cluster")
        scene.applied = 9
        await running
        assert scene.readiness.reason is None

    asyncio.run(claim())


def test_a_replica_that_was_behind_at_the_start_is_waited_for_and_a_later_one_is_not() -> None:
    async def claim() -> None:
        scene = Scene(0)
        scene.put(ReplicaState.DEAD)
        scene.started.set()
        running = asyncio.create_task(scene.readiness.run(scene.started))
        await scene.until("shard 0 of c is being recovered on this node")
        scene.topology, _ = apply_command(scene.topology, CreateCollection("later", {}, ((2, 1),)))
        shard = scene.topology.collections["c"].shards[0]
        object.__setattr__(shard, "replicas", {2: ReplicaState.ACTIVE, 1: ReplicaState.ACTIVE})
        await running
        assert scene.readiness.reason is None
        assert isinstance(scene.topology.peers[1], Peer)

    asyncio.run(claim())

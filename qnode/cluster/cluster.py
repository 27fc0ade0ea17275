"""One node as a member of a cluster.

    cluster = Cluster(settings, storage / "raft")      # id, journal and links are there; nobody is talked to yet
    …                                                  # others add their topics to cluster.channel, subscribe to cluster.log
    await cluster.start(replicas)                      # the node is a member then, or the start has failed
    await cluster.started.wait()                       # from now on its shards may act by what the topology says
    await cluster.leave()                              # others do what this node did, as far as they can

A new node founds a cluster or joins one; one that is a member comes back, whatever `bootstrap` says. It knows who it is by
two things in its storage: its id, and its journal with the incarnation. Without both it is a new node.

**A process acts only after its start was applied here** (`PeerStarted`, which raises the epochs of what it is primary of):
before, it cannot know what it was told in its former life. Until `started` is set, shards may be opened and read, and get no view.

Left out: who leads (`raft`), what the leader does (`supervision`), what shards say to each other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from qnode import __version__
from qnode.channel import Channel
from qnode.cluster.ailments import Ailments
from qnode.cluster.departure import Departure
from qnode.cluster.identity import JOURNAL, is_member, peer_id_of
from qnode.cluster.joining import Introduction, join, members_to_bytes
from qnode.cluster.leases import Leases
from qnode.cluster.liveness import Liveness
from qnode.cluster.readiness import Readiness
from qnode.cluster.reinit import reinitialise
from qnode.cluster.replica_states import ReplicaStates
from qnode.cluster.settings import ClusterSettings
from qnode.cluster.shards import Shards
from qnode.cluster.status import ClusterStatus, PeerStatus, SendFailures
from qnode.cluster.supervision import Supervision
from qnode.errors import BadInput, BadRequest, CannotJoin, CannotStart, QnodeError, Unavailable
from qnode.models.topology import ShardingMethod, Topology
from qnode.models.topology_commands import Command, PeerStarted, Placement, RemovePeer
from qnode.raft import PROPOSAL_TIMEOUT_SECONDS, apply_command
from qnode.raft.cluster_log import ClusterLog
from qnode.shards.freshness import ReadLease
from qnode.shards.news import News
from qnode.shards.placement import place
from qnode.shards.topics import Topic

_JOIN_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class _RaftLinks:
    """Links as consensus sees them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def send(self, peer: int, message: bytes) -> None:
        self._channel.send(peer, Topic.RAFT, message)


class Cluster:
    """Made in a running event loop, over a storage folder that this process holds."""

    def __init__(self, settings: ClusterSettings, folder: Path, *, standalone: Topology | None = None) -> None:
        """`standalone`: what the node held while it ran alone; the first peer of a cluster keeps it."""
        if (
            not is_member(folder)
            and settings.bootstrap is not None
            and standalone is not None
            and standalone.collections
        ):
            raise CannotStart("this storage holds collections of a node that ran alone: start it as a first peer")
        self._settings = settings
        self.me = peer_id_of(folder, settings.peer_id)
        if settings.reinit:
            if not is_member(folder) or settings.bootstrap is not None:
                raise CannotStart("--reinit is for a member of a cluster, and goes without --bootstrap")
            reinitialise(folder / JOURNAL, self.me)
        self.channel = Channel(self.me, settings.credentials, limits=settings.limits)
        self._news = News()
        self._liveness = Liveness(self.channel, self._news.tell)
        self._failures = SendFailures()
        self._stopped_with: BaseException | None = None
        is_first = settings.bootstrap is None
        self.log = ClusterLog(
            folder / JOURNAL,
            self.me,
            _RaftLinks(self.channel),
            self._place,
            self._on_stopped,
            found=is_first,
            initial=standalone if is_first else None,
            settings=settings.consensus,
        )
        self._consensus = self.log.consensus
        self._states = ReplicaStates(self.log)
        self._life = secrets.token_hex(8)
        self._addresses: dict[int, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._supervision: Supervision | None = None
        self._departure: Departure | None = None
        self.started = asyncio.Event()
        """Set when the topology shows that this process has started."""
        own_ms = settings.consensus.lease_ms
        self._leases = Leases(self._consensus.lease, own_ms, self.started.is_set, lambda: self.topology)
        self.read_lease = ReadLease(self._leases.hold, self._leases.wait_seconds)
        """Whether what is applied here counts for all there is, and how long that may go on on any peer."""
        self._readiness = Readiness(
            self.me, lambda: self.topology, lambda: self._consensus.status().applied, self.ask_status
        )
        self.log.subscribe(self._topology_changed)
        self.channel.on_message(Topic.RAFT, self._consensus.received)
        self.channel.on_call(Topic.JOIN, self._answer_join)
        self.channel.on_call(Topic.STATUS, self._answer_status)
        self.channel.watch(self._connected, self._disconnected)

    async def start(self, shards: Shards) -> None:
        """Listen, and be a member: raise CannotJoin if the cluster refuses this node, or CannotStart."""
        settings = self._settings
        self._supervision = Supervision(
            self.log, self.channel, self._liveness, shards, settings.failover_timeout_seconds, settings.reconcile
        )
        ailments = Ailments(
            self.channel, shards, lambda: self.leader, self._supervision.reported, settings.disk_timeout_seconds
        )
        await self.channel.listen(settings.host, settings.port)
        if self.me not in self.topology.peers:
            if self._consensus.status().voters == (self.me,):
                await self._found()
            elif self.me in self.topology.removed:
                raise CannotJoin(
                    "this node was removed from its cluster: empty its storage folder, then let it join anew"
                )
            elif settings.bootstrap is None:
                raise CannotStart("this node has begun to join a cluster and is no member yet: set --bootstrap again")
            else:
                await self._join(settings.bootstrap)
        self._follow_addresses()
        self._departure = Departure(self.me, self.log, self._liveness, shards, self._news)
        self._supervision.start()
        self._begin(ailments.run())
        self._begin(self._announce())
        self._begin(self._readiness.run(self.started))

    async def leave(self) -> None:
        """Before this node stops: let others be primary, and lead, in its place. Takes a few seconds at most."""
        if self._departure is not None and self._consensus.stopped is None:
            await self._departure.run()

    def has_left(self, peer: int) -> bool:
        """Tell whether a peer whose link has broken had said that it goes."""
        return self._liveness.is_leaving(peer)

    async def close(self) -> None:
        """Take part no more."""
        if self._supervision is not None:
            await self._supervision.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._states.close()
        await self.channel.close()
        self.log.close()
        await self.log.wait_closed()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, which is looked at after each change of the topology and when this node's part ends."""
        await self._news.until(holds, None)

    # what others ask

    @property
    def topology(self) -> Topology:
        return self.log.current

    @property
    def leader(self) -> int | None:
        return self._consensus.status().leader

    @property
    def has_started(self) -> bool:
        return self.started.is_set()

    def connected(self, peer: int) -> bool:
        """Say whether a peer is this one, or has a link to it."""
        return peer == self.me or self.channel.is_connected(peer)

    def reason_not_ready(self) -> str | None:
        """Say why clients should not ask this node yet; None: they may."""
        return "this node is being stopped" if self._liveness.leaves else self._readiness.reason

    def status(self) -> ClusterStatus:
        """Tell what this node knows of the cluster."""
        status, addresses = self._consensus.status(), {peer: entry.uri for peer, entry in self.topology.peers.items()}
        return ClusterStatus(
            peer_id=self.me,
            peers=addresses,
            term=status.term,
            commit=status.commit,
            applied=status.applied,
            pending=status.pending,
            leader=status.leader,
            role=status.role,
            is_voter=status.is_voter,
            stopped=self._consensus.stopped,
            failed=self._stopped_with is not None,
            message_send_failures=self._failures.by_address(addresses),
        )

    async def ask_status(self, peer: int, timeout_seconds: float) -> PeerStatus:
        """Ask a peer what it tells of itself; raise as a call does."""
        if peer == self.me:
            return self._own_status()
        return PeerStatus.from_bytes(await self.channel.call(peer, Topic.STATUS, b"", timeout_seconds))

    async def propose(self, command: Command, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS) -> None:
        """Change the topology; return when it is applied here, raise what a client is told."""
        rejected = await self.log.propose(command, timeout_seconds)
        if rejected is not None:
            raise rejected.error()

    async def remove_peer(
        self, peer: int, *, force: bool = False, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS
    ) -> None:
        """Take a member out for good; with `force` its replicas go too. Raise what a client is told."""
        await self.propose(RemovePeer(peer, force), timeout_seconds)
        try:
            await self._consensus.remove_peer(peer, timeout_seconds)
        except BadRequest:
            _log.debug("peer %d did not vote", peer)
        except QnodeError as error:  # it is no member any more, and whoever leads goes on with it
            _log.info("peer %d is removed, and votes until the leader has seen to it: %s", peer, error)

    @property
    def replica_states(self) -> ReplicaStates:
        """Where this node's primaries ask for the states of their replicas."""
        return self._states

    # getting in

    async def _found(self) -> None:
        """Be the first member of a cluster that consists of this node."""
        try:
            await self.propose(self._introduction().command(), self._settings.bootstrap_timeout_seconds)
        except QnodeError as error:
            raise CannotStart(f"a cluster could not be founded: {error}") from None

    async def _join(self, bootstrap: str) -> None:
        """Be added through a member, and wait until the leader has brought the topology."""
        timeout_seconds = self._settings.bootstrap_timeout_seconds
        members = await join(self.channel, self._introduction(), bootstrap, timeout_seconds)
        if self.me not in members:
            raise CannotJoin(f"the cluster at {bootstrap} does not know this node")
        self._set_addresses(members)
        if not await self._news.until(lambda: self.me in self.topology.peers, timeout_seconds):
            raise CannotStart(
                f"the cluster has added this node, and its leader has not reached it at {self._settings.uri} "
                f"within {timeout_seconds:g} s"
            )

    def _introduction(self) -> Introduction:
        settings = self._settings
        return Introduction(
            self.me, self._consensus.incarnation, settings.uri, settings.name, __version__, settings.zone
        )

    async def _announce(self) -> None:
        """Tell the cluster that this process has started, and then what is new of the node: its address, its version."""
        await self._repeat_until(self._is_started, self._start)
        self.started.set()
        await self._repeat_until(self._is_known, lambda: self._introduction().command())

    async def _repeat_until(self, holds: Callable[[], bool], command: Callable[[], Command]) -> None:
        """Propose until the topology shows the effect; a node that is no member any more waits for ever."""
        pause_seconds = _RETRY_SECONDS
        while not holds():
            await self.until(lambda: self.me in self.topology.peers)
            try:
                await self.propose(command())
            except QnodeError as error:
                _log.warning("This node could not yet tell the cluster of itself: %s", error)
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_RETRY_SECONDS)

    def _start(self) -> Command:
        return PeerStarted(self.me, self._life, self._last_life(), self._settings.consensus.lease_ms)

    def _is_started(self) -> bool:
        return self._last_life() == self._life

    def _last_life(self) -> str:
        entry = self.topology.peers.get(self.me)
        return "" if entry is None else entry.life

    def _is_known(self) -> bool:
        entry, own = self.topology.peers.get(self.me), self._introduction()
        return entry is not None and (entry.uri, entry.name, entry.version, entry.zone) == (
            own.uri,
            own.name,
            own.version,
            own.zone,
        )

    # what peers ask

    async def _answer_join(self, peer: int, payload: bytes) -> bytes:
        introduction = Introduction.from_bytes(payload)
        if introduction.peer != peer:
            raise BadRequest(f"peer {peer} introduces another one")
        if self.me not in self.topology.peers:
            raise Unavailable("this peer is no member of a cluster itself")
        if self.leader is None:  # nobody can decide now, and what is known here may be reason enough
            _, rejected = apply_command(self.topology, introduction.command())
            if rejected is not None:
                raise rejected.error()
        await self.propose(introduction.command(), _JOIN_SECONDS)
        return members_to_bytes(self.topology)

    async def _answer_status(self, peer: int, payload: bytes) -> bytes:
        return self._own_status().to_bytes()

    def _own_status(self) -> PeerStatus:
        own = self.status()
        return PeerStatus(
            version=__version__,
            role=own.role,
            is_voter=own.is_voter,
            term=own.term,
            commit=own.commit,
            applied=own.applied,
            pending=own.pending,
            consensus_thread_status=own.consensus_thread_status,
            has_started=self.has_started,
        )

    # following

    def _topology_changed(self) -> None:
        self._leases.look()
        self._follow_addresses()
        self._news.tell()

    def _follow_addresses(self) -> None:
        """Keep links to the members, and to nobody else; one that was removed keeps those that it has."""
        peers = self.topology.peers
        if self.me in peers and self._consensus.stopped is None:
            self._set_addresses({peer: entry.uri for peer, entry in peers.items()})

    def _set_addresses(self, members: Mapping[int, str]) -> None:
        wanted = {peer: uri for peer, uri in members.items() if peer != self.me}
        for peer in self._addresses.keys() - wanted.keys():
            self.channel.remove_peer(peer)
        for peer, uri in wanted.items():
            if self._addresses.get(peer) != uri:
                try:
                    self.channel.set_peer(peer, uri)
                except BadInput as error:
                    _log.error("peer %d cannot be reached: %s", peer, error)
        self._addresses = wanted

    def _connected(self, peer: int) -> None:
        self._failures.connected(peer)
        self._consensus.connected(peer)

    def _disconnected(self, peer: int, reason: str) -> None:
        self._failures.disconnected(peer, reason)
        self._consensus.disconnected(peer)

    def _on_stopped(self, error: BaseException | None) -> None:
        """Leave the others alone; what is stored here can still be looked at."""
        self._stopped_with = error
        _log.error("This node takes part in its cluster no more: %s", self._consensus.stopped)
        self._set_addresses({})
        self._news.tell()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def _place(self, topology: Topology, config: Mapping[str, Any]) -> Placement:
        """Spread a new collection over the members that answer; custom sharding begins without shards."""
        params = config.get("params", {})
        if params.get("sharding_method") == ShardingMethod.CUSTOM:
            return ()
        silent = self._liveness.absent_since(topology)
        return place(
            topology, int(params.get("shard_number") or 1), int(params.get("replication_factor") or 1), silent=silent
        )

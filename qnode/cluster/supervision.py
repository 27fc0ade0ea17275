"""What the leader does for the cluster: members become voters, dead primaries are replaced, replicas are where they should be.

Each duty looks at the topology, names commands and proposes them, one look after the other, woken by every change and by
time. Decisions may be outdated when they are applied: the commands' guards see to that, and to a leader that is none any more.
What was proposed is not proposed again before it has taken effect or some time has passed.

A primary is replaced when there has been no link to its peer for a while, when its peer reports that it is not well, or when it
says twice, being asked, that the shard cannot serve. One that is well and shall be replaced is asked to hand over itself. Chosen is the longest log among the Active replicas that answer; if none does, the shard waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qnode.channel import Channel
from qnode.cluster.liveness import Liveness
from qnode.cluster.replica_states import propose_all
from qnode.cluster.shards import Address, Shards
from qnode.errors import QnodeError
from qnode.models.topology import Shard, Topology
from qnode.models.topology_commands import ChangePrimary, PromotePeer, SingleCommand
from qnode.raft.cluster_log import ClusterLog
from qnode.shards.placement import ReconcileSettings, reconcile
from qnode.shards.replication.failover import LogEnd, choose_primary
from qnode.shards.replication.view import view_of

PROPOSAL_SECONDS: Final = 5.0
ADD_PEER_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 0.25
HEALTH_SECONDS: Final = 5.0
ROUNDS_UNTIL_UNWELL: Final = 2
HAND_OVER_SECONDS: Final = 1.0
"""A primary that is asked to hand over takes no writes for so long at most …"""
HAND_OVER_AGAIN_SECONDS: Final = 10.0
"""… and is asked again after this: under a load that lets it end no sooner, writes must not be refused most of the time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Led:
    """A shard that has a primary."""

    name: str
    number: int
    address: Address
    primary: int
    shard: Shard


class Supervision:
    """Runs from `start` to `close`, and acts only while this peer leads."""

    def __init__(
        self,
        log: ClusterLog,
        channel: Channel,
        liveness: Liveness,
        shards: Shards,
        failover_timeout_seconds: float,
        settings: ReconcileSettings,
    ) -> None:
        self._topology_log = log
        self._channel = channel
        self._liveness = liveness
        self._shards = shards
        self._failover_timeout_seconds = failover_timeout_seconds
        self._settings = settings
        self._time = asyncio.get_running_loop().time
        self._wakes: list[asyncio.Event] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._unserved: dict[Address, int] = {}
        self._reported: dict[Address, int] = {}  # the epoch whose primary has said that it should not be one
        self._asked_at: dict[tuple[Address, int], float] = {}  # when the primary of an epoch was asked to hand over
        self._last_steps: tuple[SingleCommand, ...] = ()
        self._last_steps_at = 0.0

    def start(self) -> None:
        """Begin to watch."""
        self._topology_log.subscribe(self.wake)
        self._channel.watch(lambda peer: self.wake(), lambda peer, reason: self.wake())
        for duty, pause in (
            (self._tend_members, self._idle),
            (self._fail_over, self._until_failover),
            (self._look_after_primaries, lambda: HEALTH_SECONDS),
            (self._take_steps, self._idle),
        ):
            wake = asyncio.Event()
            if duty != self._look_after_primaries:
                self._wakes.append(wake)
            self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(duty, pause, wake)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look again now: something has changed."""
        for wake in self._wakes:
            wake.set()

    def reported(self, peer: int, ailing: Sequence[tuple[Address, int]]) -> None:
        """Hear from a peer of which shards it is primary, in these epochs, and should not be."""
        epochs = {
            each.address: each.shard.epoch for each in _led_shards(self._topology_log.current) if each.primary == peer
        }
        for address, epoch in ailing:
            if epochs.get(address) == epoch and self._reported.get(address) != epoch:
                self._reported[address] = epoch
                self.wake()

    @property
    def _leads(self) -> bool:
        return self._topology_log.consensus.is_leader

    def _idle(self) -> float:
        return IDLE_SECONDS

    def _until_failover(self) -> float:
        is_waiting = self._leads and self._liveness.silent_since(self._topology_log.current)
        return SILENT_SECONDS if is_waiting else IDLE_SECONDS

    async def _repeat(
        self, duty: Callable[[], Awaitable[None]], pause_seconds: Callable[[], float], wake: asyncio.Event
    ) -> None:
        while True:
            wake.clear()
            try:
                if self._leads:
                    await duty()
            except QnodeError as error:
                _log.info("As leader, this peer could not finish what it does for the cluster: %s", error)
                await asyncio.sleep(SILENT_SECONDS)
            except Exception:
                _log.exception("A duty of the leader failed, and is tried again")
                await asyncio.sleep(IDLE_SECONDS)
            try:
                async with asyncio.timeout(pause_seconds()):
                    await wake.wait()
            except TimeoutError:
                continue

    # members

    async def _tend_members(self) -> None:
        """Make the voters of consensus what the topology says: members that have caught up."""
        consensus, topology = self._topology_log.consensus, self._topology_log.current
        voters = consensus.status().voters
        for voter in voters:
            if topology.peers and voter not in topology.peers:
                await consensus.remove_peer(voter, ADD_PEER_SECONDS)
        for peer, entry in topology.peers.items():
            if peer not in voters and self._channel.is_connected(peer):
                await consensus.add_peer(peer, int(entry.incarnation), ADD_PEER_SECONDS)
            if peer in consensus.status().voters and not entry.is_voter:
                await self._topology_log.propose(PromotePeer(peer), PROPOSAL_SECONDS)
                _log.info("Peer %d has caught up and votes", peer)

    # primaries

    async def _fail_over(self) -> None:
        """Give the shards of primaries that are away, or unwell, to another Active replica."""
        topology = self._topology_log.current
        silent, now = self._liveness.silent_since(topology), self._time()
        gone = {peer for peer, since in silent.items() if now - since >= self._failover_timeout_seconds}
        if not gone and not self._unserved and not self._reported:
            return
        absent = self._liveness.absent_since(topology)
        orphans = [each for each in _led_shards(topology) if each.primary in gone or self._is_unwell(each)]
        candidates = {
            each.address: [peer for peer in each.shard.active() if peer != each.primary and peer not in absent]
            for each in orphans
        }
        ends = await self._ends_by_peer(candidates)
        commands: list[SingleCommand] = []
        for each in orphans:
            answered = {peer: ends[peer][each.address] for peer in ends if each.address in ends[peer]}
            chosen = choose_primary(view_of(each.shard), answered)
            if chosen is not None:
                commands.append(ChangePrimary(each.name, each.number, chosen, each.shard.epoch))
                self._unserved.pop(each.address, None)
                self._reported.pop(each.address, None)
        if commands:
            _log.warning("%d shards get another primary: theirs do not answer, or are not well", len(commands))
            await propose_all(self._topology_log, commands, PROPOSAL_SECONDS)

    def _is_unwell(self, led: _Led) -> bool:
        is_reported = self._reported.get(led.address) == led.shard.epoch
        return is_reported or self._unserved.get(led.address, 0) >= ROUNDS_UNTIL_UNWELL

    async def _look_after_primaries(self) -> None:
        """Ask the primaries of shards that others hold too whether they serve; count how often in a row they did not."""
        served = {
            each.address: each
            for each in _led_shards(self._topology_log.current)
            if len(each.shard.active()) > 1 and self._is_here(each.primary)
        }
        self._reported = {
            address: epoch
            for address, epoch in self._reported.items()
            if address in served and served[address].shard.epoch == epoch
        }
        ends = await self._ends_by_peer({address: [each.primary] for address, each in served.items()})
        for address, each in served.items():
            if each.primary in ends:
                count = 0 if address in ends[each.primary] else self._unserved.get(address, 0) + 1
                self._unserved[address] = count
        self._unserved = {address: count for address, count in self._unserved.items() if count and address in served}
        if self._unserved:
            self.wake()

    def _is_here(self, peer: int) -> bool:
        return peer == self._channel.me or self._channel.is_connected(peer)

    async def _ends_by_peer(self, asked: Mapping[Address, Sequence[int]]) -> dict[int, Mapping[Address, LogEnd]]:
        """Ask peers where the logs of their replicas end, all at once; those that do not answer are left out."""
        addresses: defaultdict[int, list[Address]] = defaultdict(list)
        for address, peers in asked.items():
            for peer in peers:
                addresses[peer].append(address)
        answers = await asyncio.gather(*(self._ask(peer, wanted) for peer, wanted in addresses.items()))
        return {peer: ends for peer, ends in zip(addresses, answers, strict=True) if ends is not None}

    async def _ask(self, peer: int, addresses: Sequence[Address]) -> Mapping[Address, LogEnd] | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._shards.log_ends(peer, addresses)
        except (QnodeError, TimeoutError) as error:
            _log.info("Peer %d does not say where its logs end: %s", peer, error or "it takes too long")
            return None

    # places

    async def _take_steps(self) -> None:
        """Propose what brings replicas to where they should be; the same again only after a while."""
        topology, now = self._topology_log.current, self._time()
        steps = reconcile(topology, self._liveness.absent_since(topology), now, self._settings)
        is_repeated = steps == self._last_steps and now - self._last_steps_at < IDLE_SECONDS
        if steps and not is_repeated:
            self._last_steps, self._last_steps_at = steps, now
            await propose_all(self._topology_log, self._asked_for(steps), PROPOSAL_SECONDS)

    def _asked_for(self, steps: Sequence[SingleCommand]) -> list[SingleCommand]:
        """Ask primaries for what they have to do themselves, so that no client is left without an answer; give the rest."""
        topology, rest, now = self._topology_log.current, list[SingleCommand](), self._time()
        self._asked_at = {asked: at for asked, at in self._asked_at.items() if now - at < HAND_OVER_AGAIN_SECONDS}
        for step in steps:
            if isinstance(step, ChangePrimary) and step.hands_over:
                entry = topology.collections[step.name]
                primary = entry.shards[step.shard].primary
                assert primary is not None, "a shard that is handed over has a primary"
                address = (entry.folder, step.shard)
                if (address, step.epoch) not in self._asked_at:
                    self._asked_at[address, step.epoch] = now
                    self._shards.hand_over(primary, address, step.epoch, [step.peer], HAND_OVER_SECONDS)
            else:
                rest.append(step)
        return rest


def _led_shards(topology: Topology) -> list[_Led]:
    led = []
    for name, number, shard in topology.shards():
        if shard.primary is not None:
            led.append(_Led(name, number, (topology.collections[name].folder, number), shard.primary, shard))
    return led

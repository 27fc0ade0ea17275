"""A cluster of one shard under faults: virtual time, one seed, and the same run again from it.

    World(seed, directory).run()     # raises Violation, or AssertionError from the protocol itself

Phases: writes and faults; then all is healed, and the cluster must settle: every replica in sync, a last write completed
everywhere, logs and contents the same on all.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from qnode.shards.replication import ReplicaState, ShardView
from qnode.shards.replication.failover import candidates, choose_primary
from qnode.shards.replication.view import SetState, Settings
from tests.simulation.checks import Checks, Fate, Violation
from tests.simulation.network import Network
from tests.simulation.node import Node
from tests.simulation.topology import ChangePrimary, Command, Drop, Started, Topology

FAULTY_SECONDS = 8.0
SETTLE_SECONDS = 60.0
REGISTERS = 8
PEER_TIMEOUT_SECONDS = 1.0
HEARTBEAT_SECONDS = 0.2


class World:
    def __init__(self, seed: int, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.directory = directory
        self.now = 0.0
        self.is_faulty = True
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        peers = range(1, self.chance.choice([2, 3, 3, 3, 4, 5]) + 1)
        floor = self.chance.choice([1, 1, 2])
        self.settings = Settings(
            link_timeout_seconds=0.5,
            stall_timeout_seconds=1.5,
            longest_retry_seconds=0.4,
            window_ops=self.chance.choice([2, 8, 100]),
            join_distance_ops=self.chance.choice([0, 3, 20]),
            farthest_join_ops=self.chance.choice([3, 20]),
            max_pending_ops=50,
        )
        self._write_gap_seconds = self.chance.choice([0.02, 0.05, 0.2])
        states = {peer: self.chance.choice([ReplicaState.ACTIVE, ReplicaState.PARTIAL]) for peer in peers}
        self.topology = Topology({**states, 1: ReplicaState.ACTIVE}, primary=1, floor=floor)
        self._fault_gap_seconds = self.chance.choice([0.15, 0.4, 1.0])
        self._lateness = self.chance.choice([0.05, 0.4])
        self._suspicion = self.chance.choice([0.0, 0.03, 0.1])
        self.network = Network(self.chance, self.at, lambda: self.now, self.chance.choice([0.01, 0.03, 0.15]))
        self.nodes = {peer: Node(self, peer, directory / str(peer)) for peer in peers}
        self.checks = Checks(self.nodes, lambda: self.topology.head.view)
        self.copies: list[tuple[int, dict[str, bytes], int, int]] = []  # (epoch, index, applied_op, its epoch)
        self.happened: Counter[str] = Counter()
        self._heard_at: dict[int, float] = {}
        self._writes = 0

    def at(self, delay_seconds: float, work: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + max(0.0, delay_seconds), self._count, work))

    def run(self) -> None:
        for node in self.nodes.values():
            node.directory.mkdir()
            self.network.add(node.peer, node)
            self._heard_at[node.peer] = 0.0
            node.start()
        self.network.start()
        self._repeat(HEARTBEAT_SECONDS, self._beat)
        self._repeat(0.7, self._reconcile)
        self._again(self._write_gap_seconds, self._client_writes)
        self._again(self._fault_gap_seconds, self._fault)
        for node in self.nodes.values():
            self._again(0.02, lambda n=node: self._show_topology(n))  # type: ignore[misc]
        self._run_until(lambda: False, FAULTY_SECONDS)
        self._heal()
        if not self._run_until(self._is_settled, SETTLE_SECONDS):
            raise Violation(f"stuck: {self.topology.head.view}, {[n.name for n in self.nodes.values()]}")
        self._check_end()

    def _run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, work = heapq.heappop(self._events)
            work()
            if condition():
                return True
        self.now = end
        return False

    def _repeat(self, seconds: float, work: Callable[[], None]) -> None:
        def again() -> None:
            work()
            self.at(seconds, again)

        self.at(seconds, again)

    def _again(self, mean_seconds: float, work: Callable[[], None]) -> None:
        """Do something at irregular times."""

        def again() -> None:
            work()
            self.at(self.chance.expovariate(1 / mean_seconds), again)

        self.at(self.chance.expovariate(1 / mean_seconds), again)

    # What nodes ask for

    def propose(self, command: Command | Started, node: Node | None) -> None:
        """Bring a command into the topology, some time; or never, or twice. One that starts a node is tried until it is in."""
        is_lost = self.chance.random() < 0.1 or (node is not None and node.is_cut_off)
        delay = self.chance.choice([0.01, 0.05, 0.05, 0.2])
        if self.is_faulty and self.chance.random() < self._lateness:
            delay = self.chance.uniform(0.3, 3.0)
        if not is_lost or self.chance.random() < 0.3:
            self.at(delay, lambda: self._apply(command))
        if self.chance.random() < 0.1:
            self.at(self.chance.uniform(0.1, 4.0), lambda: self._apply(command))

    def _apply(self, command: Command | Started) -> None:
        changed = self.topology.apply(command)
        if changed:
            self.checks.in_sync_set_changed()
        if isinstance(command, SetState):
            self.happened[f"{command.state} {'done' if changed else 'rejected'}"] += 1

    def started(self, node: Node) -> None:
        def propose() -> None:
            if node.is_up and self.topology.head.lives.get(node.peer) != node.life:
                self.propose(Started(node.peer, node.life), node)
                self.at(0.3, propose)

        propose()

    def died(self, node: Node) -> None:
        self.happened["crash"] += 1
        self.network.node_died(node.peer)
        if self.is_faulty:
            self.at(self.chance.choice([0.05, 0.5, 3.0]), lambda: self._revive(node))
        else:
            self._revive(node)

    def _revive(self, node: Node) -> None:
        if not node.is_up:
            node.start()

    # What goes on by itself

    def _beat(self) -> None:
        """Heartbeats, and the leader's decision."""
        view = self.topology.head.view
        for node in self.nodes.values():
            if node.is_up and not node.is_cut_off:
                self._heard_at[node.peer] = self.now
        is_suspicious = self.is_faulty and self.chance.random() < self._suspicion
        silent_seconds = 0.0 if view.primary is None else self.now - self._heard_at[view.primary]
        if is_suspicious or silent_seconds >= PEER_TIMEOUT_SECONDS:
            command = self._choose(view)
            if command is not None:
                self.happened["failover"] += 1
                self.propose(command, None)

    def _choose(self, view: ShardView) -> ChangePrimary | None:
        asked = [self.nodes[peer] for peer in sorted(candidates(view))]
        ends = {node.peer: node.log_end for node in asked if node.is_up and not node.is_cut_off}
        if ends and self.chance.random() < 0.3:  # any choice must be safe
            return ChangePrimary(self.chance.choice(list(ends)), view.epoch)
        chosen = choose_primary(view, ends)
        return None if chosen is None else ChangePrimary(chosen, view.epoch)

    def _reconcile(self) -> None:
        """Bring one dead replica back whose node is up, and one that is missing."""
        self._add_missing()
        view = self.topology.head.view
        dead = [peer for peer, state in view.replicas.items() if state is ReplicaState.DEAD and self.nodes[peer].is_up]
        if dead and view.primary not in dead:
            peer = self.chance.choice(dead)
            self.topology.apply(SetState(peer, ReplicaState.PARTIAL, view.epoch, view.revision))

    def _show_topology(self, node: Node) -> None:
        if not node.is_cut_off:
            node.guard(node.see_topology)

    def _client_writes(self) -> None:
        if not self.is_faulty:
            return
        payloads = [self._new_write() for _ in range(self.chance.choice([1, 1, 2, 5]))]
        asked = self.nodes[self.chance.choice(list(self.nodes))]
        view = asked.shard.view if asked.is_up else None
        forwards_to = self.nodes[view.primary] if view is not None and view.primary is not None else asked
        forwards_to.guard(lambda: forwards_to.write(payloads))

    def _new_write(self) -> bytes:
        self._writes += 1
        return f"{self.chance.randrange(REGISTERS)}={self._writes}".encode()

    def _fault(self) -> None:
        if not self.is_faulty:
            return
        node = self.nodes[self.chance.choice(list(self.nodes))]
        other = self.nodes[self.chance.choice([peer for peer in self.nodes if peer != node.peer])]
        kind = self.chance.choice(
            ["kill", "power", "disk", "disk", "cut", "cut", "one way", "isolate", "drop", "leave", "all", "hand over"]
        )
        self.happened[kind] += 1
        if kind in ("kill", "power"):
            node.crash(power=kind == "power")
        elif kind == "disk" and node.is_up:
            node.trouble()
        elif kind == "cut":
            self.network.cut(node.peer, other.peer, self.chance.choice([0.0, 0.5, 3.0]))
        elif kind == "one way":
            self.network.cut_one_way(node.peer, other.peer)
        elif kind == "isolate":
            self._isolate(node)
        elif kind == "drop" and node.is_up:
            node.guard(node.drop_old)
        elif kind == "hand over":
            primary = self.nodes[self.topology.head.view.primary or node.peer]
            if primary.is_up:
                primary.guard(primary.hand_over)
        elif kind == "leave":
            self._leave(node)
        elif kind == "all" and self.chance.random() < 0.3:
            for each in self.nodes.values():
                each.crash(power=True)

    def _isolate(self, node: Node) -> None:
        """Cut a node off from consensus, and perhaps from its peers as well."""
        seconds = self.chance.choice([0.3, 1.5, 4.0])
        node.is_cut_off = True
        if self.chance.random() < 0.5:
            for other in self.nodes:
                if other != node.peer:
                    self.network.cut(node.peer, other, seconds)

        def end() -> None:
            node.is_cut_off = False

        self.at(seconds, end)

    def _leave(self, node: Node) -> None:
        """Take a node's replica away, and perhaps give it a new one before it has heard of that."""
        view = self.topology.head.view
        if self.topology.apply(Drop(node.peer, view.epoch)):
            self.checks.in_sync_set_changed()
            if self.chance.random() < 0.7:
                self._add_missing()

    def _add_missing(self) -> None:
        view = self.topology.head.view
        missing = [peer for peer in self.nodes if peer not in view.replicas]
        if missing:
            peer = self.chance.choice(missing)
            self.topology.apply(SetState(peer, ReplicaState.PARTIAL, view.epoch, view.revision))

    # The end

    def _heal(self) -> None:
        self.is_faulty = False
        self.network.heal()
        self._last_write: bytes | None = None
        for node in self.nodes.values():
            node.is_cut_off = False
            if node.is_up:
                node.end_trouble()
            else:
                node.start()

    def _is_settled(self) -> bool:
        view = self.topology.head.view
        if view.primary is None or len(view.active) < len(self.nodes):
            return False
        primary = self.nodes[view.primary]
        if not primary.is_up or not primary.shard.is_primary:
            return False
        if self._last_write is not None and self.checks.fates.get(self._last_write) is Fate.COMPLETED:
            return True
        if not any(node.waits_for(self._last_write) for node in self.nodes.values()):  # nobody will hear more of it
            self._last_write = self._new_write()
            primary.guard(lambda: primary.write([self._last_write or b""]))
        return False

    def _check_end(self) -> None:
        self.checks.nothing_is_lost()
        last_op = max(self.checks.ledger)
        contents: dict[str, bytes] = {}
        for _, (_, payload) in sorted(self.checks.ledger.items()):
            register, _, value = payload.decode().partition("=")
            contents[register] = value.encode()
        assert sorted(self.checks.ledger) == list(range(1, last_op + 1))
        for node in self.nodes.values():
            if (node.applied_op, node.index) != (last_op, contents):
                raise Violation(f"{node.name} differs: {node.applied_op} of {last_op}, {node.index} {contents}")
            for op_num, stored in node.mirror.items():
                if self.checks.ledger.get(op_num) != stored:
                    raise Violation(f"{node.name} holds {stored} as operation {op_num}")

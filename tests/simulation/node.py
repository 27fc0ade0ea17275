"""A node of the simulated cluster: the driver of one shard over a real log on a faulty disk, and a dict as its index.

The index keeps across a crash what it had at its last commit. Disk work and applying take (virtual) time, and a crash, or a
power cut in the middle of a call, may come between any two steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qnode.errors import InternalError, NotFound, OutOfSpace
from qnode.shards.replication import Shard, ShardView
from qnode.shards.replication import actions as do
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.messages import Append, Refused, decode, encode
from qnode.wal import Log, Record
from tests.simulation.checks import Fate, Stored, Violation
from tests.support.faulty_disk import FaultyDisk, PowerCut

if TYPE_CHECKING:
    from tests.simulation.world import World

FILE_BYTES = 1200
INSTALL, COPIED = b"install ", b"copied "
COPY_TIMEOUT_SECONDS = 1.0


class Node:
    def __init__(self, world: World, peer: int, directory: Path) -> None:
        self.world, self.peer = world, peer
        self.directory = directory
        self._disk = FaultyDisk(directory, world.chance)
        self._durable_index: tuple[dict[str, bytes], int] = ({}, 0)
        self.mirror: dict[int, Stored] = {}  # what the log's file holds, as this node wrote it
        self._first_op, self._durable_end = 1, 0
        self.applied_op = self.ever_applied_op = 0
        self.is_up = False
        self.life = 0
        self.seen = 0  # entries of the topology
        self.is_cut_off = False

    # Life and death

    def start(self) -> None:
        self.life += 1
        self.is_up = True
        self._log = Log.open(self.directory, self._disk, file_bytes=FILE_BYTES)
        index, self.applied_op = self._durable_index
        if not self._log.first_op - 1 <= self.applied_op < self._log.next_op:
            self._log.reset(self.applied_op + 1, 0)  # a copy was put in place of the index, and the power went
        self._check_log()
        self.index = dict(index)
        self._open_shard()
        # What it has applied of the topology may have gone back; it sees all of it again.
        self.seen = self.world.chance.randint(0, self.seen)
        self.world.started(self)

    def _open_shard(self) -> None:
        image = LogImage.of(self._log.first_op, self._log.epoch_before, self._log.read(self._log.first_op))
        self.shard = Shard(self.peer, self.world.settings, image, self.applied_op)
        self._stores: deque[do.Store] = deque()
        self._is_storing = self._is_applying = False
        self._refused_from: int | None = None
        self._waiting: dict[int, bytes] = {}
        self._sent_at: dict[int, float] = {}
        self._copying: set[int] = set()
        self._tick_at: float | None = None
        self._opening = object()  # what was begun before this is void

    def crash(self, *, power: bool) -> None:
        """Die; with `power`, what was not synced is at chance's mercy."""
        if not self.is_up:
            return
        self.is_up = False
        self._opening = object()
        for write in self._waiting.values():
            self.world.checks.fate(write, Fate.UNKNOWN)
        (self._disk.crash if power else self._disk.kill)()
        self.world.died(self)

    def _check_log(self) -> None:
        """The log may have lost what was not durable, from its end on, and nothing else."""
        held = {record.op_num: (record.epoch, record.payload) for record in self._log.read(self._log.first_op)}
        assert self._log.next_op > self._durable_end
        assert all(self.mirror[op_num] == stored for op_num, stored in held.items())
        self.mirror, self._first_op, self._durable_end = held, self._log.first_op, self._log.next_op - 1

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do something later, if this shard is still open then."""
        opening = self._opening

        def run() -> None:
            if self._opening is opening:
                self.guard(work)

        self.world.at(seconds, run)

    def guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PowerCut:
            self.crash(power=True)
        except InternalError:  # the log must be opened anew
            self.crash(power=self.world.chance.random() < 0.5)

    # What the checks look at

    def holds_durably(self, op_num: int, stored: Stored) -> bool:
        if op_num <= self._durable_index[1]:
            return True
        return op_num <= self._durable_end and self.mirror.get(op_num) == stored

    @property
    def log_end(self) -> LogEnd:
        return LogEnd(self.shard.log.last_epoch, self.shard.log.last_op)

    @property
    def name(self) -> str:
        return f"node {self.peer} (life {self.life}, epoch {self.shard.view.epoch if self.shard.view else None})"

    # Events

    def see_topology(self) -> None:
        """Apply the next entry of the topology, or the one behind it."""
        news = len(self.world.topology.entries) - 1 - self.seen
        if not self.is_up or news == 0:
            return
        self.seen += self.world.chance.randint(1, min(news, 2))
        entry = self.world.topology.entries[self.seen]
        if entry.lives.get(self.peer) != self.life or entry.view == self.shard.view:
            return
        if self.peer in entry.view.replicas:
            self._note_hand_over(entry.view)
            self.perform(self.shard.topology_changed(entry.view, self.world.now))
        elif self.shard.view is not None or self._log.next_op > 1:
            self._lose_replica()

    def _note_hand_over(self, view: ShardView) -> None:
        """Count the epochs that begin because a primary has handed over, and those in which clients still waited for it."""
        before = self.shard.view
        if before is not None and before.primary == self.peer != view.primary and self.peer in view.active:
            self.world.happened["handed over"] += 1
            self.world.happened["handed over under writes"] += bool(self._waiting)

    def _lose_replica(self) -> None:
        """Remove the replica, for the topology says that it is not held here; another may be made later, empty."""
        self.world.happened["replica removed"] += 1
        for write in self._waiting.values():
            self.world.checks.fate(write, Fate.UNKNOWN)
        self._opening = object()
        self._disk.free_bytes = None
        self.index, self.applied_op, self.ever_applied_op = {}, 0, 0
        self._durable_index, self._durable_end = ({}, 0), 0
        self._log.reset(1, 0)
        self.mirror, self._first_op = {}, 1
        self._open_shard()
        for peer in self.world.nodes:
            if self.world.network.is_connected(self.peer, peer):
                self.perform(self.shard.link_changed(peer, True, self.world.now))

    def link_changed(self, peer: int, is_up: bool) -> None:
        self._sent_at.pop(peer, None)
        has_left = not is_up and self.world.chance.random() < 0.3  # whether or not it is true, nothing may be lost
        self.perform(self.shard.link_changed(peer, is_up, self.world.now, has_left=has_left))

    def hand_over(self) -> None:
        """Let another replica be primary, and stop soon afterwards, or go on."""
        if not self.shard.is_primary:
            return
        chance = self.world.chance
        heirs = [peer for peer in self.world.nodes if peer != self.peer]
        chance.shuffle(heirs)
        self.perform(self.shard.hand_over(heirs, chance.choice([0.2, 1.0, 3.0]), self.world.now))
        if chance.random() < 0.5:
            self.later(chance.uniform(0.0, 0.5), lambda: self.crash(power=False))

    def deliver(self, peer: int, data: bytes) -> None:
        self.guard(lambda: self._receive(peer, data))

    def _receive(self, peer: int, data: bytes) -> None:
        if data.startswith(COPIED):
            self._copying.discard(peer)
            self.perform(self.shard.copied(peer, int(data.removeprefix(COPIED)), self.world.now))
        elif data.startswith(INSTALL):
            self._install(peer, *self.world.copies[int(data.removeprefix(INSTALL))])
        else:
            self.perform(self.shard.received(peer, decode(data), self.world.now))

    def write(self, payloads: list[bytes]) -> None:
        """A client's request."""
        if not self.is_up or self.shard.refusal() is not None:
            for payload in payloads:
                self.world.checks.fate(payload, Fate.REFUSED)
            return
        first_op = self.shard.log.last_op + 1
        self._waiting.update(enumerate(payloads, first_op))
        self.perform(self.shard.write(payloads, self.world.now))

    def waits_for(self, write: bytes | None) -> bool:
        """Whether a client may still be told what became of a write."""
        return self.is_up and write in self._waiting.values()

    def drop_old(self) -> None:
        """Drop old files of the log, as far as they are surely applied."""
        op_num = self._durable_index[1] + 1
        if op_num > self._log.first_op and not self._is_storing:
            self._log.drop_before(op_num)
            self.shard.dropped_before(self._log.first_op)
            self._first_op = self._log.first_op

    def trouble(self) -> None:
        """Let something go wrong with the disk soon."""
        kind = self.world.chance.random()
        if kind < 0.4:
            self._disk.calls_before_power_cut = self.world.chance.randint(0, 8)
        elif kind < 0.6:
            self._disk.fail_next_syncs = 1
        else:
            self._disk.free_bytes = self.world.chance.randint(0, 200)
            self.later(self.world.chance.uniform(0.1, 3.0), self._make_room)

    def end_trouble(self) -> None:
        self._disk.free_bytes, self._disk.calls_before_power_cut, self._disk.fail_next_syncs = None, None, 0

    def _make_room(self) -> None:
        self._disk.free_bytes = None

    # Actions

    def perform(self, actions: list[do.Action]) -> None:
        for action in actions:
            self._begin(action)
        deadline = self.shard.deadline
        if deadline is not None and (self._tick_at is None or deadline < self._tick_at):
            self._tick_at = deadline
            self.later(max(0.0, deadline - self.world.now) + 1e-6, self._tick)

    def _tick(self) -> None:
        if self._tick_at is None or self.world.now < self._tick_at:
            return
        self._tick_at = None
        self.perform(self.shard.tick(self.world.now))
        if self.shard.deadline is not None and self.shard.deadline <= self.world.now:
            raise Violation(f"{self.name} is due at {self.shard.deadline} again at {self.world.now}")

    def _begin(self, action: do.Action) -> None:
        world, checks = self.world, self.world.checks
        match action:
            case do.Store():
                if action.truncate_from is not None:
                    world.happened["truncation"] += 1
                    checks.truncates(action.truncate_from, max(self.applied_op, self.shard.committed_op), self.name)
                self._stores.append(action)
                self._store_soon()
            case do.SendRecords():
                self._send_records(action)
            case do.Answer(peer, message):
                if isinstance(message, Refused):
                    world.happened[message.reason.name] += 1
                self._send(peer, encode(message))
            case do.ApplyTo():
                self._apply_soon()
            case do.Acknowledge(op_num):
                assert self.shard.view is not None
                checks.primary_commits(self.shard.view.epoch, self.peer, self.life)
                self._note_committed(op_num)
                for waiting in [waiting for waiting in self._waiting if waiting <= op_num]:
                    checks.acknowledged(waiting, self.name)
                    checks.fate(self._waiting[waiting], Fate.ACKNOWLEDGED)
            case do.Complete(op_num):
                assert self.shard.view is not None
                for waiting in [waiting for waiting in self._waiting if waiting <= op_num]:
                    checks.completed(waiting, self.shard.view.epoch, self.name)
                    checks.fate(self._waiting.pop(waiting), Fate.COMPLETED)
            case do.Refuse(from_op):
                for waiting in [waiting for waiting in self._waiting if waiting >= from_op]:
                    checks.fate(self._waiting.pop(waiting), Fate.REFUSED)
            case do.StepDown(committed_op):
                for op_num, write in self._waiting.items():
                    assert checks.fates.get(write) is Fate.ACKNOWLEDGED or op_num > committed_op
                    checks.fate(write, Fate.UNKNOWN)
                self._waiting.clear()
            case do.Propose(command):
                world.propose(command, self)
            case do.NeedsCopy(peer):
                world.happened["needs copy"] += 1
                self._copy_later(peer)

    def _note_committed(self, op_num: int) -> None:
        for committed in range(max(self.applied_op + 1, self._first_op), op_num + 1):
            self.world.checks.committed(committed, self.mirror[committed], self.name)

    def _send(self, peer: int, data: bytes) -> None:
        if self.world.network.is_connected(self.peer, peer):
            self.world.network.send(self.peer, peer, data)

    def _send_records(self, action: do.SendRecords) -> None:
        """Read the records after a while, as a thread would, and send them in pieces."""
        delay = self.world.chance.choice([0.0, 0.0, 0.002, 0.01])
        at = max(self._sent_at.get(action.peer, 0.0), self.world.now + delay)
        self._sent_at[action.peer] = at
        link = self.world.network.connection(self.peer, action.peer)

        def send() -> None:
            view = self.shard.view
            if (
                view is None
                or view.epoch != action.epoch
                or link != self.world.network.connection(self.peer, action.peer)
            ):
                return
            try:
                records = self._read(action.prev_op + 1, action.last_op)
            except NotFound:
                self.perform(self.shard.link_changed(action.peer, False, self.world.now))
                self.perform(self.shard.link_changed(action.peer, True, self.world.now))
                return
            self._send_pieces(action, records)

        self.later(at - self.world.now, send)

    def _read(self, first_op: int, last_op: int) -> list[Record]:
        """Take records from memory as far as the log keeps them, or from the log."""
        if first_op < self._first_op and first_op <= last_op:
            raise NotFound(f"record {first_op}")
        if self.world.chance.random() < 0.9:
            return [Record(self.mirror[at][0], at, self.mirror[at][1]) for at in range(first_op, last_op + 1)]
        return list(islice(self._log.read(first_op), last_op + 1 - first_op))

    def _send_pieces(self, action: do.SendRecords, records: list[Record]) -> None:
        prev_op, prev_epoch = action.prev_op, action.prev_epoch
        while True:
            size = self.world.chance.choice([1, 3, len(records), len(records)])
            piece, records = tuple(records[:size]), records[size:]
            message = Append(action.epoch, prev_op, prev_epoch, action.commit_op, piece)
            self._send(action.peer, encode(message))
            if not records:
                return
            prev_op, prev_epoch = piece[-1].op_num, piece[-1].epoch

    # The writer thread

    def _store_soon(self) -> None:
        if not self._is_storing and self._stores:
            self._is_storing = True
            self.later(self.world.chance.choice([0.0, 0.001, 0.02]), self._store)

    def _store(self) -> None:
        group = [self._stores.popleft() for _ in range(self.world.chance.randint(1, len(self._stores)))]
        done = None
        for store in group:
            if not self._store_one(store):
                break
            done = store.ticket
        if done is not None:
            ticket = done
            self.later(0.0, lambda: self.perform(self.shard.appended(ticket, self.world.now)))
            self.later(self.world.chance.choice([0.0, 0.005, 0.03]), lambda: self._sync(ticket))
        else:
            self._is_storing = False
            self._report_refused()

    def _store_one(self, store: do.Store) -> bool:
        """Cut off and append; False if the disk has no room, or had none for what comes before."""
        if store.truncate_from is not None and store.truncate_from < self._log.next_op:
            self._durable_end = min(self._durable_end, store.truncate_from - 1)
            self._log.truncate_from(store.truncate_from)
            for op_num in [op_num for op_num in self.mirror if op_num >= store.truncate_from]:
                del self.mirror[op_num]
        if self._refused_from is not None:
            return False
        self.mirror.update({record.op_num: (record.epoch, record.payload) for record in store.records})
        try:
            self._log.append(store.records)
        except OutOfSpace:
            for record in store.records:
                del self.mirror[record.op_num]
            self._refused_from = store.ticket
            return False
        return True

    def _sync(self, ticket: int) -> None:
        self._log.sync()
        self._durable_end = max(self._durable_end, self._log.next_op - 1)
        self._is_storing = False
        self.later(0.0, lambda: self._synced(ticket))

    def _synced(self, ticket: int) -> None:
        self.perform(self.shard.synced(ticket, self.world.now))
        self._report_refused()

    def _report_refused(self) -> None:
        if self._refused_from is not None:
            for store in self._stores:
                self._store_one(store)
            self._stores.clear()
            ticket, self._refused_from = self._refused_from, None
            self.perform(self.shard.refused(ticket, self.world.now))
        self._store_soon()

    # Applying

    def _apply_soon(self) -> None:
        if not self._is_applying and self.applied_op < self.shard.committed_op:
            self._is_applying = True
            self.later(self.world.chance.choice([0.0, 0.002, 0.03]), self._apply)

    def _apply(self) -> None:
        last_op = self.world.chance.randint(self.applied_op + 1, self.shard.committed_op)
        self._note_committed(last_op)
        for record in self._read(self.applied_op + 1, last_op):
            register, _, value = record.payload.decode().partition("=")
            self.index[register] = value.encode()
        self.applied_op = last_op
        self.ever_applied_op = max(self.ever_applied_op, last_op)
        if self.world.chance.random() < 0.5:
            self._durable_index = (dict(self.index), last_op)
        self._is_applying = False
        self.perform(self.shard.applied(last_op, self.world.now))
        self._apply_soon()

    # Copies

    def _copy_later(self, peer: int) -> None:
        if peer not in self._copying:
            self._copying.add(peer)
            self.later(self.world.chance.uniform(0.05, 0.5), lambda: self._copy(peer))

    def _copy(self, peer: int) -> None:
        """Give the peer the index as of now, if it is reachable and still obeys this epoch."""
        view = self.shard.view
        if view is None or peer not in self.shard.copying:
            self._copying.discard(peer)
            return
        epoch = self.shard.log.epoch_at(self.applied_op)
        self.world.copies.append((view.epoch, dict(self.index), self.applied_op, epoch or 0))
        self._send(peer, INSTALL + str(len(self.world.copies) - 1).encode())
        self.later(COPY_TIMEOUT_SECONDS, lambda: self._copy(peer))

    def _install(self, sender: int, epoch: int, index: dict[str, bytes], applied_op: int, applied_epoch: int) -> None:
        """Put a copy in the place of what is here, if this node still obeys the sender; tell so."""
        view = self.shard.view
        if view is None or (view.primary, view.epoch) != (sender, epoch) or self.peer in view.active:
            return
        self._opening = object()
        self._disk.free_bytes = None
        self.index, self.applied_op = dict(index), applied_op
        self.ever_applied_op = applied_op
        # The index first: a log that ends before it, or goes on behind it with another history, does no harm.
        self._durable_index = (dict(index), applied_op)
        self._durable_end = 0
        self._log.reset(applied_op + 1, applied_epoch)
        self.mirror, self._first_op, self._durable_end = {}, applied_op + 1, applied_op
        self._open_shard()
        for peer in self.world.nodes:
            if self.world.network.is_connected(self.peer, peer):
                self.perform(self.shard.link_changed(peer, True, self.world.now))
        self.perform(self.shard.topology_changed(view, self.world.now))
        self._send(sender, COPIED + str(applied_op).encode())

"""What a simulated group stands on: a clock, disks that forget what was not committed, a network that breaks.

A peer crashes where its fuse says: before or after any commit or message, never inside one. A disk may be slow: then a commit
takes a time in which the peer hears and says nothing, and a crash in that time comes before the commit or after it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgpack

from qnode.raft.journal import Changes, JournalStore, Stored
from qnode.raft.journal_store import LmdbJournalStore
from qnode.raft.lease import Lease
from qnode.raft.library import Timing
from qnode.raft.replica import Replica
from qnode.raft.turns import Done


class Crashed(Exception):
    """The peer's process ends here."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fuse:
    """Counts the moments at which a peer may crash; None: it does not."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crashed


class MemoryStore:
    """What is on a disk; outlives the peer. A crash comes before a commit or after it, never between its parts."""

    def __init__(self) -> None:
        self.fuse = Fuse()
        self.stored = Stored(None, [], None)

    def load(self) -> Stored:
        return self.stored

    def commit(self, changes: Changes) -> None:
        self.fuse.burn()
        kept = [entry for entry in self.stored.entries if changes.drop_below <= entry[1] < changes.drop_from]
        self.stored = Stored(
            changes.hard or self.stored.hard, [*kept, *changes.entries], changes.snapshot or self.stored.snapshot
        )
        self.fuse.burn()

    def close(self) -> None:
        pass


class FileStore(LmdbJournalStore):
    """Real files, with the same moments to crash at."""

    fuse: Fuse

    def commit(self, changes: Changes) -> None:
        self.fuse.burn()
        super().commit(changes)
        self.fuse.burn()


class History:
    """The machine: the list of all that was applied."""

    def __init__(self) -> None:
        self.applied: list[int] = []

    def apply(self, command: bytes) -> bytes:
        self.applied.append(int.from_bytes(command[:8], "big"))
        return str(len(self.applied)).encode()

    def snapshot(self) -> bytes:
        return msgpack.packb(self.applied)

    def restore(self, state: bytes) -> None:
        self.applied = msgpack.unpackb(state)


@dataclass
class Disk:
    """A peer's disk as the simulation sees it."""

    open: Callable[[], JournalStore]
    commit_seconds: float = 0.0
    applied_before: int = 0
    down_until: float = 0.0
    is_lost: bool = False


class Network:
    """Links between all peers that run; who is cut from whom, and what is under way."""

    def __init__(self, rng: random.Random, clock: Clock, longest_delay: float, lossy: bool) -> None:
        self.rng, self.clock, self.longest_delay, self.lossy = rng, clock, longest_delay, lossy
        self.members: dict[int, Member] = {}
        self.committing: dict[int, tuple[float, Changes, Done]] = {}
        self.cut: set[frozenset[int]] = set()
        self.flying: list[tuple[float, int, int, int, bytes]] = []
        self.sent = 0
        self.last: dict[tuple[int, int], float] = {}

    def is_up(self, one: int, other: int) -> bool:
        return one in self.members and other in self.members and frozenset((one, other)) not in self.cut

    def send(self, source: int, target: int, message: bytes) -> None:
        if not self.is_up(source, target):
            return
        copies = 1
        if self.lossy:
            copies = self.rng.choices((0, 1, 2), (2, 96, 2))[0]
        for _ in range(copies):
            at = self.clock.now + self.rng.uniform(0.001, self.longest_delay)
            if not self.lossy:
                at = self.last[source, target] = max(at, self.last.get((source, target), 0.0) + 1e-6)
            self.sent += 1
            self.flying.append((at, self.sent, source, target, message))

    def deliver(self) -> None:
        due = sorted(message for message in self.flying if message[0] <= self.clock.now)
        self.flying = [message for message in self.flying if message[0] > self.clock.now]
        for _, _, source, target, message in due:
            if self.is_up(source, target):
                self.members[target].do(lambda replica, s=source, m=message: (replica.received(s, m), replica.tick()))

    def commit(self) -> None:
        """Let commits be over whose time has come."""
        for peer, (at, changes, done) in sorted(self.committing.items()):
            if at <= self.clock.now:
                del self.committing[peer]
                self.members[peer].do(lambda _, c=changes, d=done: self.members[peer].commit_now(c, d))  # noqa: B023

    def tell(self, one: int, other: int, connected: bool) -> None:
        for hears, of in ((one, other), (other, one)):
            if hears in self.members:
                self.members[hears].do(
                    lambda replica, of=of: replica.connected(of) if connected else replica.disconnected(of)
                )

    def set_cut(self, cut: set[frozenset[int]]) -> None:
        broken, healed = cut - self.cut, self.cut - cut
        self.cut = cut
        self.flying = [message for message in self.flying if frozenset(message[2:4]) not in broken]
        for pair in sorted(map(sorted, broken)):
            self.tell(*pair, connected=False)
        for one, other in sorted(map(sorted, healed)):
            if self.is_up(one, other):
                self.tell(one, other, connected=True)

    def join(self, member: "Member") -> None:
        self.members[member.peer] = member
        for other in sorted(self.members):
            if other != member.peer and self.is_up(member.peer, other):
                self.tell(member.peer, other, connected=True)

    def leave(self, peer: int) -> None:
        member = self.members.pop(peer)
        if peer in self.committing:
            _, changes, _ = self.committing.pop(peer)
            if self.rng.random() < 0.5:
                member.fuse.left = None
                member.store.commit(changes)
        self.flying = [message for message in self.flying if peer not in message[2:4]]
        for other in sorted(self.members):
            if frozenset((peer, other)) not in self.cut:
                self.members[other].do(lambda replica: replica.disconnected(peer))


class Surroundings(Protocol):
    """What a member needs of the group that it is in."""

    rng: random.Random
    network: Network
    timing: Timing
    compact_after: int

    disks: dict[int, Disk]

    def crash(self, peer: int) -> None: ...


class Member:
    """A running peer. `do` runs something in it, and lets it crash."""

    def __init__(self, group: Surroundings, peer: int, store: JournalStore, found: bool) -> None:
        self.group, self.peer, self.store = group, peer, store
        self.fuse = store.fuse = Fuse()
        self.history = History()
        self.clock_offset = group.rng.randrange(10**12)
        self.replica = Replica(
            peer,
            store,
            self,
            self.history,
            found=found,
            timing=group.timing,
            random=random.Random(group.rng.random()),
            compact_after=group.compact_after,
            commit=self.commit,
            lease=Lease(1.0, self.own_clock),
        )

    def send(self, peer: int, message: bytes) -> None:
        self.fuse.burn()
        self.group.network.send(self.peer, peer, message)
        self.fuse.burn()

    def own_clock(self) -> int:
        """Give a time that says nothing on another peer."""
        return self.clock_offset + int(self.group.network.clock.now * 1_000_000)

    def commit(self, changes: Changes, done: Done) -> None:
        seconds = self.group.disks[self.peer].commit_seconds
        if seconds:
            network = self.group.network
            network.committing[self.peer] = (network.clock.now + seconds, changes, done)
        else:
            self.commit_now(changes, done)

    def commit_now(self, changes: Changes, done: Done) -> None:
        self.store.commit(changes)
        done(None)

    def do(self, step: Callable[[Replica], object]) -> None:
        if self.peer not in self.group.network.members:
            return
        try:
            step(self.replica)
        except Crashed:
            self.group.crash(self.peer)

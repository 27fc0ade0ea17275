"""A group of real replicas in one process: virtual clock, seeded network, disks that forget what was not made durable.

    python -m tests.raft.simulation [--seeds 10000] [--first 0] [--lmdb]

For each seed, links are cut, peers are crashed (between any two of their commits and messages) and restarted, peers join and
leave, disks are lost, or hang for a while, while commands are proposed everywhere; logs are compacted often. Then all is healed. Checked:

    LOST         a command was reported as done, and is not there
    GHOST        a command was reported as certainly not done, and is there
    TWICE        a command took effect twice
    DIVERGED     two histories contradict each other, or two memberships
    REGRESSED    a restarted peer has applied less than before
    STUCK        a healed group takes no command, or a member stays behind
    TWO LEADERS  in one term
    STALE        a peer holds a lease, and lacks what another one had applied when the lease was granted

A link behaves like a connection: in order, broken as a whole, telling both ends. In every fourth seed it does not, and
loses, repeats and overtakes single messages. Every seed replays exactly. With --lmdb the journals are real files; a crash then loses
what the journal had not flushed.
"""

import argparse
import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pysyncobj.syncobj

from qnode.errors import BadRequest, QnodeError
from qnode.raft import snapshot_transfer
from qnode.raft.library import Timing
from qnode.raft.replica import NoLeader, Replica
from tests.raft.seams import Clock, Disk, FileStore, Member, MemoryStore, Network

STEP_SECONDS = 0.05
LEASE_SECONDS = 1.0
CHAOS_STEPS = 500
QUIET_STEPS = 1200
MOST_PEERS = 5


@dataclass
class Outcomes:
    """What proposers were told."""

    proposed: int = 0
    done: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)


class Group:
    """One seed's group and what happens to it."""

    def __init__(self, seed: int, clock: Clock, folder: Path | None) -> None:
        self.rng = random.Random(seed * 7919 + 1)
        self.clock = clock
        self.folder, self.disks_made = folder, 0
        self.timing = Timing(election_max=self.rng.choice((0.7, 1.2)))
        self.violence = self.rng.choice((0.5, 1.0, 3.0))
        self.compact_after = self.rng.choice((1, 4, 16, 128))
        delay = self.rng.choice((0.005, 0.05, 0.15))
        self.network = Network(self.rng, self.clock, delay, lossy=seed % 4 == 3)
        self.disks: dict[int, Disk] = {}
        self.outcomes = Outcomes()
        self.leaders: dict[int, int] = {}
        self.most_applied = [(0.0, 0)]
        self.steps_under_lease = 0
        self.wrong: set[str] = set()
        self.gone: set[int] = set()
        self.changing: int | None = None
        self.next_peer = 1
        self.start(self.new_peer(), found=True)

    # peers

    def new_peer(self) -> int:
        peer, self.next_peer = self.next_peer, self.next_peer + 1
        self.disks[peer] = self.new_disk()
        return peer

    def new_disk(self) -> Disk:
        if self.folder is None:
            store = MemoryStore()
            return Disk(lambda: store)
        self.disks_made += 1
        path = self.folder / str(self.disks_made)
        return Disk(lambda: FileStore(path))

    def start(self, peer: int, found: bool = False) -> None:
        disk = self.disks[peer]
        member = Member(self, peer, disk.open(), found)
        if len(member.history.applied) < disk.applied_before:
            self.wrong.add(f"REGRESSED to {len(member.history.applied)} from {disk.applied_before}")
        self.network.join(member)

    def crash(self, peer: int) -> None:
        member = self.network.members[peer]
        self.disks[peer].applied_before = len(member.history.applied)
        self.disks[peer].down_until = self.clock.now + self.rng.choice((0.0, 0.3, 3.0))
        self.network.leave(peer)
        member.store.close()

    # what happens

    def step(self) -> None:
        self.clock.now += STEP_SECONDS
        for peer in sorted(self.network.members):
            if peer in self.network.members:
                self.network.members[peer].do(lambda replica: replica.tick())
        self.network.commit()
        self.network.deliver()
        for peer, member in self.network.members.items():
            if member.replica.is_leader:
                first = self.leaders.setdefault(member.replica.status().term, peer)
                if first != peer:
                    self.wrong.add(f"TWO LEADERS in term {member.replica.status().term}")
        self.check_leases()

    def check_leases(self) -> None:
        now = self.clock.now
        for member in self.network.members.values():
            if len(member.history.applied) > self.most_applied[-1][1]:
                self.most_applied.append((now, len(member.history.applied)))
        while len(self.most_applied) > 1 and self.most_applied[1][0] <= now - LEASE_SECONDS:
            del self.most_applied[0]
        at, needed = self.most_applied[0]
        for peer, member in self.network.members.items():
            if member.replica.lease.holds():
                self.steps_under_lease += 1
                if at <= now - LEASE_SECONDS and len(member.history.applied) < needed:
                    self.wrong.add(f"STALE: peer {peer} has {len(member.history.applied)} of {needed}")

    def disturb(self) -> None:
        rng, network = self.rng, self.network
        running = sorted(network.members)
        if rng.random() < 0.4 and running:
            self.propose(rng.choice(running), timeout_seconds=rng.choice((0.5, 3.0, 10.0)))
        if rng.random() < 0.015 * self.violence:
            pairs = [frozenset((a, b)) for a in self.disks for b in self.disks if a < b]
            cut = set(rng.sample(pairs, min(len(pairs), rng.randrange(4))))
            leaders = [peer for peer in running if network.members[peer].replica.is_leader]
            if leaders and rng.random() < 0.4:
                cut = {pair for pair in pairs if leaders[0] in pair}
            network.set_cut(cut)
        if rng.random() < 0.012 * self.violence and running:
            network.members[rng.choice(running)].fuse.left = rng.randrange(12)
        if rng.random() < 0.02 * self.violence and running:
            network.members[rng.choice(running)].do(lambda replica: replica.hand_leadership_over())
        if rng.random() < 0.015 * self.violence:  # disks become slow, hang, or are well again
            for disk in self.disks.values():
                disk.commit_seconds = rng.choice((0.0, 0.0, 0.0, 0.02, 0.2, 4.0))
        if rng.random() < 0.003 * self.violence:  # the power fails
            for peer in sorted(network.members):
                self.crash(peer)
        for peer in sorted(self.disks):
            disk = self.disks[peer]
            if peer not in network.members and not disk.is_lost and self.clock.now >= disk.down_until:
                self.start(peer)
        if rng.random() < 0.06:
            self.change_membership()

    def propose(self, peer: int, timeout_seconds: float) -> int:
        number = self.outcomes.proposed = self.outcomes.proposed + 1
        padding = self.rng.choice((0, 0, 0, 100, 3_000, 60_000))
        outcomes = self.outcomes

        def on_done(result: bytes | None, error: QnodeError | None) -> None:
            told = outcomes.done if error is None else outcomes.refused
            if error is not None and not isinstance(error, NoLeader):
                told = outcomes.unknown
            told.add(number)

        content = number.to_bytes(8, "big") + bytes(padding)
        self.network.members[peer].do(lambda replica: replica.propose(content, timeout_seconds, on_done))
        return number

    def change_membership(self) -> None:
        """Let a peer join or leave, or lose its disk; one at a time, so that a majority keeps its disks."""
        rng, members = self.rng, self.network.members
        if self.changing is not None or not members:
            return
        asked = rng.choice(sorted(members))
        voters = members[asked].replica.status().voters
        if not voters:
            return
        if len(voters) < 3 or (len(voters) < MOST_PEERS and rng.random() < 0.5):
            self.add(asked, self.new_peer())
        elif rng.random() < 0.5:
            self.remove(asked, rng.choice(voters))
        elif self.is_settled():
            self.lose_disk(asked, rng.choice(voters))

    def add(self, asked: int, peer: int) -> None:
        self.start(peer)
        incarnation = self.network.members[peer].replica.incarnation if peer in self.network.members else 0
        if not incarnation:
            return
        self.changing = peer

        def on_done(result: bytes | None, error: QnodeError | None) -> None:
            self.changing = None

        self.ask(asked, lambda replica: replica.add_peer(peer, incarnation, 8.0, on_done))

    def remove(self, asked: int, peer: int, then: Callable[[], None] | None = None) -> None:
        self.changing = peer

        def on_done(result: bytes | None, error: QnodeError | None) -> None:
            self.changing = None
            voters = self.voters()  # none: whoever was asked is no member, and cannot tell
            if error is None or (isinstance(error, BadRequest) and voters and peer not in voters):
                self.gone.add(peer)
                if then is not None:
                    then()
            elif then is not None:
                self.changing = peer  # a lost disk has to go before anything else does
                self.retry = lambda: self.remove(self.rng.choice(sorted(self.network.members)), peer, then)

        self.ask(asked, lambda replica: replica.remove_peer(peer, 8.0, on_done))

    def voters(self) -> tuple[int, ...]:
        """Give the voters that the furthest of the running peers knows."""
        statuses = [member.replica.status() for member in self.network.members.values()]
        return max(statuses, key=lambda status: status.applied).voters

    retry: Callable[[], None] | None = None

    def ask(self, asked: int, question: Callable[[Replica], None]) -> None:
        """Ask a peer; should it crash before it has answered, the change goes on being under way until `forget_asked`."""
        self.asked, self.asked_until = asked, self.clock.now + 10.0
        if asked in self.network.members:
            self.network.members[asked].do(question)

    asked, asked_until = 0, 0.0

    def is_settled(self) -> bool:
        """Say whether all disks agree on at least three voters, so that one of their disks may be lost."""
        statuses = [member.replica.status() for member in self.network.members.values()]
        voters = {status.voters for status in statuses if status.is_voter}
        if len(voters) != 1 or any(self.disks[peer].is_lost for peer in self.disks):
            return False
        (only,) = voters
        running = self.network.members
        return len(only) >= 3 and all(
            peer in running and running[peer].replica._core.membership.voters.keys() == set(only) for peer in only
        )

    def lose_disk(self, asked: int, peer: int) -> None:
        """Lose a voter's disk; it stays dead, or comes back under its old id with an empty one."""
        if peer == asked:
            return
        if peer in self.network.members:
            self.crash(peer)
        self.disks[peer] = replace(self.new_disk(), is_lost=True)
        comes_back = self.rng.random() < 0.5
        if comes_back:
            self.start(peer)

        def forget() -> None:
            if comes_back:
                self.gone.discard(peer)
                self.disks[peer].is_lost = False
                if peer in self.network.members:
                    self.crash(peer)
                self.disks[peer].applied_before = 0
                running = sorted(self.network.members)
                if running:
                    self.add(self.rng.choice(running), peer)
            else:
                if peer in self.network.members:
                    self.crash(peer)
                del self.disks[peer]

        self.remove(asked, peer, forget)

    def attend_changes(self) -> None:
        """Go on with a change whose asked peer crashed, or which has to be tried again."""
        if self.retry is not None and self.network.members:
            retry, self.retry = self.retry, None
            retry()
        elif self.changing is not None and self.clock.now > self.asked_until and self.network.members:
            peer = self.changing
            if self.disks[peer].is_lost if peer in self.disks else False:
                self.remove(self.rng.choice(sorted(self.network.members)), peer, lambda: self._drop(peer))
            else:
                self.changing = None

    def _drop(self, peer: int) -> None:
        if peer in self.network.members:
            self.crash(peer)
        del self.disks[peer]

    # the end

    def heal(self) -> None:
        self.network.set_cut(set())
        for disk in self.disks.values():
            disk.commit_seconds = 0.0
        for member in self.network.members.values():
            member.fuse.left = None
        for peer in sorted(self.disks):
            if peer not in self.network.members and not self.disks[peer].is_lost:
                self.start(peer)

    def gather(self, count: int) -> None:
        """Let a group of so many peers come together undisturbed."""
        for _ in range(200):
            if self.changing is None and len(self.voters()) < count:
                self.add(1, self.new_peer())
            self.step()
            if len(self.voters()) == count:
                return

    def run(self) -> "Group":
        self.gather(self.rng.choice((1, 3, 3, 5)))
        for _ in range(CHAOS_STEPS):
            self.step()
            self.disturb()
            self.attend_changes()
            if self.wrong:
                return self
        self.heal()
        last: int | None = None
        for number in range(QUIET_STEPS):
            self.step()
            self.attend_changes()
            self.heal()
            if number % 40 == 39 and last not in self.outcomes.done:
                leaders = [peer for peer, member in sorted(self.network.members.items()) if member.replica.is_leader]
                if leaders:
                    last = self.propose(self.rng.choice(leaders), timeout_seconds=30.0)
            if last in self.outcomes.done and self.changing is None and self.members_agree():
                break
        else:
            lengths = {
                peer: (len(member.history.applied), member.replica.status())
                for peer, member in sorted(self.network.members.items())
            }
            self.wrong.add(f"STUCK at {lengths}")
        self.check()
        return self

    def members_agree(self) -> bool:
        leaders = [member for member in self.network.members.values() if member.replica.is_leader]
        if not leaders:
            return False
        leader = max(leaders, key=lambda member: member.replica.status().term)
        voters = leader.replica.status().voters
        return all(
            peer in self.network.members
            and self.network.members[peer].history.applied == leader.history.applied
            and self.network.members[peer].replica.status().voters == voters
            for peer in voters
        )

    def check(self) -> None:
        histories = sorted((member.history.applied for member in self.network.members.values()), key=len)
        longest = histories[-1]
        if any(history != longest[: len(history)] for history in histories):
            self.wrong.add("DIVERGED")
        present = set(longest)
        if len(present) < len(longest):
            self.wrong.add("TWICE")
        if self.outcomes.done - present:
            self.wrong.add(f"LOST {sorted(self.outcomes.done - present)} of {len(self.outcomes.done)} done")
        if self.outcomes.refused & present:
            self.wrong.add(f"GHOST {sorted(self.outcomes.refused & present)}")


@contextmanager
def virtual_time(clock: Clock) -> Iterator[None]:
    """Let the library read a clock of ours, and send snapshots in small parts."""
    real, part_bytes = pysyncobj.syncobj.monotonicTime, snapshot_transfer.PART_BYTES
    pysyncobj.syncobj.monotonicTime, snapshot_transfer.PART_BYTES = clock, 200
    try:
        yield
    finally:
        pysyncobj.syncobj.monotonicTime, snapshot_transfer.PART_BYTES = real, part_bytes


def run(seed: int, folder: Path | None = None) -> Group:
    """Run a seed; `wrong` of the group says what failed."""
    clock = Clock()
    with virtual_time(clock):
        return Group(seed, clock, folder).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--lmdb", action="store_true", help="real files")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    bad = ran = done = proposed = 0
    until = time.monotonic() + options.seconds
    for seed in range(options.first, options.first + options.seeds):
        if time.monotonic() > until:
            break
        with tempfile.TemporaryDirectory() as folder:
            group = run(seed, Path(folder) if options.lmdb else None)
        ran, done, proposed = ran + 1, done + len(group.outcomes.done), proposed + group.outcomes.proposed
        if group.wrong:
            bad += 1
            print("seed", seed, "; ".join(sorted(group.wrong)), flush=True)
    print(f"{bad} of {ran} seeds fail; {done} of {proposed} commands done; next seed {options.first + ran}")


if __name__ == "__main__":
    main()

"""pysyncobj, as this room uses it: the one place that reaches into its private names and replaces parts of it.

Its elections, terms, votes, commit rule, and the way of a command to the leader are the library's. Replaced are, each with
the fault that made it necessary:

- **pickle.** The library unpickles what comes from the wire and from disk. Its module's pickle is exchanged for an object
  that refuses, and everything that would have used it is overridden; commands are bytes of our own.
- **createJournal.** The configuration carries the journal itself in the place of a file's name.
- **Taking entries.** A follower truncated all that follows the entry that a message begins with, even if it was the same
  and acknowledged; it took the leader's commit index for its own log's end; a conflict was undone an entry a round trip; and
  when its log was longer than the leader's, the leader asked for ever for an entry that it did not have itself.
- **Answers** (`next_node_idx`) say their term: one from an earlier term of the same leader could count as a match.
- **Sending entries**: one unanswered message a peer; the next index moves with the answer, not with the sending. So there
  are no entries in several messages either (the library ends those one early at some sizes).
- **Refusals** of a command count as certain only if this peer itself refused it: one from another peer may be the answer to a
  message that a link has repeated, whose first copy was taken.
- **Membership** followed what was applied, so a restart used an old one until the log was replayed, and went through all
  earlier ones while it was; it is computed from the log. The check that one change is under way at a time never fired.
- **Votes** are counted by voter, and before a campaign the others are asked (pre-vote): a peer that comes back does not
  depose a working leader.
- **Compaction** wrote the dump first and cut the log later; a crash between made the next start drop the whole log, also
  what was acknowledged. A snapshot that arrived late replaced a newer state, and took acknowledged entries with it.

What is left out here: the new behaviour itself (`core`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NoReturn

from pysyncobj import serializer, syncobj
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from qnode.errors import CannotStart
from qnode.raft.journal import Journal
from qnode.raft.membership import MembershipChange
from qnode.raft.messages import Message

__all__ = ["FOLLOWER", "LEADER", "QUEUE_BOUND", "Library", "Peer", "Timing", "Transport", "now"]

FOLLOWER: Final = 0
LEADER: Final = 2

QUEUE_BOUND: Final = 1000
"""Commands that wait for a tick; further ones are refused, and tried again."""

_OVERRIDDEN: Final = (
    "_SyncObj__applyLogEntries",
    "_SyncObj__changeCluster",
    "_SyncObj__connectedToAnyone",
    "_SyncObj__doApplyCommand",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__onMessageReceived",
    "_SyncObj__parseChangeClusterRequest",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__tryLogCompaction",
    "_checkCommandsToApply",
)
_USED: Final = ("_SyncObj__onLeaderChanged", "_SyncObj__setCurrentTerm", "_SyncObj__setState")


class _NoPickle:
    """Stands where the library would pickle: nothing of the wire or the disk may reach the real one."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"pickle.{name} is never used here")


def _guard() -> None:
    """Refuse a version whose inner workings are unknown, and exchange the names of its modules."""
    version = tuple(int(part) for part in VERSION.split(".")[:3])
    missing = [name for name in (*_OVERRIDDEN, *_USED) if not hasattr(syncobj.SyncObj, name)]
    if not (0, 3, 17) <= version < (0, 4) or missing:
        raise CannotStart(f"pysyncobj {VERSION} is not supported: install a version from 0.3.17 on and below 0.4")
    syncobj.pickle = serializer.pickle = _NoPickle()
    syncobj.createJournal = lambda journal: journal


_guard()


def now() -> float:
    """Give the library's monotonic time, in seconds."""
    time: float = syncobj.monotonicTime()
    return time


class Peer(Node):  # type: ignore[misc]
    """A member as the library sees it; its id is a number."""

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds; round trips between peers should stay below the heartbeat."""

    heartbeat: float = 0.15
    election_min: float = 0.6
    election_max: float = 1.2
    leader_fallback: float = 1.2
    """A leader without a majority's answers for so long steps down."""
    resend: float = 1.0
    """An unanswered message is sent again after this time."""


class Library(syncobj.SyncObj, ABC):  # type: ignore[misc]
    """The library with our journal and transport, and its private state under public names."""

    _SyncObj__raftLeader: Peer | None

    def __init__(self, own: int, journal: Journal, transport: Transport, timing: Timing, random: Random) -> None:
        self._random = random
        self.timing = timing
        self.journal = journal
        self.transport = transport
        conf = SyncObjConf(
            autoTick=False,
            commandsWaitLeader=False,
            dynamicMembershipChange=True,
            commandsQueueSize=QUEUE_BOUND,
            raftMinTimeout=timing.election_min,
            raftMaxTimeout=timing.election_max,
            connectionTimeout=timing.election_max,
            appendEntriesPeriod=timing.heartbeat,
            leaderFallbackTimeout=timing.leader_fallback,
            journalFile=journal,
            useFork=False,
        )
        super().__init__(Peer(own), (), conf, transport=transport)
        self._SyncObj__raftLastApplied = journal.snapshot_index
        # Answers to what this peer asked before it was restarted must not pass for answers to what it asks now.
        self._SyncObj__commandsLocalCounter = random.getrandbits(48)

    # state

    @property
    def own(self) -> Peer:
        peer: Peer = self._SyncObj__selfNode
        return peer

    @property
    def state(self) -> int:
        state: int = self._SyncObj__raftState
        return state

    @property
    def term(self) -> int:
        term: int = self._SyncObj__raftCurrentTerm
        return term

    @property
    def leader(self) -> Peer | None:
        peer: Peer | None = self._SyncObj__raftLeader
        return peer

    @property
    def commit_index(self) -> int:
        index: int = self._SyncObj__raftCommitIndex
        return index

    @property
    def last_applied(self) -> int:
        index: int = self._SyncObj__raftLastApplied
        return index

    @property
    def others(self) -> set[Peer]:
        peers: set[Peer] = self._SyncObj__otherNodes
        return peers

    @property
    def connected(self) -> set[Peer]:
        peers: set[Peer] = self._SyncObj__connectedNodes
        return peers

    @property
    def next_index(self) -> dict[Peer, int]:
        indexes: dict[Peer, int] = self._SyncObj__raftNextIndex
        return indexes

    @property
    def match_index(self) -> dict[Peer, int]:
        indexes: dict[Peer, int] = self._SyncObj__raftMatchIndex
        return indexes

    @property
    def transfer_is_asked(self) -> bool:
        """Whether the leader told this peer to campaign."""
        asked: bool = self._SyncObj__transferInProgress
        return asked

    def own_term_is_committed(self) -> bool:
        """Whether this leader has applied the entry that its term began with."""
        applied: bool = self.last_applied >= self._SyncObj__noopIDx
        return applied

    # changes of state

    def commit_to(self, index: int) -> None:
        """Move the commit index on, never back."""
        if index > self.commit_index:
            self._SyncObj__raftCommitIndex = index
            self.journal.setRaftCommitIndex(index)

    def jump_to(self, index: int) -> None:
        """Count everything up to `index` as applied: a snapshot stands for it."""
        assert self.last_applied < index <= self.commit_index
        self._SyncObj__raftLastApplied = index

    def follow(self, leader: Peer, term: int) -> None:
        """Obey the leader of a term that is at least the own one."""
        if term > self.term:
            self._SyncObj__transferInProgress = False
            self.step_up_to(term)
        assert self.state != LEADER, "two leaders in one term"
        if not self.transfer_is_asked:
            self.delay_election()
        if self.leader != leader:
            self._SyncObj__onLeaderChanged()
        self._SyncObj__raftLeader = leader
        self._SyncObj__setState(FOLLOWER)

    def step_up_to(self, term: int) -> None:
        """Learn of a newer term without knowing its leader."""
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    def delay_election(self) -> None:
        self._SyncObj__raftElectionDeadline = now() + self._SyncObj__generateRaftTimeout()

    def ask_again_soon(self) -> None:
        """Let the election timeout run out again after a part of it."""
        self._SyncObj__raftElectionDeadline = now() + self._SyncObj__generateRaftTimeout() / 3

    def hasten_election(self) -> None:
        self._SyncObj__raftElectionDeadline = 0.0

    def sent_to_all(self) -> None:
        """Let the next heartbeat come in its time."""
        self._SyncObj__newAppendEntriesTime = now() + self.timing.heartbeat

    def heard_from(self, peer: Peer) -> None:
        self._SyncObj__lastResponseTime[peer] = now()

    def set_others(self, others: set[Peer]) -> None:
        """Take part with these; what is known of those that stay, stays."""
        for gone in self.others - others:
            for by_peer in (self.next_index, self.match_index, self._SyncObj__lastResponseTime):
                by_peer.pop(gone, None)
        for new in others - self.others:
            self.track(new)
        self._SyncObj__otherNodes = others

    def track(self, peer: Peer) -> None:
        """Begin to send entries to a peer."""
        self.next_index.setdefault(peer, self.journal.last_index + 1)
        self.match_index.setdefault(peer, 0)
        self._SyncObj__lastResponseTime.setdefault(peer, now())

    def discard_waiting(self) -> None:
        """Tell those who wait for entries that a snapshot stands for: nobody knows what became of theirs."""
        waiting = self._SyncObj__commandsWaitingCommit
        for index in [index for index in waiting if index <= self.last_applied]:
            for _, callback in waiting.pop(index):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)

    def submit(self, command: bytes, on_failure: Callable[[object, int], None]) -> None:
        """Put a command on its way to the leader, at the next tick; the callback is told failures, and success too."""
        self._applyCommand(command, on_failure)

    # what the library calls, under public names

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self._random.uniform(self.timing.election_min, self.timing.election_max)

    def _SyncObj__connectedToAnyone(self) -> bool:
        return self.may_campaign()

    def _SyncObj__onMessageReceived(self, node: Peer, message: Message) -> None:
        self.receive(node, message)

    def _SyncObj__sendAppendEntries(self) -> None:
        self.replicate()

    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> MembershipChange | None:
        return self.change_in(command)

    def _SyncObj__changeCluster(self, request: MembershipChange) -> bool:
        return self.accepts_change(request)

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        self.apply_entry(command)

    def _SyncObj__applyLogEntries(self) -> bool:
        applied, commit = self.last_applied, self.commit_index
        if self.may_apply():
            self._SyncObj__raftCommitIndex = self.journal.durable_commit
            super()._SyncObj__applyLogEntries()
            self._SyncObj__raftCommitIndex = commit
        return self.last_applied > applied

    def _SyncObj__tryLogCompaction(self) -> None:
        self.compact()

    def _checkCommandsToApply(self) -> None:
        last = self.journal.last_index
        super()._checkCommandsToApply()
        if self.journal.last_index > last:
            self.after_proposals(last + 1)

    def library_receive(self, node: Peer, message: Message) -> None:
        """Let the library treat a message."""
        if message["type"] == "apply_command_response" and "error" in message:
            message = {**message, "error": FAIL_REASON.UNKNOWN_OUTCOME}
        super()._SyncObj__onMessageReceived(node, message)

    def replay(self) -> None:
        """Apply what is known to be committed."""
        self._SyncObj__applyLogEntries()

    # to be defined by the core

    @abstractmethod
    def may_apply(self) -> bool: ...

    @abstractmethod
    def may_campaign(self) -> bool: ...

    @abstractmethod
    def receive(self, node: Peer, message: Message) -> None: ...

    @abstractmethod
    def replicate(self) -> None: ...

    @abstractmethod
    def change_in(self, command: bytes) -> MembershipChange | None: ...

    @abstractmethod
    def accepts_change(self, change: MembershipChange) -> bool: ...

    @abstractmethod
    def apply_entry(self, command: bytes) -> None: ...

    @abstractmethod
    def compact(self) -> None: ...

    @abstractmethod
    def after_proposals(self, first_index: int) -> None: ...

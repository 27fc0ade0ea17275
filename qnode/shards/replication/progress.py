"""What a primary knows of one of its replicas in its epoch. Data and small questions; decisions are in `primary`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from qnode.shards.replication.view import PeerId, ReplicaState, Settings


class Mode(Enum):
    """How a replica is sent to."""

    PROBING = auto()
    """Where its log and ours agree is being found out: one Append without records at a time."""
    STREAMING = auto()
    """They agree up to where we send from; records go out ahead of the answers."""
    WAITING = auto()
    """It could not take anything; it is probed again at `retry_at`."""
    COPYING = auto()
    """It needs a copy of the shard."""


@dataclass(slots=True)
class Progress:
    """A replica as seen by the primary. `matched_op`: durable there and equal to our log.

    has_left: its link broke after it had said that it goes; a commit has no reason to wait for it.
    since: what it says counts only if it obeys this revision or a later one. One that is Partial may have been dropped
    and made anew, empty; what it said, or still says, before it heard of that is about what is gone.
    """

    peer: PeerId
    state: ReplicaState
    is_connected: bool
    has_left: bool
    next_op: int
    since: int
    mode: Mode = Mode.PROBING
    matched_op: int = 0
    applied_op: int = 0
    told_commit_op: int = 0
    is_probe_under_way: bool = False
    retry_at: float | None = None
    retry_seconds: float = 0.0
    quiet_since: float | None = None
    """When it last got on; None while nothing waits for it."""
    near_since: float | None = None
    near_ops: int = 0
    """Since when a Partial replica lacks more than half of so many operations."""
    holds_commits: bool = False
    """A Partial replica that was near enough: no commit passes it by."""
    is_stuck: bool = False
    """It did not get on, though it answers: nothing waits for it again before it has applied something."""
    asked_state: ReplicaState | None = None
    """The state proposed for it at `asked_revision`, and when it is proposed again."""
    asked_revision: int = -1
    ask_again_at: float = 0.0

    may_become_active_at: int = -1
    """The revision at which it was last proposed to be Active."""

    def promotion_is_open(self, revision: int) -> bool:
        """Whether it may be made Active by a command that we have proposed and the topology has not ruled out."""
        return self.may_become_active_at == revision

    def is_required(self, revision: int) -> bool:
        """Whether a commit needs it: no later primary may be chosen that lacks what we commit."""
        return self.state is ReplicaState.ACTIVE or self.holds_commits or self.promotion_is_open(revision)

    def seek(self, next_op: int) -> None:
        """Find out again where the logs agree, beginning in front of `next_op`; what is under way is forgotten."""
        self.mode = Mode.PROBING
        self.next_op = next_op
        self.is_probe_under_way = False
        self.retry_at = None

    def seek_again(self) -> None:
        """Seek behind what is known to be there, or where we were if nothing is."""
        self.seek(self.matched_op + 1 if self.matched_op else self.next_op)

    def is_near(self, left_ops: int, now: float, settings: Settings) -> bool:
        """Whether a replica is to be waited for that lacks so many operations: next to none, or it hardly comes nearer."""
        if left_ops > settings.farthest_join_ops:
            self.near_since = None
            return False
        if self.near_since is None or left_ops <= self.near_ops // 2:
            self.near_since, self.near_ops = now, left_ops
        return left_ops <= settings.join_distance_ops or now >= self.near_since + settings.join_seconds

    def wait(self, now: float, settings: Settings) -> None:
        """Leave it alone for a while, longer each time."""
        self.retry_seconds = min(2 * self.retry_seconds or settings.retry_seconds, settings.longest_retry_seconds)
        self.mode, self.retry_at = Mode.WAITING, now + self.retry_seconds

    def stalls_at(self, settings: Settings) -> float | None:
        """When the wait for it becomes too long; None if nothing waits."""
        if self.quiet_since is None:
            return None
        if self.is_connected:
            return self.quiet_since + settings.stall_timeout_seconds
        return self.quiet_since + (0.0 if self.has_left else settings.link_timeout_seconds)

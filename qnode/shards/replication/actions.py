"""What the protocol asks of the driver of a shard. Actions are to be begun in the order in which they were given.

Disk work may take its time and be done in a thread: the driver performs the `Store` actions in order, and reports each as
`appended`, then `synced` (one sync may serve many: the last ticket stands for all before it), or `refused`. While Stores are
under way, further events may come and further actions be given.
"""

from __future__ import annotations

from dataclasses import dataclass

from qnode.shards.replication.messages import Appended, Refused
from qnode.shards.replication.view import HandOver, PeerId, SetState
from qnode.wal import Record


@dataclass(frozen=True, slots=True)
class Store:
    """Cut the log off at `truncate_from`, append the records, and sync."""

    ticket: int
    truncate_from: int | None
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class SendRecords:
    """Send an Append with the records behind `prev_op` up to `last_op`, taken from the log, in one or several messages.

    Only while the shard is in `epoch`, and only on the link that is up now: what cannot be sent any more is dropped. If the
    records cannot be read any more, report the link as broken and up again: then it is found out anew what to send.
    """

    peer: PeerId
    epoch: int
    prev_op: int
    prev_epoch: int
    last_op: int
    commit_op: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this to the primary, on the link that is up now."""

    peer: PeerId
    message: Appended | Refused


@dataclass(frozen=True, slots=True)
class ApplyTo:
    """Apply the log's operations up to this one, and report how far it has come with `applied`."""

    op_num: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Writes up to this operation are committed."""

    op_num: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Writes up to this operation are applied on every in-sync replica."""

    op_num: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Writes from this operation on were not taken: tell who waits that nothing of them is anywhere."""

    from_op: int


@dataclass(frozen=True, slots=True)
class StepDown:
    """The node is no primary any more. Who waits for an operation behind `committed_op` learns that nobody knows."""

    committed_op: int


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose a command to the topology. Whether it had an effect, the topology will show."""

    command: SetState | HandOver


@dataclass(frozen=True, slots=True)
class NeedsCopy:
    """The log does not reach back to where this Partial replica is: copy the shard to it, then report `copied`.

    The order to put the copy in place goes over the link of the Appends, and only while the shard's `copying` has the peer. The
    receiver obeys only in the same epoch, and only while its own topology does not call it Active; it opens a new `Shard`
    over the copy, and tells so on the same link. So the order comes before all that is sent later, and `copied` behind all that
    the receiver answered before: no answer is taken for one of the copy.
    """

    peer: PeerId


Action = Store | SendRecords | Answer | ApplyTo | Acknowledge | Complete | Refuse | StepDown | Propose | NeedsCopy

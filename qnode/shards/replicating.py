"""The driver of a shard's replication: it does what the protocol asks, and tells it what became of it.

    writes of clients, views, links, messages  →  replication.Shard  →  log, index, peers, answers

It runs on the writer thread alone, but for the few properties that say otherwise. A turn of that thread is: events and writes,
then `finish`: one sync for all that was logged, so records are on their way before; then some of what is committed is applied.

- **With no other replica** a group is logged, synced and applied before the protocol hears of it. A group that cannot be
  applied (a full disk) is taken out of the log again, and refused: it is nowhere.
- **With others**, what is committed cannot be taken back. Where there is no room to apply it, new writes are refused until there
  is, and who waits for it to be visible is told after a while that it is durable and not yet applied.
- Any other failure makes the shard **broken**: it takes nothing more, and has no log to tell of, until it is opened anew or the
  copy that it asks its primary for is installed. Who waits learns that nobody knows. If an event raises, call `break_down`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from qnode.errors import InternalError, NotFound, NotPrimary, OutOfSpace, QnodeError, Unavailable, UnknownOutcome
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import Operation
from qnode.models.topology import ReplicaState
from qnode.models.vector_params import IndexParams
from qnode.shards.applying import Applying
from qnode.shards.opening import ShardFiles, accept_copy, move_behind, restore_fields
from qnode.shards.outgoing import Outgoing
from qnode.shards.replication import Settings, Shard, ShardView
from qnode.shards.replication import actions as do
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.messages import Append, Appended, BadMessage, Message, Reason, Refused, decode, encode
from qnode.shards.replication.view import PeerId, SetState
from qnode.shards.storing import Storing
from qnode.shards.surroundings import Surroundings
from qnode.shards.tail import Tail
from qnode.shards.trimming import Trimming
from qnode.shards.waiting import Ledger, Resolved, fault_of, text_of

APPLY_PATIENCE_SECONDS: Final = 5.0  # who waits for a write to be applied is told then that there is no room

_log = logging.getLogger(__name__)


class Replicating:
    """A shard's log and index, joined to its replicas."""

    def __init__(
        self,
        me: PeerId,
        settings: Settings,
        surroundings: Surroundings,
        reopen: Callable[[IndexParams], ShardFiles],
        files: ShardFiles,
        keep_log_bytes: int,
    ) -> None:
        self._me = me
        self._settings = settings
        self._surroundings = surroundings
        self.max_record_bytes = surroundings.max_record_bytes
        self._reopen = reopen
        self._keep_log_bytes = keep_log_bytes
        self._view: ShardView | None = None
        self._links: set[PeerId] = set()
        self._ledger = Ledger()
        self._schemas: Mapping[str, FieldSchema] | None = None  # while a copy is being put in place
        self.may_promote = True  # whether replicas may be proposed to become Active, or primary
        self._take_files(files)

    def _take_files(self, files: ShardFiles) -> None:
        self._files = files
        self._log, self.index = files.log, files.index
        self._shard = Shard(self._me, self._settings, files.image, files.index.applied_op)
        self._tail = Tail()
        self.applying = Applying(files.index, files.log, self._tail)
        self._outgoing = Outgoing(files.log, self._tail, self._surroundings.send, self._surroundings.window)
        self._unsynced_ticket: int | None = None
        self._refusal: QnodeError | None = None
        self.trimming = Trimming(files.log, self._keep_log_bytes)
        self._storing = Storing(files.log, self._tail, self.applying, self.trimming)
        self.fault: QnodeError | None = files.fault
        self.log_end: LogEnd | None = None
        self.publish()

    def close(self) -> None:
        """Close the files; who waits for other replicas learns that nobody knows. The thread has ended."""
        self._outgoing.forget_others(())
        self._ledger.end(self._shard.committed_op, "the node is being stopped")
        self._files.close()

    # Where it stands. Other threads may look at `fault`, `log_end` and `ailment`.

    def ailment(self, patience_seconds: float) -> str | None:
        """Say why this replica should not be primary: it is broken, or could not write for so long."""
        if self.fault is not None:
            return str(self.fault)
        return self.applying.ailment(patience_seconds) or self._storing.ailment(patience_seconds)

    def refusal(self) -> QnodeError | None:
        """Say why no write can be taken now; None if one can."""
        if self.fault is not None:
            return self.fault
        if self.applying.no_room is not None:
            return self.applying.no_room
        if (text := self._shard.refusal()) is None:
            return None
        return Unavailable(text) if self._shard.takes_writes else NotPrimary(text)

    @property
    def is_alone(self) -> bool:
        """Whether no other replica follows: the index changes only by writes that this node was given."""
        return self._shard.is_sole_holder

    @property
    def is_all_applied(self) -> bool:
        """Whether the index shows all that is logged."""
        return self.index.applied_op >= self._shard.log.last_op

    @property
    def due_at(self) -> float | None:
        """When `finish` is to be called again if nothing happens; None: never."""
        if self.fault is not None:
            return None
        dues = (self._shard.deadline, self.applying.due_at(self._shard.committed_op, is_alone=self.is_alone))
        return min((due for due in dues if due is not None), default=None)

    @property
    def applied_epoch(self) -> int:
        """The epoch of the last operation that is applied; 0 if that is not known."""
        return self._shard.log.epoch_at(self.index.applied_op) or 0

    def copying_epoch(self, peer: PeerId) -> int | None:
        """Tell in which epoch a peer waits for a copy of this primary, as of all that it was sent; None: it does not."""
        is_waiting = self.fault is None and peer in self._shard.copying
        return self._view.epoch if is_waiting and self._view is not None else None

    def publish(self) -> None:
        """Let other threads see where the log ends now."""
        log = self._shard.log
        end = None if self.fault is not None else LogEnd(log.last_epoch, log.last_op)
        if self.log_end != end:
            self.log_end = end

    # Events

    def follow(self, view: ShardView) -> None:
        """Obey a view of the topology."""
        before, self._view = self._view, view
        if self.fault is not None:
            return
        if view.primary == self._me and view.epoch < self._shard.log.last_epoch:
            raise InternalError(
                f"the topology is at epoch {view.epoch}, the log at {self._shard.log.last_epoch}: it was set back"
            )
        goes_on = before is not None and before.epoch == view.epoch
        self._outgoing.forget_others(view.followers if goes_on else ())
        self._perform(self._shard.topology_changed(view, monotonic()))

    def link_changed(self, peer: PeerId, is_up: bool, has_left: bool = False) -> None:
        """Hear that the link to a peer came up, or broke; `has_left`: because the peer goes."""
        (self._links.add if is_up else self._links.discard)(peer)
        if self.fault is None:
            self._outgoing.forget(peer)
            self._perform(self._shard.link_changed(peer, is_up, monotonic(), has_left=has_left))

    def received(self, peer: PeerId, data: bytes) -> None:
        """Hear from a peer. A broken replica asks its primary for a copy, whatever it is sent."""
        try:
            message = decode(data)
        except BadMessage as fault:
            _log.warning("peer %d sent what is no message of a shard: %s", peer, fault)
            return
        if self.fault is not None:
            if isinstance(message, Append):
                self._complain(peer, message.epoch, Reason.BROKEN)
            return
        self._perform(self._shard.received(peer, message, monotonic()))
        self._make_way(peer, message)

    def has_room(self, peer: PeerId) -> None:
        """Hear that what waits for the window of a peer has its turn."""
        if self.fault is None:
            self._perform(self._sending(peer, lambda: self._outgoing.woken(peer)))

    def hand_over(self, heirs: Sequence[PeerId], seconds: float) -> None:
        """Let one of these replicas be primary, as `Shard.hand_over`."""
        if self.fault is None:
            self._perform(self._shard.hand_over(heirs, seconds, monotonic()))

    def copied(self, peer: PeerId, op_num: int) -> None:
        """Hear that a peer holds a copy as of an operation."""
        if self.fault is None:
            self._perform(self._shard.copied(peer, op_num, monotonic()))

    def take(self, group: Sequence[Resolved]) -> None:
        """Log writes. They are answered later, as the protocol says, or refused at once."""
        if (refusal := self.refusal()) is not None:
            for entry in group:
                entry.waiting.fail(refusal)
            return
        can_take_back = self.is_alone and self.is_all_applied and not self.applying.postponed.is_asked_for
        operations = {}
        for op_num, entry in enumerate(group, self._shard.log.last_op + 1):
            self._ledger.add(op_num, entry.waiting)
            operations[op_num] = entry.operation
        (store,) = self._shard.write([entry.payload for entry in group], monotonic())
        assert isinstance(store, do.Store)
        if can_take_back:
            self._store_and_apply(store, operations)
        else:
            self._perform(self._store(store, operations))

    def finish(self) -> None:
        """Make durable what was logged in this turn, apply a piece of what is committed, and do what is due."""
        if self.fault is not None:
            return
        now = monotonic()
        if (deadline := self._shard.deadline) is not None and now >= deadline:
            self._perform(self._shard.tick(now))
        if self._unsynced_ticket is not None:
            ticket, self._unsynced_ticket = self._unsynced_ticket, None
            self._storing.sync()
            self._perform(self._shard.synced(ticket, monotonic()))
        if self.applying.is_due(self._shard.committed_op, now, is_alone=self.is_alone):
            self._apply_some(now)
        if self.trimming.is_due:
            self.trimming.trim(self._shard.applied_op)
            self._shard.dropped_before(self._log.first_op)

    def break_down(self, error: Exception) -> None:
        """Take nothing more; tell who waits that nobody knows."""
        self.fault = self.fault or fault_of(error)
        self.publish()
        self._outgoing.forget_others(())
        self._ledger.fail(UnknownOutcome(text_of(self.fault)))
        view = self._view
        if view is not None and view.primary is not None and view.primary != self._me:
            self._complain(view.primary, view.epoch, Reason.BROKEN)

    def _complain(self, primary: PeerId, epoch: int, reason: Reason) -> None:
        """Say that this replica takes nothing now; one that is broken and in-sync will be called dead, then copied."""
        revision = 0 if self._view is None else self._view.revision
        self._surroundings.send(primary, encode(Refused(epoch, reason, 0, 0, 0, 0, revision)))

    def install(self, copy: Path, applied_op: int, applied_epoch: int, epoch: int) -> None:
        """Put a copy, received in an epoch, in place of what is here; raise Unavailable, with nothing changed, if it is unwanted."""
        view = self._view
        if view is None or view.epoch != epoch or self._me in view.active:
            raise Unavailable("the copy came too late: the shard's replicas have changed")
        self._put_in_place(copy, applied_op, applied_epoch, view)

    def restore(self, copy: Path, epoch: int) -> None:
        """Let a copy with another history be the shard, of which this is the only Active replica; raise as `install`.

        `may_promote` must be off since before the epoch. The shard goes on behind all that was logged: other logs do not fit it.
        """
        view = self._view
        if view is None or (view.epoch, view.primary) != (epoch, self._me) or len(view.active) > 1 or self.may_promote:
            raise Unavailable("the shard's replicas have changed while a snapshot was being restored")
        op_num = move_behind(copy, self._shard.log.last_op)
        self._ledger.fail(UnknownOutcome("the shard was replaced by a snapshot"))
        self._put_in_place(copy, op_num, epoch, view)

    def _put_in_place(self, copy: Path, applied_op: int, applied_epoch: int, view: ShardView) -> None:
        if self._schemas is None:  # else an attempt failed, and closed it
            self._schemas = self.index.fields.schemas
        accept_copy(self.index.path, copy, applied_op, applied_epoch)
        self.log_end = None
        self._outgoing.forget_others(())
        try:
            with suppress(QnodeError):  # what the old log could not make durable is not needed any more
                self._files.close()
            self._take_files(self._reopen(self.index.params))
            restore_fields(self.index, self._schemas)
            self._schemas = None
        except Exception as error:
            self.break_down(error)
            raise
        for peer in self._links:
            self._perform(self._shard.link_changed(peer, True, monotonic()))
        self._perform(self._shard.topology_changed(view, monotonic()))

    # Actions

    def _perform(self, actions: Iterable[do.Action]) -> None:
        begun = deque(actions)
        while begun:
            begun.extend(self._begin(begun.popleft()))

    def _begin(self, action: do.Action) -> Sequence[do.Action]:
        """Do what an action says; give what follows from it at once."""
        match action:
            case do.Store():
                return self._store(action, {})
            case do.SendRecords():
                return self._sending(action.peer, lambda: self._outgoing.ask(action))
            case do.Answer(peer, message):
                self._surroundings.send(peer, encode(message))
            case do.ApplyTo():
                pass  # `finish` applies all that is committed
            case do.Acknowledge(op_num):
                self._ledger.acknowledge(op_num)
            case do.Complete(op_num):
                self._ledger.complete(op_num)
                self._tail.forget_up_to(op_num)
            case do.Refuse(from_op):
                assert self._refusal is not None
                self._ledger.refuse(from_op, self._refusal)
            case do.StepDown(committed_op):
                self._ledger.end(committed_op, "the shard has another primary now")
            case do.Propose(command):
                if self.may_promote or (isinstance(command, SetState) and command.state is ReplicaState.DEAD):
                    self._surroundings.propose(command)
            case do.NeedsCopy(peer):
                self._surroundings.copy_needed(peer)
        return ()

    def _store(self, store: do.Store, operations: Mapping[int, Operation]) -> Sequence[do.Action]:
        try:
            self._storing.put(store, operations)
        except OutOfSpace as error:
            self._refusal = error
            return self._shard.refused(store.ticket, monotonic())
        self._unsynced_ticket = store.ticket
        self.applying.postponed.add(store, operations, is_alone=self.is_alone)
        return self._shard.appended(store.ticket, monotonic())

    def _store_and_apply(self, store: do.Store, operations: Mapping[int, Operation]) -> None:
        """Log and apply writes that no other replica needs to have; all of them or none."""
        try:
            self._log.append(store.records)
            self._log.sync()
        except OutOfSpace as error:
            self._refuse(store, error)
            return
        try:
            self.index.apply(list(operations.items()))
        except Exception as error:
            self._take_out(store, error)
            return
        self._storing.count(store)
        self._perform(self._shard.synced(store.ticket, monotonic()))
        self._perform(self._shard.applied(store.records[-1].op_num, monotonic()))

    def _take_out(self, store: do.Store, error: Exception) -> None:
        """Remove what was logged and could not be applied; nobody was told that it was there.

        If it is in the index it must stay, for numbers are not given twice; then only opening the shard anew puts the heap right.
        """
        first_op = store.records[0].op_num
        if not isinstance(error, OutOfSpace):
            _log.error("operations %d.. could not be applied", first_op, exc_info=error)
        if self.index.stored_op >= first_op:
            raise error
        self._log.truncate_from(first_op)
        self._refuse(store, fault_of(error))

    def _refuse(self, store: do.Store, error: QnodeError) -> None:
        self._refusal = error
        self._perform(self._shard.refused(store.ticket, monotonic()))

    def _apply_some(self, now: float) -> None:
        if not self.applying.apply_some(self._shard.committed_op, now):
            view, lacks_room = self._view, self.applying.lacks_room
            if lacks_room and view is not None and view.primary is not None and not self._shard.is_primary:
                self._complain(view.primary, view.epoch, Reason.UNABLE)  # nobody should wait for this replica
            if (reason := self.applying.ailment(APPLY_PATIENCE_SECONDS)) is not None:
                self._ledger.give_up_applying(self._shard.committed_op, reason)
            return
        applied_op = self.index.applied_op
        self._perform(self._shard.applied(applied_op, monotonic()))
        if not self._shard.is_primary:
            self._tail.forget_up_to(applied_op)

    def _make_way(self, peer: PeerId, message: Message) -> None:
        """Send on what had to wait until a replica answered."""
        if self._view is None or message.epoch != self._view.epoch:
            return
        if isinstance(message, Appended):
            self._perform(self._sending(peer, lambda: self._outgoing.answered(peer, message.logged_op)))
        elif isinstance(message, Refused):
            self._perform(self._sending(peer, lambda: self._outgoing.refused(peer)))

    def _sending(self, peer: PeerId, send: Callable[[], None]) -> Sequence[do.Action]:
        """Send records; where the log no longer has them, let it be found out anew what to send."""
        try:
            send()
        except NotFound:
            self._outgoing.forget(peer)
            now = monotonic()
            return [*self._shard.link_changed(peer, False, now), *self._shard.link_changed(peer, True, now)]
        return ()

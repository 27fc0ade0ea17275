"""The commands of the log as bytes. Pure.

      0  kind         u8     0 the machine's own, 1 nothing (a leader begins its term with it), 2 a change of membership
      1  proposal id  16 B   random; tells copies of one proposal apart from another proposal (not for kind 1)
     17  content             opaque bytes, or a MembershipChange as msgpack

The kinds are pysyncobj's numbers. Its fourth kind, a change of code version, is never written and never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgpack

from qnode.raft.membership import MembershipChange

MAX_COMMAND_BYTES: Final = (64 << 10) - 1
PROPOSAL_ID_BYTES: Final = 16

REGULAR: Final = 0
NOTHING: Final = 1
MEMBERSHIP: Final = 2

NO_OPERATION: Final = bytes([NOTHING])
_HEAD_BYTES: Final = 1 + PROPOSAL_ID_BYTES
MAX_CONTENT_BYTES: Final = MAX_COMMAND_BYTES - _HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Proposed:
    """A command that somebody proposed: exactly one of `content` and `change` is there."""

    proposal_id: bytes
    content: bytes | None
    change: MembershipChange | None


def encode_regular(proposal_id: bytes, content: bytes) -> bytes:
    """Write a command of the machine."""
    assert len(proposal_id) == PROPOSAL_ID_BYTES
    assert len(content) <= MAX_CONTENT_BYTES, "commands are small: refer to large values by key"
    return bytes([REGULAR]) + proposal_id + content


def encode_change(proposal_id: bytes, change: MembershipChange) -> bytes:
    """Write a change of membership."""
    assert len(proposal_id) == PROPOSAL_ID_BYTES
    packed: bytes = msgpack.packb(change.to_plain())
    return bytes([MEMBERSHIP]) + proposal_id + packed


def decode(command: bytes) -> Proposed | None:
    """Read a command; None if nobody proposed it. Raise ValueError for bytes that are no command."""
    if command == NO_OPERATION:
        return None
    if not _HEAD_BYTES <= len(command) <= MAX_COMMAND_BYTES:
        raise ValueError(f"a command of {len(command)} bytes")
    proposal_id, content = command[1:_HEAD_BYTES], command[_HEAD_BYTES:]
    if command[0] == REGULAR:
        return Proposed(proposal_id, content, None)
    change = change_in(command)
    if change is None:
        raise ValueError(f"a command of kind {command[0]}")
    return Proposed(proposal_id, None, change)


def change_in(command: bytes) -> MembershipChange | None:
    """Give the change of membership that a command asks for; None for every other command."""
    if command[:1] != bytes([MEMBERSHIP]):
        return None
    try:
        return MembershipChange.from_plain(msgpack.unpackb(command[_HEAD_BYTES:]))
    except (ValueError, TypeError, msgpack.UnpackException):
        return None

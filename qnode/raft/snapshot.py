"""The state that the log's beginning has led to, as one value and as bytes.

It holds the machine's bytes, the membership, and the ids of the newest proposals, which let a proposal be sent again
without being applied twice: all that is the same on every peer that has applied the same entries. The bytes begin with
their checksum, on disk and on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgpack
import xxhash

from qnode.raft.commands import PROPOSAL_ID_BYTES
from qnode.raft.membership import Membership

FORMAT_VERSION: Final = 1
_CHECKSUM_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything up to and with the entry `index`, which is of `term`; `recent` is oldest first."""

    index: int
    term: int
    membership: Membership
    recent: tuple[bytes, ...]
    state: bytes

    def to_bytes(self) -> bytes:
        """Write what `from_bytes` reads."""
        content: bytes = msgpack.packb(
            [FORMAT_VERSION, self.index, self.term, self.membership.to_plain(), b"".join(self.recent), self.state]
        )
        return xxhash.xxh3_64_digest(content) + content

    @classmethod
    def from_bytes(cls, value: bytes) -> Snapshot:
        """Read what `to_bytes` wrote; raise ValueError for anything else."""
        content = value[_CHECKSUM_BYTES:]
        if xxhash.xxh3_64_digest(content) != value[:_CHECKSUM_BYTES]:
            raise ValueError("the checksum of the snapshot does not match")
        try:
            version, index, term, membership, recent, state = msgpack.unpackb(content)
            ids = tuple(recent[at : at + PROPOSAL_ID_BYTES] for at in range(0, len(recent), PROPOSAL_ID_BYTES))
            if version == FORMAT_VERSION:
                return cls(index, term, Membership.from_plain(membership), ids, state)
        except (TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"the snapshot cannot be read: {error}") from error
        raise ValueError(f"the snapshot is of format {version}, which is unknown")

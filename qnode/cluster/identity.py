"""Who a node is, by its storage: a member of a cluster if there is a journal, and which one by the id beside it.

The id is drawn or configured when the storage is new, and kept for good.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from qnode.disk import make_directory, write_file_durably
from qnode.errors import CannotStart, Corruption
from qnode.models.topology import LARGEST_PEER_ID

JOURNAL: Final = "journal"
_NAME: Final = "peer_id"


def is_member(folder: Path) -> bool:
    """Say whether this is the storage of a node that has ever been started as one of a cluster."""
    return (folder / JOURNAL / "data.mdb").exists()


def peer_id_of(folder: Path, configured: int | None) -> int:
    """Give the node's id, which is made now if there is none; raise CannotStart if it is not the configured one."""
    file = folder / _NAME
    if not file.exists():
        peer = configured or 1 + secrets.randbelow(LARGEST_PEER_ID)
        make_directory(folder)
        write_file_durably(file, b"%d\n" % peer)
        return peer
    try:
        peer = int(file.read_text(encoding="ascii"))
    except ValueError:
        raise Corruption(file, "it does not hold a peer's id", "Restore the storage folder from a backup") from None
    if configured not in (None, peer):
        raise CannotStart(f"this storage belongs to peer {peer}, and cluster.peer_id is {configured}")
    return peer

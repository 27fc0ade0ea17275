"""How much of a shard's log is kept: the newest part for replicas that fall behind, and more while a copy is on its way.

Nothing goes that is not applied. What is kept for a peer's copy is kept however long that takes, up to
MOST_KEPT_LOG_BYTES: else a copy that takes longer than the log reaches would be of no use when it arrives, and so
would the next.
"""

from __future__ import annotations

import logging
from typing import Final

from qnode.errors import QnodeError
from qnode.shards.replication.view import PeerId
from qnode.wal import Log

MOST_KEPT_LOG_BYTES: Final = 4 << 30
"""A log that is larger is not kept for copies any more: they have to begin anew."""

_log = logging.getLogger(__name__)


class Trimming:
    """Drops old files of a log, keeping at least the last `keep_log_bytes`. For the writer thread."""

    def __init__(self, log: Log, keep_log_bytes: int) -> None:
        self._of = log
        self._keep_log_bytes = keep_log_bytes
        self._logged_bytes = 0
        self._marks = (log.first_op, log.next_op)
        self._kept_from: dict[PeerId, int] = {}

    def logged(self, size_bytes: int) -> None:
        """Take note of what was added to the log."""
        self._logged_bytes += size_bytes

    def keep_from(self, peer: PeerId, op_num: int | None) -> None:
        """Keep the log from an operation on, for a peer whose copy ends before it; None: no longer."""
        self._kept_from.pop(peer, None)
        if op_num is not None:
            self._kept_from[peer] = op_num

    @property
    def is_due(self) -> bool:
        """Whether enough was added for old files to go."""
        return self._logged_bytes > self._keep_log_bytes

    def trim(self, applied_op: int) -> None:
        """Drop old files; what is applied is durable without them."""
        before, last = self._marks
        self._marks = (last, self._of.next_op)
        self._logged_bytes = 0
        kept_from = self._kept_from.values() if self._of.size_bytes <= MOST_KEPT_LOG_BYTES else ()
        try:
            self._of.drop_before(min(before, applied_op + 1, *kept_from))
        except QnodeError:
            _log.warning("old files of the log could not be removed", exc_info=True)

"""The real disk, but for what a test lets be wrong with it: syncs that do not return, writes that find no room."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence

from qnode.disk import Buffer, RealDisk


class UnwellDisk(RealDisk):
    """Well at first."""

    def __init__(self) -> None:
        self.is_full = False
        self.met = threading.Event()
        """Set when a sync has begun that does not return."""
        self._goes_on = threading.Event()
        self._goes_on.set()

    def hang(self) -> None:
        """Let no sync that begins from now on return."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """Let all syncs return."""
        self._goes_on.set()

    def write(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, buffers, offset)

    def sync(self, descriptor: int) -> None:
        if not self._goes_on.is_set():
            self.met.set()
            self._goes_on.wait()
        super().sync(descriptor)

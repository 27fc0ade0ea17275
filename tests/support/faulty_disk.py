"""A disk that fills up, stops short, fails to sync, and forgets at a crash what was not synced.

It works on real files, so that whatever reads them sees what a running system would. Beside them it keeps what has reached the
disk: the synced content of each file, the unsynced changes to it, and the same for the directory. `crash` lets chance choose what of
the unsynced survives, and puts the files into that state.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qnode.disk import REAL, Buffer

SECTOR_BYTES = 512


@dataclass
class _Content:
    """A file's bytes on the disk, and the changes to them that only memory has."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, written); None: cut off at offset


class PowerCut(BaseException):
    """The power went in the middle of a call; nothing of the program runs on. Call `crash` then."""


class FaultyDisk:
    """All files under `directory` that are changed through it."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.free_bytes: int | None = None  # None: no limit
        self.fail_next_syncs = 0
        self.fail_next_writes = 0
        self.short_writes = False
        self.calls_before_power_cut: int | None = None
        self.syncs = 0
        self._directory = directory
        self._chance = chance
        self._contents: dict[int, _Content] = {}  # by inode, of the files that can be opened now
        self._names: dict[Path, _Content] = {}  # durable directory entries
        self._unsynced_names: list[tuple[Path, _Content | None]] = []  # None: removed
        self._open: set[int] = set()

    def create(self, path: Path) -> int:
        self._use_power()
        is_new = not path.exists()
        descriptor = REAL.create(path)
        self._open.add(descriptor)
        inode = os.fstat(descriptor).st_ino
        if is_new:
            self._contents[inode] = _Content()
            self._unsynced_names.append((path, self._contents[inode]))
        else:
            self._contents[inode].unsynced.append((0, None))
        return descriptor

    def open(self, path: Path) -> int:
        self._use_power()
        descriptor = REAL.open(path)
        self._open.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        REAL.close(descriptor)

    def write(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._use_power()
        if self.fail_next_writes:
            self.fail_next_writes -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data = b"".join(buffers)
        if self.short_writes and data:
            data = data[: self._chance.randint(1, len(data))]
        if self.free_bytes is not None:
            growth = max(0, offset + len(data) - os.fstat(descriptor).st_size)
            if growth > self.free_bytes:
                data = data[: len(data) - (growth - self.free_bytes)]
                growth = self.free_bytes
                if not data:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.free_bytes -= growth
        self._content(descriptor).unsynced.append((offset, data))
        return REAL.write(descriptor, [data], offset)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._use_power()
        if self.free_bytes is not None:
            self.free_bytes += max(0, os.fstat(descriptor).st_size - size_bytes)
        self._content(descriptor).unsynced.append((size_bytes, None))
        REAL.truncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        self._use_power()
        self.syncs += 1
        content = self._content(descriptor)
        if self.fail_next_syncs:
            self.fail_next_syncs -= 1
            # What was not written is forgotten: memory shows it, and no later sync will write it.
            content.durable = self._survivors(content)
            content.unsynced.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        for change in content.unsynced:
            _apply(content.durable, *change)
        content.unsynced.clear()
        # The size is written as it is now, also when a failed sync forgot what had led to it.
        size = os.fstat(descriptor).st_size
        content.durable = content.durable[:size].ljust(size, b"\0")

    def rename(self, source: Path, target: Path) -> None:
        self._use_power()
        content = self._contents[source.stat().st_ino]
        REAL.rename(source, target)
        self._unsynced_names += [(target, content), (source, None)]

    def remove(self, path: Path) -> None:
        self._use_power()
        REAL.remove(path)
        self._unsynced_names.append((path, None))

    def sync_directory(self, path: Path) -> None:
        self._use_power()
        self._keep_names(len(self._unsynced_names))

    def kill(self) -> None:
        """End the program: nothing is open any more, and nothing that was written is lost."""
        self.free_bytes, self.fail_next_syncs, self.fail_next_writes = None, 0, 0
        self.calls_before_power_cut = None
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def crash(self) -> None:
        """Cut the power: nothing is open any more, and of what was not synced chance keeps a part."""
        self.kill()
        self._keep_names(self._chance.randint(0, len(self._unsynced_names)))
        survivors = {path: bytes(self._survivors(content)) for path, content in self._names.items()}
        for path in self._directory.iterdir():
            path.unlink()
        self._contents, self._names = {}, {}
        for path, data in survivors.items():
            path.write_bytes(data)
            self._names[path] = self._contents[path.stat().st_ino] = _Content(bytearray(data))

    def _use_power(self) -> None:
        if self.calls_before_power_cut is not None:
            if self.calls_before_power_cut == 0:
                raise PowerCut
            self.calls_before_power_cut -= 1

    def _content(self, descriptor: int) -> _Content:
        return self._contents[os.fstat(descriptor).st_ino]

    def _keep_names(self, count: int) -> None:
        """Make the first changes of the directory durable, and forget the others: file systems journal them in order."""
        for path, content in self._unsynced_names[:count]:
            if content is None:
                self._names.pop(path, None)
            else:
                self._names[path] = content
        self._unsynced_names.clear()

    def _survivors(self, content: _Content) -> bytearray:
        """Give what the disk may hold of a file: the changes up to some moment, or any sectors of them."""
        data = bytearray(content.durable)
        kept = self._chance.randint(0, len(content.unsynced))
        if self._chance.random() < 0.5:
            for change in content.unsynced[:kept]:
                _apply(data, *change)
            if kept < len(content.unsynced):
                offset, written = content.unsynced[kept]
                if written is not None:
                    _apply(data, offset, written[: self._chance.randint(0, len(written))])
            return data
        for offset, written in content.unsynced:
            if written is None:
                _apply(data, offset, None)
                continue
            start = 0
            while start < len(written):
                stop = min(len(written), start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES)
                if self._chance.random() < 0.6:
                    _apply(data, offset + start, written[start:stop])
                elif self._chance.random() < 0.5:
                    _apply(data, offset + start, bytes(data[offset + start : offset + stop]).ljust(stop - start, b"\0"))
                start = stop
        return data


def _apply(data: bytearray, offset: int, written: bytes | None) -> None:
    if written is None:
        del data[offset:]
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    if written is not None:
        data[offset : offset + len(written)] = written

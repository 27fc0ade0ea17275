"""The disk, as the log sees it: one seam at which tests put faults, and the few durable file operations.

`Disk` holds every call that changes a log file or a directory of them, so that a test can make each one fail, stop short
or be forgotten by a crash. Reading goes past the seam: a bad read is tested by damaging real files.

Rules that the functions here keep:
- A file is made whole under a temporary name, synced, renamed, and its directory synced: a crash leaves the old file or
  the new one, never half of it.
- A directory is removed under a trash name: a crash never leaves half a directory that looks whole.

Left out: locking (a shard is owned by one process, which holds the folder that they are all in), files that other
libraries write (LMDB, memory-mapped arrays).
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from qnode.errors import CannotStart, InternalError, OutOfSpace, QnodeError
from qnode.removal import remove_steadily

TEMPORARY_SUFFIX: Final = ".tmp"
SYNC_STEP_BYTES: Final = 8 << 20
_TRASH_PREFIX: Final = ".trash-"
_BUFFERS_PER_CALL: Final = 1024  # IOV_MAX of Linux and macOS
_PROBE_BYTES: Final = 64 << 10
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Buffer = bytes | bytearray | memoryview


class Disk(Protocol):
    """What can go wrong when files are changed. Every call may raise OSError; descriptors are the system's."""

    def create(self, path: Path) -> int:
        """Make an empty file, or empty the one that is there; give a descriptor for reading and writing."""

    def open(self, path: Path) -> int:
        """Open an existing file for reading and writing."""

    def close(self, descriptor: int) -> None: ...

    def write(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write at most 1024 buffers at `offset`; give the number of bytes that were taken, which may be fewer."""

    def truncate(self, descriptor: int, size_bytes: int) -> None: ...

    def sync(self, descriptor: int) -> None:
        """Make content and size durable."""

    def rename(self, source: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def sync_directory(self, path: Path) -> None:
        """Make what was created, renamed and removed in the directory durable."""


class RealDisk:
    """The operating system's disk. Every call that may take long releases the GIL."""

    _sync_data = staticmethod(getattr(os, "fdatasync", os.fsync))  # macOS has no fdatasync

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def write(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(descriptor, buffers, offset)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        self._sync_data(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


REAL: Final[Disk] = RealDisk()


def fault_of(error: OSError, what: str) -> QnodeError:
    """Give the QnodeError that an OSError means: OutOfSpace for a full disk or quota, else InternalError."""
    if error.errno in _NO_SPACE:
        return OutOfSpace(f"{what}: {error.strerror}")
    return InternalError(f"{what}: {error}")


def is_full(path: Path) -> bool:
    """Whether a file cannot grow, found out by trying. Nobody else may write to it meanwhile.

    For faults that do not tell: LMDB reports a write that was cut short by a full disk as an input/output error.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(descriptor).st_size
        try:
            write_fully(REAL, descriptor, [bytes(_PROBE_BYTES)], size_bytes)
        except OSError as error:
            return error.errno in _NO_SPACE
        finally:
            os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)
    return False


def write_fully(disk: Disk, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Write all buffers, going on after short writes; give the offset behind them. Raise OSError."""
    for start in range(0, len(buffers), _BUFFERS_PER_CALL):
        batch: list[Buffer] = list(buffers[start : start + _BUFFERS_PER_CALL])
        while batch:
            taken = disk.write(descriptor, batch, offset)
            offset += taken
            rest = _behind(batch, taken)
            if taken == 0 and rest:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            batch = rest
    return offset


def _behind(buffers: list[Buffer], taken_bytes: int) -> list[Buffer]:
    """Give what is left of the buffers when their first bytes were taken; nothing is copied."""
    for position, buffer in enumerate(buffers):
        size_bytes = memoryview(buffer).nbytes
        if taken_bytes < size_bytes:
            return [memoryview(buffer).cast("B")[taken_bytes:], *buffers[position + 1 :]]
        taken_bytes -= size_bytes
    return []


def write_file_durably(path: Path, data: Buffer, disk: Disk = REAL) -> None:
    """Put `data` into a new file, or in place of an old one, all or nothing. Raise OutOfSpace, and nothing has changed.

    InternalError is raised too when the sync of the directory fails: then the new file stands, and a crash may forget it.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        try:
            descriptor = disk.create(temporary)
            try:
                write_fully(disk, descriptor, [data], 0)
                disk.sync(descriptor)
            finally:
                disk.close(descriptor)
            disk.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                disk.remove(temporary)
            raise
    except OSError as error:
        raise fault_of(error, f"{path} could not be written") from error
    try:
        disk.sync_directory(path.parent)
    except OSError as error:
        raise InternalError(f"{path} was written, and its directory could not be synced: {error}") from error


class NewFile:
    """A file that must not exist, written from its beginning to its end. Every call may raise OSError.

    It is synced every few megabytes: who syncs another file of the file system meanwhile would otherwise wait for all of
    it (200 MB: 160 ms; 8 MB: 10 ms). Buffered, for that goes on where a disk that fills up took a part of what it was given.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("xb")
        self._unsynced_bytes = 0

    def write(self, data: Buffer) -> None:
        self._file.write(data)
        self._unsynced_bytes += memoryview(data).nbytes
        if self._unsynced_bytes >= SYNC_STEP_BYTES:
            self._sync()

    def finish(self) -> None:
        """Make durable what was written, and close the file."""
        self._sync()
        self._file.close()

    def drop(self) -> None:
        """Close the file, whatever became of what was written."""
        with suppress(OSError):
            self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        REAL.sync(self._file.fileno())
        self._unsynced_bytes = 0


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """Make a file that is durable at the end of the block, unless that raises."""
    file = NewFile(path)
    try:
        yield file
        file.finish()
    finally:
        file.drop()


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents, durably; one that is there is left as it is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            REAL.sync_directory(folder.parent)
    except OSError as error:
        raise fault_of(error, f"{path} could not be made") from error


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a storage folder alone, making it if it is missing; the lock goes with the process, however it ends.

    Raise CannotStart if another process holds it, or it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("wb")
    except OSError as error:
        raise CannotStart(f"the storage folder {path} cannot be written: {error} (storage.storage_path)") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(f"the storage folder {path} is in use by another node") from None
        yield


def sync_file(path: Path) -> None:
    """Make a file durable that another library wrote; raise OSError."""
    descriptor = REAL.open(path)
    try:
        REAL.sync(descriptor)
    finally:
        REAL.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed and removed in a directory durable; raise InternalError or OutOfSpace."""
    try:
        REAL.sync_directory(path)
    except OSError as error:
        raise fault_of(error, f"The directory {path} could not be synced") from error


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it. From the first moment on it is gone under its name, also after a crash.

    Much data goes in the background (`removal`). What the end of the process leaves is taken away by `remove_trash` of its parent.
    """
    trash = path.with_name(f"{_TRASH_PREFIX}{secrets.token_hex(8)}")
    try:
        path.rename(trash)
    except FileNotFoundError:
        return
    except OSError as error:
        raise fault_of(error, f"{path} could not be removed") from error
    sync_directory(path.parent)
    remove_steadily(trash)


def remove_trash(parent: Path) -> None:
    """Take away what earlier processes left of removed directories in `parent`; call it when the parent is opened."""
    for trash in parent.glob(f"{_TRASH_PREFIX}*"):
        remove_steadily(trash)

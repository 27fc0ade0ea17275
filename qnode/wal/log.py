"""The log of a shard: the order of its operations, and their durability.

    log = Log.open(directory)
    log.append(records)          # in order, not yet durable
    log.sync()                   # now durable; one sync serves everything appended before it
    for record in log.read(applied_op + 1): ...

A directory of files (`log_file`, byte by byte in `frames`), each named by its first op_num.

Invariants:
- op_num is contiguous over all files, the epoch never falls.
- What `sync` returned for is given by every later `read`, or named in a `Corruption`; it is never dropped silently. What was
  appended and not synced may be missing after a crash, from the end on.
- Every record that a log opened for writing gives is durable, except those appended since the last sync: opening syncs.
- After a failed sync the log accepts nothing more: the system may have forgotten which pages were not written, and a
  second sync that succeeds would prove nothing. Reading goes on. Opening anew reads back what is there and writes its
  tail again.
- A record that was refused (`OutOfSpace`) does not come back, also not after a crash.
- A log that was opened read-only writes nothing, and may be used while another process writes.

Threads: one thread at a time changes the log (append, truncate_from, drop_before, reset, close); `sync` may run beside
it in any number of threads, `read` anywhere. An append that begins a new file syncs the old one first, so it may take
as long as a sync.

Left out: a lock against a second writer (the shard has one), compression, and the check that the log reaches as far as
what was applied: a last file that somebody removed as a whole is only noticed by who compares `next_op` with that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Final, Self

from qnode.disk import REAL, TEMPORARY_SUFFIX, Disk, fault_of, make_directory
from qnode.errors import Corruption, InternalError, NotFound
from qnode.wal.frames import Header, Record
from qnode.wal.log_file import FROM_A_COPY, SUFFIX, LogFile, path_of

__all__ = ["DEFAULT_FILE_BYTES", "Log", "Record"]

DEFAULT_FILE_BYTES: Final = 32 << 20


class Log:
    """An append-only sequence of records in a directory of files. Open it with `Log.open`."""

    def __init__(self, directory: Path, disk: Disk, file_bytes: int, read_only: bool, files: list[LogFile]) -> None:
        self._directory = directory
        self._disk = disk
        self._file_bytes = file_bytes
        self._read_only = read_only
        self._files = files  # ascending; the last one is appended to
        self._broken: str | None = None
        self._sync_lock = threading.Lock()  # taken before _write_lock; held while the disk syncs
        self._write_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        directory: Path,
        disk: Disk = REAL,
        *,
        file_bytes: int = DEFAULT_FILE_BYTES,
        read_only: bool = False,
        next_op: int = 1,
    ) -> Self:
        """Open the log of a directory; a new one begins at `next_op`. Raise Corruption, OutOfSpace, InternalError.

        file_bytes: a file that has reached this size gets a successor.
        """
        if read_only:
            files, _ = _checked_files(directory)
            return cls(directory, disk, file_bytes, read_only, files or [_nothing(directory, next_op)])
        make_directory(directory)
        files, stale = _checked_files(directory)
        try:
            for path in (*stale, *directory.glob(f"*{SUFFIX}{TEMPORARY_SUFFIX}")):
                disk.remove(path)
            if not files:
                files = [LogFile.create(directory, disk, generation=1, first_op=next_op, epoch_before=0)]
            files[-1].open_for_writing(disk)
        except OSError as error:
            raise fault_of(error, f"The log {directory} could not be opened") from error
        return cls(directory, disk, file_bytes, read_only, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def first_op(self) -> int:
        """The op_num of the oldest record kept; equals next_op when there is none. Read-only: as of opening."""
        return self._files[0].first_op

    @property
    def next_op(self) -> int:
        """The op_num of the record that is appended next. Read-only: as of opening."""
        return self._files[-1].next_op

    @property
    def last_epoch(self) -> int:
        """The epoch of the newest record, also when that one is no longer kept. Read-only: as of opening."""
        return self._files[-1].last_epoch

    @property
    def epoch_before(self) -> int:
        """The epoch of the record in front of `first_op`; 0 if there was none. Read-only: as of opening."""
        return self._files[0].header.epoch_before

    @property
    def size_bytes(self) -> int:
        """What the files take on disk. Read-only: as of opening."""
        return sum(file.end for file in self._files)

    def append(self, records: Sequence[Record]) -> None:
        """Add records, contiguous from next_op, epochs not falling. They are not durable before the next `sync`.

        Raise OutOfSpace, and nothing was added; InternalError, always, after a failed sync.
        """
        if not records:
            return
        self._assert_in_order(records)
        self._refuse_if_broken()
        if self._files[-1].end >= self._file_bytes:
            self._begin_file()
        with self._write_lock:
            file = self._files[-1]
            try:
                file.append(records, self._disk)
            except OSError as error:
                self._cut_back(file)
                raise fault_of(error, f"{file.path} took no more records") from error

    def sync(self) -> None:
        """Make everything appended before the call durable. Raise InternalError, and the log accepts nothing more."""
        assert not self._read_only
        with self._sync_lock:
            self._sync()

    def read(self, from_op: int) -> Iterator[Record]:
        """Give the records from `from_op` up to what is there at the call. Raise NotFound for dropped ones, Corruption."""
        return self._read(*self._files_from(from_op), from_op)

    def truncate_from(self, op_num: int) -> None:
        """Drop the record `op_num` and all behind it, durably; what stays is durable too. Raise InternalError."""
        assert not self._read_only
        assert self.first_op <= op_num <= self.next_op, f"{op_num} is not in {self.first_op}..{self.next_op}"
        if op_num == self.next_op:
            return self.sync()
        with self._sync_lock, self._write_lock:
            self._refuse_if_broken()
            try:
                self._truncate_from(op_num)
            except (OSError, Corruption) as error:
                raise self._break(f"it could not be cut off at record {op_num} ({error})") from error

    def drop_before(self, op_num: int) -> None:
        """Remove the files that hold only records older than `op_num`; the last file stays. Raise InternalError."""
        assert not self._read_only
        with self._sync_lock, self._write_lock:
            self._refuse_if_broken()
            try:
                while len(self._files) > 1 and self._files[1].first_op <= op_num:
                    self._disk.remove(self._files[0].path)
                    del self._files[0]
                    # A crash must not keep this file and forget a later one: that would be a gap.
                    self._disk.sync_directory(self._directory)
            except OSError as error:
                raise fault_of(error, f"Old files of the log {self._directory} could not be removed") from error

    def reset(self, next_op: int, epoch: int) -> None:
        """Forget all records and go on at `next_op` after `epoch`, in one step that a crash cannot split.

        Raise OutOfSpace, and nothing has changed; InternalError, and the log accepts nothing more.
        """
        assert not self._read_only
        with self._sync_lock, self._write_lock:
            self._refuse_if_broken()
            old = self._files
            self._files = [self._create_file(old[-1].header.generation + 1, next_op, epoch)]
            for file in old:
                file.close(self._disk)
                if file.path != self._files[0].path:
                    with suppress(OSError):  # its generation says that it is garbage; opening removes it
                        self._disk.remove(file.path)

    def close(self) -> None:
        """Make durable what was appended, and release the file. A closed log takes nothing more, and can be read."""
        with self._sync_lock:
            try:
                if not self._read_only and self._broken is None:
                    self._sync()
                    self._sync_file(self._files[-1])  # the mark too, so that an orderly end leaves nothing undecided
            finally:
                self._broken = self._broken or "it was closed"
                self._files[-1].close(self._disk)

    # What is done while the locks are held

    def _sync(self) -> None:
        self._refuse_if_broken()
        with self._write_lock:
            file = self._files[-1]
            next_op, end = file.next_op, file.end
        if file.synced_op == next_op:
            return
        self._sync_file(file)
        with self._write_lock:
            # A failed sync is told once: an append that cut back in the meantime may have been the one to hear of it.
            self._refuse_if_broken()
            try:
                file.acknowledge_sync(self._disk, next_op, end)
            except OSError as error:
                self._break(f"{file.path} could not be cut back ({error})")

    def _sync_file(self, file: LogFile) -> None:
        try:
            file.sync(self._disk)
        except OSError as error:
            raise self._break(f"{file.path} could not be synced ({error})") from error

    def _begin_file(self) -> None:
        with self._sync_lock:
            self._sync()
            with self._write_lock:
                old = self._files[-1]
                try:
                    old.mark_end(self._disk)
                except OSError as error:
                    self._cut_back(old)
                    raise fault_of(error, f"{old.path} took no more records") from error
                self._sync_file(old)
                self._files.append(self._create_file(old.header.generation, old.next_op, old.last_epoch))
                old.close(self._disk)

    def _create_file(self, generation: int, first_op: int, epoch_before: int) -> LogFile:
        try:
            file = LogFile.create(
                self._directory, self._disk, generation=generation, first_op=first_op, epoch_before=epoch_before
            )
            file.open_for_writing(self._disk)
        except (OSError, InternalError) as error:
            # The new file may stand already, and then the log that is opened next goes on in it.
            raise self._break(f"a new file could not be made ({error})") from error
        return file

    def _cut_back(self, file: LogFile) -> None:
        try:
            file.cut_back(self._disk)
        except OSError as error:
            # Not refused but unknown: a crash may bring the record back.
            raise self._break(f"{file.path} could not be cut back ({error})") from error

    def _truncate_from(self, op_num: int) -> None:
        while len(self._files) > 1 and self._files[-1].first_op >= op_num:
            newest = self._files.pop()
            newest.close(self._disk)
            self._disk.remove(newest.path)
            self._disk.sync_directory(self._directory)  # a crash must not keep a later file and forget this one
            self._files[-1].recover(is_last=False)
            self._files[-1].open_for_writing(self._disk)
        if op_num < self._files[-1].next_op:
            self._files[-1].truncate_from(op_num, self._disk)

    def _files_from(self, op_num: int) -> tuple[list[LogFile], int]:
        """Give the files as they are now, and the end of the last; raise NotFound when the record was dropped."""
        if self._read_only:
            files = _current_files(self._directory)[0]
            end = files[-1].size_bytes() if files else 0
        else:
            with self._write_lock:
                files, end = self._files.copy(), self._files[-1].end
        if files and op_num < files[0].first_op:
            raise NotFound(f"record {op_num} of the log {self._directory}, which begins with {files[0].first_op}")
        return files, end

    def _read(self, files: list[LogFile], end: int, from_op: int) -> Iterator[Record]:
        wanted, suspected = from_op, -1
        while True:
            try:
                for record in _records(files, end, wanted):
                    yield record
                    wanted = record.op_num + 1
                return
            except FileNotFoundError:
                pass
            except Corruption:
                if suspected == wanted:
                    raise
                suspected = wanted
            # A file may have been dropped or cut off while it was read: look again.
            files, end = self._files_from(wanted)

    def _assert_in_order(self, records: Sequence[Record]) -> None:
        assert not self._read_only
        epoch = self.last_epoch
        for op_num, record in enumerate(records, self.next_op):
            assert record.op_num == op_num, f"record {record.op_num} where {op_num} is due"
            assert record.epoch >= epoch, f"epoch {record.epoch} after epoch {epoch}"
            epoch = record.epoch

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            raise InternalError(f"The log {self._directory} accepts nothing more: {self._broken}")

    def _break(self, reason: str) -> InternalError:
        self._broken = f"{reason}; it must be opened anew"
        return InternalError(f"The log {self._directory} accepts nothing more: {self._broken}")


def _nothing(directory: Path, next_op: int) -> LogFile:
    """Give what stands for the files of a log that nobody has begun."""
    file = LogFile(path_of(directory, next_op), Header(generation=0, identity=0, first_op=next_op, epoch_before=0))
    file.end = 0
    return file


def _current_files(directory: Path) -> tuple[list[LogFile], list[Path]]:
    """Give the files of the log in order, and the paths of those that a reset left over."""
    while True:
        with suppress(FileNotFoundError):  # dropped by the owner while we looked
            found = [LogFile.at(path) for path in sorted(directory.glob(f"*{SUFFIX}"))]
            break
    generation = max((file.header.generation for file in found), default=0)
    files = [file for file in found if file.header.generation == generation]
    return files, [file.path for file in found if file.header.generation < generation]


def _checked_files(directory: Path) -> tuple[list[LogFile], list[Path]]:
    """Give what `_current_files` gives, the files checked against each other, the end of the last one found."""
    while True:
        with suppress(FileNotFoundError):
            files, stale = _current_files(directory)
            for file, successor in pairwise(files):
                file.check_complete(successor)
            if files:
                files[-1].recover(is_last=True)
            return files, stale


def _records(files: list[LogFile], end: int, from_op: int) -> Iterator[Record]:
    wanted = from_op
    for file, successor in zip_longest(files, files[1:]):
        if successor is None:
            yield from file.records(wanted, end, is_last=True)
        elif wanted < successor.first_op:
            for record in file.records(wanted, file.size_bytes(), is_last=False):
                yield record
                wanted = record.op_num + 1
            if wanted != successor.first_op:
                raise Corruption(file.path, f"it ends before record {wanted}", FROM_A_COPY)

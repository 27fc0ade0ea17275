"""One file of the log: its frames on disk, how far they are valid, and how far they are durable.

Invariants:
- Frames below `end` are whole; op_num is contiguous from the header's, the epoch never falls.
- A file that has a successor is complete and durable and ends with a mark that says so; it never changes again.
- A file is only changed through the `Disk` that it was opened with, at the descriptor that `open_for_writing` took. Reading
  opens the file by its path, in any thread and any process.
- `_positions` is only written where `end` is, so reading needs no lock; a file of an earlier run has one position, its
  start.

What a bad frame means is decided in `_is_damage` (reasons in `frames`). Which files there are, locks, and what happens
after a failure are the log's.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from qnode.disk import Disk, write_file_durably, write_fully
from qnode.errors import Corruption
from qnode.wal import frames
from qnode.wal.frames import HEAD_BYTES, HEADER_BYTES, BadFrame, Header, Mark, Record

SUFFIX: Final = ".log"
_OP_DIGITS: Final = 20  # of the largest op_num
_LARGE_PAYLOAD_BYTES: Final = 4096  # a smaller one is copied behind its head: fewer, larger buffers are cheaper
_READ_BUFFER_BYTES: Final = 1 << 18
_POSITION_STEP_BYTES: Final = 1 << 18
FROM_A_COPY: Final = "Recover the shard from a replica or a snapshot."


def path_of(directory: Path, first_op: int) -> Path:
    """Give the name of the file that begins with `first_op`."""
    return directory / f"{first_op:0{_OP_DIGITS}}{SUFFIX}"


class LogFile:
    """A file of the log. `end`, `next_op`, `last_epoch` are known of a new file, and after `recover`;
    of one that was only checked to be complete, the epoch is not.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self.first_op = header.first_op
        self.end = HEADER_BYTES
        self.next_op = header.first_op
        self.last_epoch = header.epoch_before
        self.synced_op = header.first_op  # what is below is durable
        self._synced_end = HEADER_BYTES  # the offset that belongs to it; marks behind it may not be durable
        self._positions = [(header.first_op, HEADER_BYTES)]  # (op_num, offset) of some records, ascending
        self._descriptor: int | None = None

    @classmethod
    def create(cls, directory: Path, disk: Disk, *, generation: int, first_op: int, epoch_before: int) -> Self:
        """Make an empty file, durably; raise OutOfSpace or InternalError."""
        header = Header(generation, secrets.randbits(64), first_op, epoch_before)
        path = path_of(directory, first_op)
        write_file_durably(path, frames.encode_header(header), disk)
        return cls(path, header)

    @classmethod
    def at(cls, path: Path) -> Self:
        """Read the header of an existing file; raise Corruption, FileNotFoundError."""
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
        try:
            header = frames.decode_header(data)
        except BadFrame as fault:
            raise Corruption(path, str(fault), FROM_A_COPY) from fault
        if path != path_of(path.parent, header.first_op):
            raise Corruption(path, f"it holds the records from {header.first_op} on, its name does not", FROM_A_COPY)
        return cls(path, header)

    def size_bytes(self) -> int:
        return self.path.stat().st_size

    # Reading

    def records(self, from_op: int, end: int, *, is_last: bool) -> Iterator[Record]:
        """Give the records from `from_op` on that begin before the offset `end`; raise Corruption.

        In the last file a torn tail ends the records; in another one it is damage.
        """
        for _, frame in self._frames(from_op, end, is_last=is_last):
            if type(frame) is Record and frame.op_num >= from_op:
                yield frame

    def recover(self, *, is_last: bool) -> None:
        """Find out where the valid frames end; raise Corruption. Nothing is written."""
        size = self.size_bytes()
        for end, frame in self._frames(self.first_op, size, is_last=is_last):
            if type(frame) is Record:
                self._remember(frame.op_num, self.end)
                self.next_op = frame.op_num + 1
                self.last_epoch = frame.epoch
            else:
                assert type(frame) is Mark
                self.synced_op = frame.next_op
                self._synced_end = frame.synced_bytes
            self.end = end

    def check_complete(self, successor: LogFile) -> None:
        """Make sure, without reading all of it, that this file ends where its successor begins; raise Corruption."""
        size = self.size_bytes()
        with self.path.open("rb") as file:
            offset = max(size - HEAD_BYTES, HEADER_BYTES)
            file.seek(offset)
            try:
                mark = frames.read_frame(file, self.header.identity, offset, size - offset)
            except BadFrame as fault:
                raise self._corruption(offset, f"{fault}, where its end should be marked") from fault
        if type(mark) is not Mark:
            raise self._corruption(offset, "its end is not marked")
        if mark.next_op != successor.first_op:
            gap = f"records {mark.next_op} to {successor.first_op - 1} are missing"
            raise self._corruption(
                size, f"{gap}: its end was cut off, or {path_of(self.path.parent, mark.next_op)} removed"
            )
        self.end, self.next_op = size, mark.next_op

    def _frames(self, from_op: int, limit: int, *, is_last: bool) -> Iterator[tuple[int, Record | Mark]]:
        """Give each frame with the offset behind it, beginning at or before `from_op`."""
        known = bisect_right(self._positions, from_op, key=lambda position: position[0]) - 1
        expected_op, offset = self._positions[max(known, 0)]
        epoch = self.header.epoch_before
        identity = self.header.identity
        with self.path.open("rb", buffering=_READ_BUFFER_BYTES) as file:
            file.seek(offset)
            while offset < limit:
                try:
                    frame = frames.read_frame(file, identity, offset, limit - offset)
                    if type(frame) is Record:
                        if frame.op_num != expected_op:
                            raise BadFrame(f"it holds record {frame.op_num}")
                        if frame.epoch < epoch:
                            raise BadFrame(f"epoch {frame.epoch} follows epoch {epoch}")
                except BadFrame as fault:
                    if is_last and not self._is_damage(offset, limit):
                        return
                    raise self._corruption(offset, f"{fault} (record {expected_op} is due)") from fault
                if type(frame) is Record:
                    expected_op, epoch = frame.op_num + 1, frame.epoch
                    offset += len(frame.payload)
                offset += HEAD_BYTES
                yield offset, frame

    def _is_damage(self, offset: int, limit: int) -> bool:
        """Say whether the bad frame at `offset` had been made durable, going by the marks behind it."""
        with self.path.open("rb") as file:
            file.seek(offset)
            rest = file.read(limit - offset)
        return any(mark.synced_bytes > offset for mark in frames.find_marks(rest, self.header.identity, offset))

    def _corruption(self, offset: int, fault: str) -> Corruption:
        way_out = (
            f"{FROM_A_COPY} To go on without this record and all that follow: cut the file off at byte {offset} "
            f"and remove the later {SUFFIX} files."
        )
        return Corruption(self.path, f"at byte {offset}, {fault}", way_out)

    def _remember(self, op_num: int, offset: int) -> None:
        if offset >= self._positions[-1][1] + _POSITION_STEP_BYTES:
            self._positions.append((op_num, offset))

    # Writing. Raises OSError; what that means for the log, the log decides.

    def open_for_writing(self, disk: Disk) -> None:
        """Take a descriptor, cut a torn tail off, and make durable what no mark says to be.

        A sync that failed may have left pages clean that are not on the disk. So what no mark covers, marks too, is written
        again: that makes its pages dirty. It may have left a cut that is not on the disk either: the sync here makes it so,
        before anybody is told where the log ends.
        """
        self._descriptor = disk.open(self.path)
        if self.size_bytes() > self.end:
            disk.truncate(self._descriptor, self.end)
        with self.path.open("rb") as file:
            file.seek(self._synced_end)
            tail = file.read(self.end - self._synced_end)
        write_fully(disk, self._descriptor, [tail], self._synced_end)
        self.sync(disk)
        if self.synced_op < self.next_op:
            self.acknowledge_sync(disk, self.next_op, self.end)

    def append(self, records: Sequence[Record], disk: Disk) -> None:
        """Write records behind the last one. On failure nothing has changed but bytes behind `end`: `cut_back` them."""
        identity, start = self.header.identity, self.end
        buffers: list[bytes] = []
        positions: list[tuple[int, int]] = []
        for record in records:
            head = frames.encode_record_head(record, identity, start)
            if len(record.payload) < _LARGE_PAYLOAD_BYTES:
                buffers.append(head + record.payload)
            else:
                buffers += (head, record.payload)
            positions.append((record.op_num, start))
            start += HEAD_BYTES + len(record.payload)
        end = write_fully(disk, self._opened(), buffers, self.end)
        assert end == start, f"wrote up to {end} instead of {start}"
        for op_num, offset in positions:
            self._remember(op_num, offset)
        self.end = end
        self.next_op = records[-1].op_num + 1
        self.last_epoch = records[-1].epoch

    def sync(self, disk: Disk) -> None:
        disk.sync(self._opened())

    def acknowledge_sync(self, disk: Disk, synced_op: int, synced_bytes: int) -> None:
        """Note that a sync made the records below `synced_op` durable; in the file too, unless it has no room for a mark."""
        self.synced_op, self._synced_end = synced_op, synced_bytes
        try:
            self._write_mark(disk, Mark(synced_bytes, synced_op))
        except OSError:
            self.cut_back(disk)

    def mark_end(self, disk: Disk) -> None:
        """Write the mark that a file with a successor ends with; it must be synced then. All records must be durable."""
        assert self.synced_op == self.next_op
        self._write_mark(disk, Mark(self._synced_end, self.next_op))

    def _write_mark(self, disk: Disk, mark: Mark) -> None:
        head = frames.encode_mark(mark, self.header.identity, self.end)
        self.end = write_fully(disk, self._opened(), [head], self.end)

    def cut_back(self, disk: Disk) -> None:
        """Remove, durably, what a failed write left behind `end`: a refused record must not come back after a crash."""
        disk.truncate(self._opened(), self.end)
        self.sync(disk)

    def truncate_from(self, op_num: int, disk: Disk) -> None:
        """Drop the records from `op_num` on, durably. Needs a file whose end is known; raise Corruption."""
        end, epoch = HEADER_BYTES, self.header.epoch_before
        for frame_end, frame in self._frames(self.first_op, self.end, is_last=False):
            if type(frame) is Record:
                if frame.op_num >= op_num:
                    break
                end, epoch = frame_end, frame.epoch
        self.end, self.next_op, self.last_epoch = end, op_num, epoch
        self._positions = [position for position in self._positions if position[0] < op_num] or self._positions[:1]
        self.cut_back(disk)
        self.acknowledge_sync(disk, op_num, end)

    def close(self, disk: Disk) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                disk.close(descriptor)

    def _opened(self) -> int:
        assert self._descriptor is not None, f"{self.path} is not open for writing"
        return self._descriptor

"""Opening the files of a shard, and putting a copy from another node in their place.

What is applied is durable without the log, so an index may stand behind or before the end of its log:

- A shard without other replicas replays what its log holds behind `applied_op`: nobody else can have another opinion of it.
- With replicas the log's tail may have to be cut off: it waits for the primary to say what of it is committed.

A received copy is put in place by one rename, of its folder to `arrived-N` inside the shard's folder, with its position written in
it. From then on, also after a crash, opening moves its parts to where they belong, the index first, and begins the log anew
behind it; each step may be done again. Opening may fail half-way, and another copy may come: it gets a higher number, of which
the highest counts. A lower one is not removed before all parts are those of the highest: until then it may be the only
one that completes what stands there.

A damaged replica that others hold too is set aside, within its folder, until a copy has come. A mark, written before anything is
moved and removed after the copy is in place, keeps what is opened meanwhile from passing for the empty beginning of a shard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from qnode.disk import (
    REAL,
    Disk,
    fault_of,
    make_directory,
    remove_trash,
    remove_tree,
    sync_directory,
    write_file_durably,
)
from qnode.errors import Corruption, QnodeError, Unavailable
from qnode.index import Index, maintenance
from qnode.index.rewriting import applied_op_of, renumber
from qnode.index.store import RESTORE
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import Operation, decode
from qnode.models.vector_params import IndexParams
from qnode.shards.replication.log_image import LogImage
from qnode.wal import DEFAULT_FILE_BYTES, Log

SMALLEST_LOG_FILE_BYTES = 64 << 10
"""A file of the log is no smaller, however little of the log is kept."""

APPLY_OPERATIONS: Final = 128
"""At most so many operations are applied in one transaction …"""

APPLY_BYTES: Final = 8 << 20
"""… and none is added to one that has this size."""

_LOG, _ARRIVED, _POSITION = "wal", "arrived-", "position"
_DAMAGED, _AWAITS_COPY = "damaged", "awaits_copy"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """An open shard: its log, its index, and the log as the protocol sees it. `fault`: why it must not pass for a replica."""

    log: Log
    index: Index
    image: LogImage
    fault: QnodeError | None = None

    def close(self) -> None:
        try:
            self.log.close()
        finally:
            self.index.close()  # waits for who is reading


def open_files(
    path: Path, params: IndexParams, *, keep_log_bytes: int, verify: bool, has_peers: bool, disk: Disk = REAL
) -> ShardFiles:
    """Open or make the shard in `path`, its log on `disk`. Raises Corruption naming a damaged file, OutOfSpace."""
    remove_trash(path)
    position = _move_arrived(path)
    index = Index.open(path, params, verify=verify)
    try:
        file_bytes = min(DEFAULT_FILE_BYTES, max(keep_log_bytes, SMALLEST_LOG_FILE_BYTES))
        log = Log.open(path / _LOG, disk, file_bytes=file_bytes, next_op=index.applied_op + 1)
        try:
            if position is not None:
                _begin_log(path, log, index, *position)
            _catch_up(log, index)
            if has_peers:
                image = LogImage.of(log.first_op, log.epoch_before, log.read(log.first_op))
            else:
                _replay(log, index)
                image = LogImage(log.next_op, log.last_epoch)  # nobody will ask for what is before
        except BaseException:
            log.close()
            raise
    except BaseException:
        index.close()
        raise
    fault = None
    if (path / _AWAITS_COPY).exists():
        fault = Unavailable(f"the replica in {path} was damaged, and waits for a copy of another one")
    return ShardFiles(log, index, image, fault)


def has_files(path: Path) -> bool:
    """Tell whether there is a shard in `path`, or one that is on its way: a part that is missing was lost, or never made."""
    is_whole = (path / "store" / "data.mdb").exists() and (path / _LOG).exists()
    return is_whole or (path / _AWAITS_COPY).exists() or bool(_arrived(path))


def missing_part(path: Path) -> Path:
    """Name what of a shard whose files were lost is not there."""
    store = path / "store" / "data.mdb"
    return path / _LOG if store.exists() else store if path.exists() else path


def set_aside(path: Path) -> None:
    """Move what is in the folder of a damaged shard out of the way; what is opened next waits for a copy.

    Blocks; may be done again after a crash, and where the folder was lost. Raises OutOfSpace, InternalError.
    """
    make_directory(path)
    write_file_durably(path / _AWAITS_COPY, b"")
    aside = path / _DAMAGED
    try:
        aside.mkdir(exist_ok=True)
        for part in sorted(path.iterdir()):  # accepted copies before the parts that they would complete
            if part.name in (_AWAITS_COPY, _DAMAGED):
                continue
            remove_tree(aside / part.name)
            part.rename(aside / part.name)
    except OSError as error:
        raise fault_of(error, f"the damaged files in {path} could not be moved into {aside}") from error


def move_behind(copy: Path, last_op: int) -> int:
    """Let a copy stand behind an operation, and behind its own; give where it stands then."""
    op_num = max(last_op, applied_op_of(copy)) + 1
    renumber(copy, op_num)
    return op_num


def accept_copy(path: Path, copy: Path, applied_op: int, applied_epoch: int) -> None:
    """Let a copy, durable and on the same file system, be the shard in `path` from the next opening on.

    copy: a folder with `store` and `segments` as of `applied_op`; it is gone afterwards. Raises OutOfSpace, InternalError.
    """
    write_file_durably(copy / _POSITION, orjson.dumps([applied_op, applied_epoch]))
    number = max((_number_of(arrived) for arrived in _arrived(path)), default=0) + 1
    try:
        copy.rename(path / f"{_ARRIVED}{number}")
    except OSError as error:
        raise fault_of(error, f"the copy {copy} could not be moved into {path}") from error
    sync_directory(path)


def restore_fields(index: Index, schemas: Mapping[str, FieldSchema]) -> None:
    """Have the payload indexes that there were before a copy came: it may be older than what the topology has said since."""
    there = index.fields.schemas
    for field, schema in schemas.items():
        if there.get(field) != schema:
            maintenance.create_field(index, field, schema)
    for field in there:
        if field not in schemas:
            maintenance.drop_field(index, field)


def _move_arrived(path: Path) -> tuple[int, int] | None:
    """Put the index of an accepted copy, if there is one, in place of what is there; give its position."""
    if not (copies := _arrived(path)):
        return None
    arrived = copies[-1]
    applied_op, applied_epoch = orjson.loads((arrived / _POSITION).read_bytes())
    for part in [part for part in arrived.iterdir() if part.name != _POSITION]:
        for old in path.glob(f"{part.name}*"):  # what an exchange of the old store has left, too
            remove_tree(old)
        try:
            part.rename(path / part.name)
        except OSError as error:
            raise fault_of(error, f"{part} could not be moved into its place") from error
        sync_directory(path)
    return applied_op, applied_epoch


def _arrived(path: Path) -> list[Path]:
    """List the copies that were accepted and are not in their place yet, the one that counts last."""
    return sorted(path.glob(f"{_ARRIVED}*"), key=_number_of)


def _number_of(arrived: Path) -> int:
    return int(arrived.name.removeprefix(_ARRIVED))


def _begin_log(path: Path, log: Log, index: Index, applied_op: int, applied_epoch: int) -> None:
    """Begin the log behind an accepted copy; with that the copy is the shard."""
    if index.applied_op != applied_op:
        fault = f"it is a copy as of operation {applied_op} and holds operation {index.applied_op} as its last"
        raise Corruption(index.store.path / "data.mdb", fault, RESTORE)
    log.reset(applied_op + 1, applied_epoch)
    remove_tree(path / _DAMAGED)
    (path / _AWAITS_COPY).unlink(missing_ok=True)
    for arrived in _arrived(path):  # that which counts last: it says of which position all this is
        remove_tree(arrived)


def _catch_up(log: Log, index: Index) -> None:
    """Let the log go on behind what was applied, if its own end was lost.

    What was applied is durable without the log; a number that is given twice would make two operations one.
    """
    if log.first_op > index.applied_op + 1:
        fault = f"operations {index.applied_op + 1} to {log.first_op - 1} are neither in it nor in the log"
        raise Corruption(index.store.path / "data.mdb", fault, RESTORE)
    if log.next_op <= index.applied_op:
        _log.warning("the log of %s ends before operation %d, which was applied", index.path, index.applied_op)
        log.reset(index.applied_op + 1, 0)  # of which epoch that operation was, nobody knows


def _replay(log: Log, index: Index) -> None:
    for operations in _groups(log, index.applied_op + 1):
        index.apply(operations)


def _groups(log: Log, from_op: int) -> Iterator[list[tuple[int, Operation]]]:
    operations: list[tuple[int, Operation]] = []
    group_bytes = 0
    for record in log.read(from_op):
        operations.append((record.op_num, decode(record.payload)))
        group_bytes += len(record.payload)
        if len(operations) == APPLY_OPERATIONS or group_bytes >= APPLY_BYTES:
            yield operations
            operations, group_bytes = [], 0
    if operations:
        yield operations

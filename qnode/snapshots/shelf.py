"""The finished snapshots on this node, as files under `storage.snapshots_path`.

    <collection>/<name>.snapshot              with <name>.snapshot.checksum, its SHA-256, beside it
    <collection>/shards/<number>/<name>.snapshot
    <name>.snapshot                           of the whole storage

A file is there under its name when it is complete. Names that a client gives are looked up, never followed: what is not the plain
name of a snapshot does not exist. Blocks.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from qnode.disk import fault_of, make_directory, sync_directory, write_file_durably
from qnode.errors import BadInput, NotFound, QnodeError
from qnode.models.topology import STANDALONE_PEER

SUFFIX: Final = ".snapshot"
_CHECKSUM: Final = ".checksum"
_PART: Final = ".part"
_NAME: Final = re.compile(r"[^/\\\0]{1,240}\.snapshot")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_PREFIX_BYTES: Final = 180
_MOST_FOLDER_BYTES: Final = 255
_STAMP: Final = "%Y-%m-%d-%H-%M-%S"


@dataclass(frozen=True, slots=True)
class SnapshotDescription:
    """A finished snapshot as clients see it; `checksum` is the SHA-256 of a download."""

    name: str
    creation_time: str
    size: int
    checksum: str | None

    def shown(self) -> dict[str, object]:
        return {
            "name": self.name,
            "creation_time": self.creation_time,
            "size": self.size,
            "checksum": self.checksum,
        }


class Shelf:
    """A folder of snapshots of one thing, which nodes may share. `prefix`: how the names begin that are given here."""

    def __init__(self, folder: Path, prefix: str, peer: int) -> None:
        self.folder = folder
        self._prefix = prefix
        self._peer = peer

    def new_part(self) -> Path:
        """Name a file that is to become a snapshot; nobody sees it before `finish`."""
        make_directory(self.folder)
        return self.folder / f".{self._peer}-{secrets.token_hex(8)}{_PART}"

    def finish(self, part: Path, checksum: str) -> SnapshotDescription:
        """Give a complete, durable file a name, and keep its checksum beside it."""
        made_at = datetime.now(UTC)
        prefix = self._prefix.encode()[:_MOST_PREFIX_BYTES].decode(errors="ignore")
        while not _claim(path := self.folder / f"{prefix}-{made_at.strftime(_STAMP)}{SUFFIX}"):
            made_at += timedelta(seconds=1)  # two within a second must not have one name
        try:
            write_file_durably(_checksum_of(path), checksum.encode())
            part.rename(path)
        except (OSError, QnodeError) as error:
            with suppress(OSError):
                _checksum_of(path).unlink()
            if isinstance(error, OSError):
                raise fault_of(error, f"{path} could not be made") from error
            raise
        sync_directory(self.folder)
        return _described(path)

    def listed(self) -> list[SnapshotDescription]:
        """Describe all snapshots, by name."""
        if not self.folder.is_dir():
            return []
        return [_described(path) for path in sorted(self.folder.iterdir()) if _is_snapshot(path)]

    def find(self, name: str) -> Path:
        """Give the file of a snapshot; raise NotFound."""
        path = self.folder / name if _NAME.fullmatch(name) else None
        if path is None or not _is_snapshot(path):
            raise NotFound(f"Snapshot {name[:300]} not found")
        return path

    def delete(self, name: str) -> None:
        """Remove a snapshot; raise NotFound."""
        path = self.find(name)
        try:
            path.unlink()
            _checksum_of(path).unlink(missing_ok=True)
        except OSError as error:
            raise fault_of(error, f"{path} could not be removed") from error
        sync_directory(self.folder)


def _checksum_of(path: Path) -> Path:
    return path.with_name(path.name + _CHECKSUM)


def _claim(path: Path) -> bool:
    """Take a name, unless it is taken: by the file of the checksum, which one alone of several at a time can make."""
    if path.exists():
        return False
    try:
        _checksum_of(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise fault_of(error, f"{path} could not be made") from error
    return True


def shelf_of_collection(root: Path, name: str, peer: int) -> Shelf:
    """Where the snapshots of a collection stand."""
    return Shelf(root / folder_name(name), f"{name}-{peer}", peer)


def shelf_of_shard(root: Path, name: str, number: int, peer: int) -> Shelf:
    """Where the snapshots of a shard stand."""
    return Shelf(root / folder_name(name) / "shards" / str(number), f"{name}-shard-{number}-{peer}", peer)


def shelf_of_storage(root: Path, peer: int) -> Shelf:
    """Where the snapshots of everything stand."""
    return Shelf(root, "full-snapshot" if peer == STANDALONE_PEER else f"full-snapshot-{peer}", peer)


def folder_name(collection: str) -> str:
    """Give a collection's folder: its name, but for the two that mean other folders."""
    folder = collection.replace(".", "%2E") if collection in (".", "..") else collection
    if "/" in folder or len(folder.encode()) > _MOST_FOLDER_BYTES:
        raise BadInput("a collection of this name can have no folder for its snapshots")
    return folder


def remove_parts(root: Path, peer: int) -> None:
    """Remove what an earlier process of this node has begun to write; blocks."""
    for depth in ("", "*/", "*/shards/*/"):
        for path in root.glob(f"{depth}.{peer}-*{_PART}"):
            path.unlink(missing_ok=True)


def _is_snapshot(path: Path) -> bool:
    is_named = path.name.endswith(SUFFIX) and not path.name.startswith(".")
    return is_named and path.is_file() and not path.is_symlink()


def _described(path: Path) -> SnapshotDescription:
    stat = path.stat()
    try:
        checksum = _checksum_of(path).read_text("ascii").strip()
    except (OSError, ValueError):
        checksum = ""
    made_at = datetime.fromtimestamp(stat.st_mtime, UTC)
    return SnapshotDescription(
        path.name,
        made_at.strftime("%Y-%m-%dT%H:%M:%S"),
        stat.st_size,
        checksum if _SHA256.fullmatch(checksum) else None,
    )

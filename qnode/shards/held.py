"""Which shards have files on this node, told beside those files: a folder that is lost must not pass for a new one.

A mark is made when a shard was opened for the first time, before the node acts for it, and is removed after its files.
So a crash while a shard is made leaves files without a mark, which are opened, or nothing, and it is made; a shard whose files
are older than marks are gets its mark when it is opened. A mark without files means that somebody has lost them.

The marks lie beside the folder of the collections, for that may be lost as a whole. Folders and numbers are never given again,
so a mark that a crash has left behind harms nothing.
"""

from __future__ import annotations

from pathlib import Path

from qnode.disk import fault_of, make_directory, sync_directory
from qnode.shards.opening import has_files


class HeldShards:
    """The marks of a node, one empty file for each shard. All of it blocks."""

    def __init__(self, collections: Path) -> None:
        self._collections = collections
        self._marks = collections.with_name(f"{collections.name}.held")

    def is_lost(self, folder: str, number: int) -> bool:
        """Tell whether a shard had files here, and has none any more."""
        return self._mark(folder, number).exists() and not has_files(self._collections / folder / str(number))

    def opened(self, folder: str, number: int) -> None:
        """Note that a shard has files from now on. Raises OutOfSpace, InternalError."""
        mark = self._mark(folder, number)
        if mark.exists():
            return
        make_directory(self._marks)
        try:
            mark.touch()
        except OSError as error:
            raise fault_of(error, f"{mark} could not be made") from error
        sync_directory(self._marks)

    def removed(self, folder: str, number: int | None = None) -> None:
        """Note that the files of a shard, or of all of a collection, were removed."""
        for mark in self._marks.glob(f"{folder}." + ("*" if number is None else str(number))):
            mark.unlink(missing_ok=True)

    def _mark(self, folder: str, number: int) -> Path:
        return self._marks / f"{folder}.{number}"

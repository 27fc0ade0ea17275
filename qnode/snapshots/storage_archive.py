"""Archives of everything: a list of collections and aliases, and an archive of each collection as it is.

storage.json               the first file
collections/<n>.snapshot   in the order of the list
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from qnode.disk import fault_of
from qnode.errors import BadInput
from qnode.models.collection_sections import collection_name_faults
from qnode.models.topology_commands import SetAlias
from qnode.snapshots.archive import entries
from qnode.snapshots.fetching import Arriving
from qnode.snapshots.packing import First, Member

FORMAT: Final = "qnode-storage-snapshot"
VERSION: Final = 1
MOST_LIST_BYTES: Final = 16 << 20
_LIST: Final = "storage.json"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The archives of collections by name, and the aliases to be set."""

    files: Mapping[str, Path]
    aliases: tuple[SetAlias, ...]


def first_of(names: Sequence[str], aliases: Mapping[str, str]) -> First:
    """Give the file that an archive of these collections begins with."""
    kept = {alias: name for alias, name in aliases.items() if name in names}
    content = {"format": FORMAT, "version": VERSION, "collections": names, "aliases": kept}
    return First(_LIST, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def member_of(number: int, size_bytes: int, content: Callable[[], Iterator[bytes]]) -> Member:
    """Name the archive of a collection, the `number`-th of all, as it stands in one of everything."""
    return Member(_name_of(number), size_bytes, content)


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Put the archives of collections into a folder; raise BadInput for anything else. Each checks itself later. Blocks."""
    try:
        with archive.open("rb") as file:
            found = entries(file)
            first = next(found, None)
            if first is None or first.name != _LIST:
                raise BadInput("this is no snapshot of a storage of qnode")
            names, aliases = _read(first.content(MOST_LIST_BYTES))
            files: dict[str, Path] = {}
            for number, name in enumerate(names):
                entry = next(found, None)
                if entry is None or entry.name != _name_of(number):
                    raise BadInput(f"the snapshot lacks collection {name}")
                files[name] = folder / f"{number}.snapshot"
                arriving = Arriving(files[name])
                try:
                    for piece in entry.pieces():
                        arriving.write(piece)
                finally:
                    arriving.close()
    except OSError as error:
        raise fault_of(error, f"the snapshot could not be unpacked into {folder}") from error
    return Unpacked(files, aliases)


def _name_of(number: int) -> str:
    return f"collections/{number}.snapshot"


def _read(content: bytes) -> tuple[list[str], tuple[SetAlias, ...]]:
    try:
        stored = orjson.loads(content)
        if stored["format"] != FORMAT or stored["version"] > VERSION:
            raise BadInput("this is no snapshot of a storage of qnode, or one of a later version")
        names = [str(name) for name in stored["collections"]]
        aliases = tuple(SetAlias(str(alias), str(name)) for alias, name in stored["aliases"].items())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"the list of the snapshot's collections cannot be read: {error!r}") from None
    if len(set(names)) != len(names) or any(collection_name_faults(name) for name in names):
        raise BadInput("the snapshot names collections that cannot be")
    return names, aliases

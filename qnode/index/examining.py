"""Whether a copy that a stranger may have made is as safe to open as one that was made here.

To be asked in a process of its own, which may end over a damaged file: the store is written anew (`rewriting`), then all is read
and compared as `qnode check` does, and whatever would lead a search out of an array is looked for.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

from qnode.errors import Corruption, QnodeError
from qnode.index.check import faults
from qnode.index.index import Index
from qnode.index.rewriting import rewrite
from qnode.models.vector_params import IndexParams

MEMORY_BYTES: Final = 2 << 30
"""The process may take so much memory …"""

MEMORY_SHARE: Final = 4
"""… and so many times the size of the files."""


def fault_of_copy(folder: Path, params: IndexParams) -> str | None:
    """Say what is wrong with a copy, and bound the memory of this process; None: nothing is, and its store is a new one."""
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*"))
    most_bytes = MEMORY_BYTES + MEMORY_SHARE * size_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    try:
        rewrite(folder)
        with closing(Index.open(folder, params, read_only=True, verify=True)) as index:
            return next(chain(_strays(index), faults(index)), None)
    except Corruption as error:
        return error.fault
    except QnodeError as error:
        return str(error).removeprefix(error.prefix)
    except Exception as error:  # damage may show as any error, wherever it is stumbled upon
        return repr(error)[:300]


def _strays(index: Index) -> Iterator[str]:
    """List what a search would follow out of an array."""
    slots = {vector.slot for vector in index.params.by_name.values()}
    for entry in index.manifest.segments:
        if entry.slot not in slots:
            yield f"segment {entry.id} is of a vector that the collection does not have"
    for space in index.spaces.values():
        for part in space.parts:
            rows = part.segment.rows
            if len(part.alive) != rows or len(part.segment.points) != rows:
                yield f"segment {part.id} has {rows} rows, and the manifest says otherwise"
            elif rows and int(part.segment.points.max()) >= index.population.capacity:
                yield f"segment {part.id} has rows of points that there are not"

"""The memory of the process: giving back what it has no more use for. Linux with glibc; elsewhere nothing happens.

glibc keeps what is freed, in arenas for different threads. Uploads allocate megabytes in several threads: with one arena
for all, these blocks are used again by whoever comes next, which took a fifth off the time of an upsert; what is free is
returned when a build has ended. (Smaller thresholds would return it at once, and made an upsert take twice as long: each
block is then mapped and zeroed anew.)
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_M_ARENA_MAX = -8
_MADV_DONTNEED = 4
_MALLINFO_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heap:
    """What the allocator of C holds: NumPy's arrays and the buffers of libraries, not Python's small objects, nor mapped files.

    active_bytes: got from the system. allocated_bytes: of these, in use, the allocator's own marks among them. retained_bytes:
    free, and kept.
    """

    active_bytes: int
    allocated_bytes: int
    retained_bytes: int


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLINFO_FIELDS)


def heap() -> Heap | None:
    """Ask the allocator what it holds; None where it cannot say."""
    mallinfo = _libc_function("mallinfo2")
    if mallinfo is None:
        return None
    mallinfo.restype = _Mallinfo
    told = mallinfo()
    return Heap(told.arena + told.hblkhd, told.uordblks + told.hblkhd, told.fordblks)


def use_one_arena() -> None:
    """Let all threads share one arena; call it before threads are started."""
    mallopt = _libc_function("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def return_free_blocks() -> None:
    """Return to the system what is free in the arenas; takes milliseconds."""
    trim = _libc_function("malloc_trim")
    if trim is not None:
        trim(0)


def return_code_of(library: str) -> None:
    """Let go of the code of a library that is not needed for now; it is read again when it is.

    library: a part of its file's name. Code alone is let go: it is never written, so the file has all of it.
    """
    _return_pages(lambda rights, name: rights == "r-xp" and library in name)


def return_pages_of(path: Path) -> None:
    """Let go of the pages of a file, or of the files in a folder, that are mapped to be read.

    They stay in the system's cache while there is room. Writers of LMDB touch most of a store's pages, readers few of them;
    and of a segment that is given up, unmapping what is still there would stop all threads of Python for milliseconds.
    Only read-only shared mappings are let go, whose files have all of it.
    """
    whole = str(path.resolve())
    _return_pages(lambda rights, name: rights == "r--s" and (name == whole or name.startswith(f"{whole}/")))


def _return_pages(chosen: Callable[[str, str], bool]) -> None:
    advise = _libc_function("madvise")
    if advise is None:
        return
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, _, _, *name = line.split(maxsplit=5)
        if name and chosen(rights, name[0]):
            begin, end = (int(place, 16) for place in span.split("-"))
            advise(begin, end - begin, _MADV_DONTNEED)


def _libc_function(name: str) -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)

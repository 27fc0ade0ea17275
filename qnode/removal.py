"""Taking big files off the disk a little at a time, so that nobody's sync has to wait for it.

A file system that tells its device at once which blocks are free (ext4 mounted with `discard`, as cloud images are) does so in the
commit that every sync on it waits for: for 120 MB that go at once, all of them wait 130 ms, however small what they have
written; in steps of 8 MB, 15 ms. One thread for the whole process takes one step after the other.

What is to go has a name by then that nobody opens (`disk.remove_tree`). A file of which this process still has a mapping is
waited for: who reads a page behind the end of a shrunk file is killed by SIGBUS. A file with another name, a hard link in a
copy, loses this one only. What the end of the process leaves is found by its name, and removed, at the next start.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

STEP_BYTES: Final = 8 << 20
PAUSE_SECONDS: Final = 0.05
"""Steps and pauses let 160 MB a second go."""

SCARCE_SHARE: Final = 0.1
"""Without pauses where no more of the file system than this is free: whoever deletes to make room needs it now."""

UNMAPPED_SECONDS: Final = 10.0
"""A mapping is waited for so long, many at the same time; then the file loses its name, and its blocks go with the mapping."""

_MAPPINGS: Final = Path("/proc/self/maps")

_waiting: queue.SimpleQueue[tuple[Path, float]] = queue.SimpleQueue()
_starting = threading.Lock()
_pid = 0


def remove_steadily(path: Path) -> None:
    """Remove a file or a tree: what is small at once, the rest in the background. What cannot be removed stays."""
    if _is_small(path):
        _remove_now(path)
        return
    global _pid
    with _starting:
        if _pid != os.getpid():
            _pid = os.getpid()
            threading.Thread(target=_run, name="removal", daemon=True).start()
    _waiting.put((path, time.monotonic() + UNMAPPED_SECONDS))


def remove_in_steps(path: Path) -> None:
    """Remove a file or a tree that nobody has a use for, and return when it is gone; blocks.

    For a process that ends soon, and a folder that somebody lists next: neither must find what is in the background still.
    """
    _remove(path, time.monotonic() + UNMAPPED_SECONDS)


def _is_small(path: Path) -> bool:
    left_bytes = STEP_BYTES
    for file in _files(path):
        with suppress(OSError):
            left_bytes -= file.lstat().st_size
        if left_bytes < 0:
            return False
    return True


def _files(path: Path) -> list[Path]:
    if not path.is_dir() or path.is_symlink():
        return [path]
    return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]


def _remove_now(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _run() -> None:
    while True:
        _remove(*_waiting.get())


def _remove(path: Path, gives_up_at: float) -> None:
    while (may_shrink := _is_unmapped(path)) is False and time.monotonic() < gives_up_at:
        time.sleep(PAUSE_SECONDS)
    for file in _files(path):
        if may_shrink:
            with suppress(OSError):  # its folder may have been removed meanwhile
                _shrink(file)
        else:
            time.sleep(PAUSE_SECONDS)
        with suppress(OSError):
            file.unlink()
    _remove_now(path)


def _pause(descriptor: int) -> None:
    found = os.fstatvfs(descriptor)
    if found.f_bavail > SCARCE_SHARE * found.f_blocks:
        time.sleep(PAUSE_SECONDS)


def _is_unmapped(path: Path) -> bool | None:
    """Whether no file of this name, or below it, is mapped here; None where the system does not tell."""
    try:
        return os.fsencode(path.resolve()) not in _MAPPINGS.read_bytes()
    except OSError:
        return None


def _shrink(file: Path) -> None:
    found = file.lstat()
    if found.st_nlink > 1 or file.is_symlink() or found.st_size <= STEP_BYTES:
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for left_bytes in range(found.st_size - STEP_BYTES, 0, -STEP_BYTES):
            os.ftruncate(descriptor, left_bytes)
            _pause(descriptor)
    finally:
        os.close(descriptor)

"""What the machine is, and how busy this process keeps it. Linux; elsewhere less is known.

Containers may have less than the machine: of the cores those that this process may use count, of the memory the limit of its
control group.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

_CPU_FLAGS = frozenset(
    {"sse", "sse2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512bw", "neon", "asimd", "fp16"}
)
"""What vector arithmetic makes use of; the others are of no interest here."""

_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def cores() -> int:
    """Tell how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class CpuMeter:
    """How many cores this process has used between two readings. Processes that it has started count for themselves."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()

    def read(self) -> float:
        """Tell how many cores were used on average since the last reading, or since the beginning."""
        at, used = time.monotonic(), time.process_time()
        share = (used - self._used) / max(at - self._at, 1e-6)
        self._at, self._used = at, used
        return share


def memory_bytes() -> int:
    """Tell how much memory this process may have at most."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # there is no such group, or it says "max"
            continue
    return total


@lru_cache
def describe() -> dict[str, Any]:
    """Tell what the machine is, as Qdrant's telemetry calls it; nothing of it changes while the process runs."""
    release = _release()
    return {
        "distribution": release.get("ID"),
        "distribution_version": release.get("VERSION_ID"),
        "is_docker": _container() == "docker",
        "container_runtime": _container(),  # later clients than the interface insist on it
        "cores": cores(),
        "ram_size": memory_bytes() >> 10,
        "cpu_flags": ",".join(sorted(_CPU_FLAGS & _flags())),
        "cpu_endian": sys.byteorder,
    }


def _container() -> str:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    return "other" if Path("/run/.containerenv").exists() else "none"


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _flags() -> set[str]:
    """Read what the first core can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next(
        (set(line.partition(":")[2].split()) for line in lines if line.lower().startswith(("flags", "features"))), set()
    )

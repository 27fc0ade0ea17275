"""Quotas of a node: how much of its memory and of its disk may be in use before it refuses writes that need more.

The settings are the node's own: they are kept in its storage folder, also in a cluster, where each node is told its own. A resource
that has reached its limit stays refused until it has fallen by the release margin. What is in use is measured once a second at most.
Deleting is never refused. Left out: a node that is over its quota does not count as a failed replica for others.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from qnode.disk import write_file_durably
from qnode.errors import Corruption, OutOfSpace
from qnode.metrics import resident_bytes
from qnode.models import reading
from qnode.models.reading import Fault

DEFAULT_MARGIN_PERCENT = 5
_MEASURED_SECONDS = 1.0
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_READERS: dict[str, reading.Reader] = {
    "enabled": reading.boolean,
    "max_resident_memory_percent": reading.unsigned,
    "max_disk_usage_percent": reading.unsigned,
    "release_margin_percent": reading.unsigned,
}
_BOUNDS: dict[str, reading.Bounds] = {
    "max_resident_memory_percent": (1, 100),
    "max_disk_usage_percent": (1, 100),
    "release_margin_percent": (0, 100),
}


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """The limits, in percent of what there is; None: no limit. They hold while `enabled`."""

    enabled: bool = False
    max_resident_memory_percent: int | None = None
    max_disk_usage_percent: int | None = None
    release_margin_percent: int | None = None

    @classmethod
    def from_json(cls, value: object) -> QuotaConfig:
        """Read what a client sent, or `to_json` wrote; raise MalformedBody or ValidationFailed."""
        given = reading.fields(value, _READERS, "struct QuotaConfig")
        faults: list[Fault] = []
        for name, bounds in _BOUNDS.items():
            if name in given:
                faults += reading.out_of_bounds(name, given[name], bounds)
        reading.raise_faults(faults)
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Show what is set."""
        shown = {name: getattr(self, name) for name in _READERS}
        return {name: value for name, value in shown.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of what there is is in use, in percent; None: not known here."""

    resident_memory_percent: int | None
    disk_usage_percent: int | None


class Quotas:
    """The quotas of the node whose storage is in `folder`; `measure` tells what is in use, `clock` the seconds."""

    def __init__(
        self, folder: Path, measure: Callable[[Path], Usage] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._folder = folder
        self._file = folder / "quotas.json"
        self._measure = measure or usage_of
        self._clock = clock
        self._changing = asyncio.Lock()
        self._measured: tuple[float, Usage] | None = None
        self._exceeded: set[str] = set()
        self.config = self._read()

    def _read(self) -> QuotaConfig:
        if not self._file.exists():
            return QuotaConfig()
        try:
            return QuotaConfig.from_json(orjson.loads(self._file.read_bytes()))
        except Exception as error:
            raise Corruption(self._file, str(error), "Remove it, and set the quotas again") from error

    async def replace(self, config: QuotaConfig) -> None:
        """Take other limits over; they are durable when this returns."""
        async with self._changing:
            await asyncio.to_thread(write_file_durably, self._file, orjson.dumps(config.to_json()))
            self.config, self._measured, self._exceeded = config, None, set()

    def usage(self) -> Usage:
        """Tell what is in use, as of the last second."""
        now = self._clock()
        if self._measured is None or now - self._measured[0] >= _MEASURED_SECONDS:
            self._measured = now, self._measure(self._folder)
        return self._measured[1]

    def check(self) -> None:
        """Raise OutOfSpace if a limit is reached, or was and not enough has been freed since."""
        if not self.config.enabled:
            return
        used = self.usage()
        self._check("resident memory", used.resident_memory_percent, self.config.max_resident_memory_percent)
        self._check("disk", used.disk_usage_percent, self.config.max_disk_usage_percent)

    def _check(self, resource: str, used: int | None, limit: int | None) -> None:
        if used is None or limit is None:
            return
        margin = self.config.release_margin_percent
        released = limit - (DEFAULT_MARGIN_PERCENT if margin is None else margin)
        if used >= limit or (resource in self._exceeded and used > released):
            self._exceeded.add(resource)
            raise OutOfSpace(f"the {resource} quota of {limit}% is used up ({used}% in use)")
        self._exceeded.discard(resource)


def usage_of(folder: Path) -> Usage:
    """Measure the memory of this process and the disk that a folder is on."""
    disk = shutil.disk_usage(folder)
    return Usage(memory_percent(), 100 * (disk.total - disk.free) // disk.total)


def memory_percent() -> int | None:
    """Tell how much of the memory that this process may have is resident."""
    resident = resident_bytes()
    return None if resident is None else 100 * resident // _memory_bytes()


def check_memory(limit_percent: int) -> None:
    """Raise OutOfSpace if so much of the memory is resident."""
    used = memory_percent()
    if used is not None and used >= limit_percent:
        raise OutOfSpace(f"the resident memory limit of {limit_percent}% is used up ({used}% in use)")


def _memory_bytes() -> int:
    """Give the memory of the machine, or the limit of the group that the process is in if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # there is no such group, or it says "max"
            continue
    return total

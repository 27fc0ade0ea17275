"""Quotas of a node: how much of its memory and of its disk may be in use before it refuses writes that need more.

The limits are in the topology, so all nodes of a cluster have the same; what is in use is each node's own, and a write is held against
it where it comes in. A resource that has reached its limit stays refused until it has fallen by the release margin. What is in use is measured once a second at most.
Deleting is never refused. Left out: a node that is over its quota does not count as a failed replica for others.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from qnode.errors import OutOfSpace
from qnode.machine import memory_bytes
from qnode.metrics import resident_bytes
from qnode.models import reading
from qnode.models.reading import Fault
from qnode.models.topology import Topology
from qnode.models.topology_commands import Command, SetQuotas

Propose = Callable[[Command], Awaitable[object | None]]
"""Asks for a change of the topology; gives why it was rejected."""

DEFAULT_MARGIN_PERCENT = 5
_SPOKEN = {"resident_memory": "resident memory", "disk_usage": "disk"}
_MEASURED_SECONDS = 1.0
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
        self,
        folder: Path,
        topology: Callable[[], Topology],
        propose: Propose,
        measure: Callable[[Path], Usage] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._folder = folder
        self._topology = topology
        self._propose = propose
        self._measure = measure or usage_of
        self._clock = clock
        self._measured: tuple[float, Usage] | None = None
        self._exceeded: set[str] = set()
        self._limits: Mapping[str, Any] = {}
        self._config = QuotaConfig()

    @property
    def config(self) -> QuotaConfig:
        """The limits that hold now; when they have changed, everything is measured anew."""
        limits = self._topology().quotas
        if limits is not self._limits:
            self._limits, self._config = limits, QuotaConfig.from_json(limits)
            self._measured, self._exceeded = None, set()
        return self._config

    async def replace(self, config: QuotaConfig) -> None:
        """Take other limits over; they are durable, and known here, when this returns. Raise what the topology raises."""
        rejected = await self._propose(SetQuotas(config.to_json()))
        assert rejected is None, "quotas are never rejected"

    def usage(self) -> Usage:
        """Tell what is in use, as of the last second."""
        now = self._clock()
        if self._measured is None or now - self._measured[0] >= _MEASURED_SECONDS:
            self._measured = now, self._measure(self._folder)
        return self._measured[1]

    def check(self) -> None:
        """Raise OutOfSpace if a limit is reached, or was and not enough has been freed since."""
        config = self.config
        if not config.enabled:
            return
        used = self.usage()
        self._check("resident memory", used.resident_memory_percent, config.max_resident_memory_percent)
        self._check("disk", used.disk_usage_percent, config.max_disk_usage_percent)

    def exceeded(self) -> dict[str, bool | None]:
        """Tell of each resource whether writes are refused for it now; None: they never are."""
        config = self.config
        used = self.usage()
        limits = {
            "resident_memory": (used.resident_memory_percent, config.max_resident_memory_percent),
            "disk_usage": (used.disk_usage_percent, config.max_disk_usage_percent),
        }
        shown: dict[str, bool | None] = {}
        for name, (percent, limit) in limits.items():
            if not config.enabled or percent is None or limit is None:
                shown[name] = None
                continue
            try:
                self._check(_SPOKEN[name], percent, limit)
                shown[name] = False
            except OutOfSpace:
                shown[name] = True
        return shown

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
    return None if resident is None else 100 * resident // memory_bytes()


def check_memory(limit_percent: int) -> None:
    """Raise OutOfSpace if so much of the memory is resident."""
    used = memory_percent()
    if used is not None and used >= limit_percent:
        raise OutOfSpace(f"the resident memory limit of {limit_percent}% is used up ({used}% in use)")

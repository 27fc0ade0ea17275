"""The network between the nodes of a cluster on this machine: each pair of nodes can be cut, one way or both, or slowed down.

Before each node stands a proxy, whose address is what the others are told. A connection belongs to the process that holds its
far end, so a cut concerns what goes from one node to another, whichever of the two has dialled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import permutations
from pathlib import Path

from tests.support.cutting_proxy import CuttingProxy, Gate, Way

NOBODY = -1


class PeerNetwork:
    """`pids` gives the processes of the nodes, by their number in the cluster."""

    def __init__(self, pids: Callable[[], Mapping[int, int]]) -> None:
        self._pids = pids
        self._gates: defaultdict[tuple[int, int], Gate] = defaultdict(Gate)
        self._proxies: dict[int, CuttingProxy] = {}

    def attach(self, number: int, port: int) -> int:
        """Stand before a node that listens for peers at a port; give the port that the others are told."""
        proxy = CuttingProxy(("127.0.0.1", port), lambda came_from: self._gates_between(came_from, number))
        self._proxies[number] = proxy
        return proxy.port

    def close(self) -> None:
        """Let everything through, and end all connections."""
        self.heal()
        for proxy in self._proxies.values():
            proxy.close()

    def cut(self, source: int, target: int, *, one_way: bool = False) -> None:
        """Hold back what goes from a node to another, and, unless it is said otherwise, what goes back."""
        self._gates[source, target].shut()
        if not one_way:
            self._gates[target, source].shut()

    def isolate(self, number: int) -> None:
        """Cut a node off from all others."""
        for other in self._proxies:
            if other != number:
                self.cut(number, other)

    def slow_down(self, numbers: Iterable[int], delay_seconds: float) -> None:
        """Delay what goes between these nodes."""
        for pair in permutations(numbers, 2):
            self._gates[pair].delay_seconds = delay_seconds

    def break_links(self) -> None:
        """End all connections at once; new ones may begin."""
        for proxy in self._proxies.values():
            proxy.break_connections()

    def heal(self) -> None:
        """Let everything through at once."""
        for gate in list(self._gates.values()):
            gate.delay_seconds = 0.0
            gate.open()

    def _gates_between(self, came_from: int, number: int) -> Mapping[Way, Gate]:
        dialler = self._owner_of(came_from)
        return {Way.THERE: self._gates[dialler, number], Way.BACK: self._gates[number, dialler]}

    def _owner_of(self, port: int) -> int:
        """Tell which node's process holds the connection that comes from a port; NOBODY if it is gone already."""
        sockets = {f"socket:[{inode}]" for inode in _inodes_of(port)}
        for number, pid in self._pids().items():
            with suppress(OSError):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        if str(descriptor.readlink()) in sockets:
                            return number
        return NOBODY


def _inodes_of(port: int) -> list[str]:
    """The sockets of this machine whose own end is a port."""
    wanted = f":{port:04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return [words[9] for words in lines if words[1].endswith(wanted)]

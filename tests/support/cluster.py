"""A cluster of real processes on this machine, to be killed, stopped and started again.

`ClusterOfProcesses` is used as a context manager: whatever happens, the processes are gone at the end, and their logs are
printed, which pytest shows for a test that failed. Every wait is for a condition, with a deadline.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.node import Node, free_port, wait_for
from tests.support.peer_network import PeerNetwork

READY_SECONDS = 60.0
Json = dict[str, Any]


class Member(Node):
    """A node of a cluster; it joins through `bootstrap`, or is the first."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str | None,
        environment: dict[str, str] | None = None,
        *,
        told_port: Callable[[int], int] | None = None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """`told_port` stands something before the port where the node listens for peers, and gives the one that they are told."""
        super().__init__(folder, environment=environment, preexec=preexec)
        self._bootstrap = bootstrap
        self.is_paused = False
        self._peer_id: int | None = None
        listens_at = free_port()
        self._environment["QNODE__CLUSTER__P2P__PORT"] = str(listens_at)
        self._address_peers(listens_at if told_port is None else told_port(listens_at))

    def move(self) -> None:
        """Give a node that does not run another address for peers, from its next start on."""
        port = free_port()
        self._environment["QNODE__CLUSTER__P2P__PORT"] = str(port)
        self._address_peers(port)

    def _address_peers(self, port: int) -> None:
        self.uri = f"http://127.0.0.1:{port}"
        joining = [] if self._bootstrap is None else ["--bootstrap", self._bootstrap]
        self.arguments = ("--uri", self.uri, *joining)

    def wipe(self) -> None:
        """Remove what a node that does not run has stored: it is another one from then on."""
        shutil.rmtree(self.storage)
        self._peer_id = None

    @property
    def peer_id(self) -> int:
        if self._peer_id is None:
            self._peer_id = int(self.cluster()["peer_id"])
        return self._peer_id

    def cluster(self) -> Json:
        """How the node sees the cluster."""
        shown: Json = self.ask("GET", "/cluster")
        return shown

    def shards(self, name: str) -> Json:
        """Where the node sees the shards of a collection."""
        shown: Json = self.ask("GET", f"/collections/{name}/cluster")
        return shown

    def replicas(self, name: str) -> dict[int, dict[int, str]]:
        """The states of all replicas of a collection, by shard and peer."""
        shown = self.shards(name)
        found: dict[int, dict[int, str]] = {}
        for replica in shown["local_shards"]:
            found.setdefault(replica["shard_id"], {})[shown["peer_id"]] = replica["state"]
        for replica in shown["remote_shards"]:
            found.setdefault(replica["shard_id"], {})[replica["peer_id"]] = replica["state"]
        return found

    def operate(self, name: str, **operation: Any) -> httpx.Response:
        """Ask for a cluster operation on a collection."""
        return self.call("POST", f"/collections/{name}/cluster", operation)

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return self.client.get("/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def why_not_ready(self) -> str:
        """What /readyz says."""
        try:
            return self.client.get("/readyz", timeout=5.0).text
        except httpx.HTTPError as error:
            return repr(error)

    @property
    def has_run(self) -> bool:
        return self._process is not None

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def pause(self) -> None:
        """Let the process stand still, its connections open."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False


class ClusterOfProcesses:
    """Several nodes of one cluster, the first of which the others join through."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        environment: dict[str, str] | None = None,
        *,
        cuttable: bool = False,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """`cuttable`: the nodes reach each other through `network` only."""
        self._folder = folder
        self._environment = environment
        self._preexec = preexec
        self.members: list[Member] = []
        self._network = PeerNetwork(self._pids) if cuttable else None
        self._opened = ExitStack()
        for _ in range(nodes):
            self._another()

    def _another(self) -> Member:
        number = len(self.members)
        bootstrap = self.members[0].uri if self.members else None
        folder = self._folder / f"node{number + 1}"
        folder.mkdir()
        told_port = None if self._network is None else partial(self._network.attach, number)
        member = Member(folder, bootstrap, self._environment, told_port=told_port, preexec=self._preexec)
        self.members.append(member)
        return member

    def add(self) -> Member:
        """Launch one more node, without waiting for it."""
        return self._opened.enter_context(_Labelled(self._another()))

    @property
    def network(self) -> PeerNetwork:
        """What is between the nodes, if it can be cut."""
        assert self._network is not None
        return self._network

    def _pids(self) -> dict[int, int]:
        return {number: member.pid for number, member in enumerate(self) if member.has_run}

    def number(self, member: Member) -> int:
        """The number of a node in this cluster, from 0."""
        return self.members.index(member)

    def __enter__(self) -> Self:
        try:
            first, *others = self.members
            self._opened.enter_context(_Labelled(first))
            first.wait_until_it_answers()
            for member in others:
                self._opened.enter_context(_Labelled(member))
            for member in others:
                member.wait_until_it_answers()
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self:
            if member.is_paused:
                member.resume()
        self._opened.close()
        if self._network is not None:
            self._network.close()

    def __getitem__(self, number: int) -> Member:
        return self.members[number]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def addresses(self) -> list[str]:
        return [member.address for member in self]

    @property
    def living(self) -> list[Member]:
        """The nodes that run, and are not stopped."""
        return [member for member in self if member.is_alive() and not member.is_paused]

    def by_id(self, peer: int) -> Member:
        """The node with this id."""
        (found,) = [member for member in self if member.peer_id == peer]
        return found

    def leader(self) -> Member:
        """The node that leads, as soon as all that live agree on one of them."""

        def agreed() -> Member | None:
            leaders = {member.cluster()["raft_info"]["leader"] for member in self.living}
            (leader,) = leaders if len(leaders) == 1 else (None,)
            return None if leader is None else next((each for each in self.living if each.peer_id == leader), None)

        found: Member = wait_for(agreed, READY_SECONDS)
        return found

    def primary_of(self, name: str, shard: int = 0) -> Member:
        """The node that orders the writes of a shard."""
        told = self.living[0].ask("GET", "/cluster/telemetry", details_level=2)
        replicas = next(each for each in told["collections"][name]["shards"] if each["id"] == shard)["replicas"]
        primary = next(each["peer_id"] for each in replicas if each["is_primary"])
        return self.by_id(primary)

    def wait_ready(self) -> None:
        """Return when all living nodes are ready; say what any of them waits for."""
        for member in self.living:
            try:
                wait_for(member.is_ready, READY_SECONDS)
            except AssertionError:
                raise AssertionError(f"node at {member.address} is not ready: {member.why_not_ready()}") from None

    def wait_active(self, name: str, replicas: int) -> None:
        """Return when every living node sees so many Active replicas of each shard, and no others."""

        def settled() -> bool:
            seen = [member.replicas(name) for member in self.living]
            return all(
                len(shard) == replicas and set(shard.values()) == {"Active"}
                for shards in seen
                for shard in shards.values()
            )

        try:
            wait_for(settled, READY_SECONDS)
        except AssertionError:
            seen = [member.replicas(name) for member in self.living]
            raise AssertionError(f"not all replicas of {name} have become Active: {seen}") from None

    def heal(self) -> None:
        """Bring back whoever is stopped, cut off or dead, and wait until all are ready."""
        if self._network is not None:
            self._network.heal()
        for member in self:
            if member.is_paused:
                member.resume()
            elif not member.is_alive():
                member.launch()
        for member in self:
            member.wait_until_it_answers()
        self.wait_ready()

    @contextmanager
    def holding(self, name: str, size: int, **settings: Any) -> Iterator[Self]:
        """All nodes well, and a collection that is there for so long."""
        self.heal()
        self[0].create(name, size, **settings)
        yield self
        self.heal()
        self[0].ask("DELETE", f"/collections/{name}")

    def kill_all(self) -> None:
        """Kill all processes, none of them knowing of the others' end."""
        for member in self:
            os.kill(member.pid, signal.SIGKILL)
        for member in self:
            member.process.wait()


class _Labelled:
    """Launches a node; at its end says whose log it is that follows."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __enter__(self) -> Member:
        self._member.launch()
        return self._member

    def __exit__(self, *_: object) -> None:
        print(f"=== node at {self._member.address}, peers at {self._member.uri}")
        self._member.__exit__()

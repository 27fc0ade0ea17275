"""Three nodes of one cluster as processes of this machine, with their default configuration, to be killed and started again."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.servers import NAME, Node, free_port

NODES = 3
WAIT_SECONDS = 300.0
POLL_SECONDS = 0.05
PAGE_POINTS = 1000

Points = dict[int, dict[str, Any]]


class Member(Node):
    """A node that joins through `bootstrap`, or is the first."""

    def __init__(self, folder: Path, bootstrap: str | None) -> None:
        super().__init__(folder)
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._bootstrap = bootstrap
        self._peer_id: int | None = None

    def command(self) -> list[str]:
        joining = [] if self._bootstrap is None else ["--bootstrap", self._bootstrap]
        return [*super().command(), "--uri", self.uri, *joining]

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def peer_id(self) -> int:
        if self._peer_id is None:
            self._peer_id = int(self.ask("GET", "/cluster")["result"]["peer_id"])
        return self._peer_id

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def states(self) -> list[tuple[int, int, str]]:
        """The shard, peer and state of every replica of the collection."""
        shown = self.ask("GET", f"/collections/{NAME}/cluster")["result"]
        local = [(each["shard_id"], shown["peer_id"], each["state"]) for each in shown["local_shards"]]
        return local + [(each["shard_id"], each["peer_id"], each["state"]) for each in shown["remote_shards"]]

    def sees_all_active(self) -> bool:
        return all(state == "Active" for _, _, state in self.states())

    def has_nothing(self) -> bool:
        """Whether it knows of no collection."""
        return not self.ask("GET", "/collections")["result"]["collections"]

    def count(self) -> int:
        """How many points the collection has."""
        return int(self.ask("POST", f"/collections/{NAME}/points/count", b"{}")["result"]["count"])

    def points(self) -> Points:
        """All points as this node gives them, from its own replicas where it has them."""
        found: Points = {}
        page: dict[str, Any] = {"limit": PAGE_POINTS, "with_payload": True, "with_vector": True}
        while True:
            given = self.ask("POST", f"/collections/{NAME}/points/scroll", orjson.dumps(page))["result"]
            found.update((point["id"], point) for point in given["points"])
            if given["next_page_offset"] is None:
                return found
            page["offset"] = given["next_page_offset"]


class Cluster:
    """The members, of which the first is joined by the others; `running` starts them and ends them at last."""

    def __init__(self, folder: Path) -> None:
        first = Member(folder / "node1", None)
        self.members = [first, *(Member(folder / f"node{number}", first.uri) for number in range(2, NODES + 1))]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with contextlib.ExitStack() as opened:
            for member in self.members:
                opened.enter_context(member.running())
            self.wait_ready()
            yield

    @property
    def living(self) -> list[Member]:
        return [member for member in self.members if member.is_running]

    @property
    def ports(self) -> list[int]:
        return [member.port for member in self.members]

    def leader(self) -> Member:
        """The member that leads, as soon as all that run agree on it."""

        def agreed() -> int | None:
            leaders = {member.ask("GET", "/cluster")["result"]["raft_info"]["leader"] for member in self.living}
            return leaders.pop() if len(leaders) == 1 else None

        return self.by_id(wait_for(agreed, "members do not agree on a leader"))

    def by_id(self, peer: int) -> Member:
        (found,) = [member for member in self.members if member.peer_id == peer]
        return found

    def primaries(self) -> dict[int, Member]:
        """Who orders the writes of each shard of the collection."""
        told = self.living[0].ask("GET", "/cluster/telemetry?details_level=2")["result"]["collections"][NAME]
        return {
            shard["id"]: self.by_id(replica["peer_id"])
            for shard in told["shards"]
            for replica in shard["replicas"]
            if replica["is_primary"]
        }

    def wait_ready(self) -> None:
        """Return when every member says that it is ready."""
        for member in self.living:
            wait_for(member.is_ready, f"{member.uri} is not ready")

    def wait_active(self) -> None:
        """Return when all members see all replicas of the collection Active."""
        for member in self.living:
            wait_for(member.sees_all_active, f"{member.uri} sees replicas that stay behind")

    def wait_until_indexed(self) -> None:
        for member in self.living:
            member.wait_until_indexed()

    def drop(self) -> None:
        """Drop the collection; return when no member knows of it."""
        self.members[0].drop()
        for member in self.living:
            wait_for(member.has_nothing, f"{member.uri} still has what was dropped")


def wait_for(condition: Callable[[], Any], otherwise: str, seconds: float = WAIT_SECONDS) -> Any:
    """Poll until a condition holds; give what it gave."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, otherwise
        time.sleep(POLL_SECONDS)
    return found

"""Golden scenarios: a cluster in words, and all that is decided until it comes to rest, round by round.

    peers 1 2/a 3!              2 in zone a, 3 being drained
    settings incoming=0         fields of ReconcileSettings, shortened
    silent 3=700                for so many seconds
    key k replication=2 only=1,2
    shard c/0 replication=2: 1*Active 2Dead      * the primary; `c/1[k]` belongs to key k
    transfer c/0 1->2 copy      one under way

After each round the commands are applied and every target of a transfer that answers becomes Active.
"""

import re
from dataclasses import fields, replace

from qnode.models import topology as values
from qnode.models.topology import CollectionEntry, Peer, ReplicaState, Shard, ShardKeyEntry, Topology
from qnode.models.topology_commands import (
    AbortTransfer,
    ChangePrimary,
    DropReplica,
    FinishTransfer,
    SetReplicaState,
    SingleCommand,
    StartTransfer,
)
from qnode.raft.topology import apply_command
from qnode.shards.placement import ReconcileSettings, reconcile

MOST_ROUNDS = 60
NOW = 10_000.0
_SETTINGS = {
    "replace_after": "replace_after_seconds",
    "timeout": "transfer_timeout_seconds",
    "incoming": "incoming_transfers",
    "outgoing": "outgoing_transfers",
    "spread": "spread_primaries",
}


class Scenario:
    """A cluster that was described, and its course."""

    def __init__(self, text: str) -> None:
        self.topology = Topology(index=100)
        self.silent: dict[int, float] = {}
        self.settings = ReconcileSettings()
        self.rounds: list[tuple[SingleCommand, ...]] = []
        self._keys: dict[str, ShardKeyEntry] = {}
        for line in text.strip().splitlines():
            word, rest = line.split(None, 1)
            getattr(self, f"_read_{word}")(rest)

    def _read_peers(self, text: str) -> None:
        peers = {}
        for word in text.split():
            number, zone = re.fullmatch(r"(\d+)(?:/(\w+))?!?", word).groups()
            peers[int(number)] = Peer(f"http://n{number}", "word", zone=zone, is_draining=word.endswith("!"))
        self.topology = replace(self.topology, peers=peers)

    def _read_settings(self, text: str) -> None:
        types = {field.name: field.type for field in fields(ReconcileSettings)}
        for name, value in (word.split("=") for word in text.split()):
            field = _SETTINGS[name]
            read = float(value) if types[field] == "float" else int(value)
            self.settings = replace(self.settings, **{field: read})

    def _read_silent(self, text: str) -> None:
        for peer, seconds in (word.split("=") for word in text.split()):
            self.silent[int(peer)] = NOW - float(seconds)

    def _read_key(self, text: str) -> None:
        key, *words = text.split()
        given = dict(word.split("=") for word in words)
        only = tuple(int(peer) for peer in given["only"].split(",")) if "only" in given else ()
        factor = int(given["replication"]) if "replication" in given else None
        self._keys[key] = ShardKeyEntry((), factor, only)

    def _read_shard(self, text: str) -> None:
        name, number, key, factor, held = re.fullmatch(
            r"(\w+)/(\d+)(?:\[(\w+)\])?(?: replication=(\d+))?:(.*)", text
        ).groups()
        entry = self.topology.collections.get(name) or CollectionEntry("folder", {"params": {"replication_factor": 1}})
        if factor is not None:
            entry = replace(entry, config={"params": {"replication_factor": int(factor)}})
        if key is not None:
            entry = replace(entry, keys={**entry.keys, key: self._keys[key]})
        parts = [re.fullmatch(r"(\d+)(\*?)([A-Z]\w+)", word).groups() for word in held.split()]
        primary = next((int(peer) for peer, star, _ in parts if star), None)
        shard = Shard(key, primary, 5, 5, {int(peer): ReplicaState(state) for peer, _, state in parts})
        entry = replace(entry, shards={**entry.shards, int(number): shard})
        self.topology = replace(self.topology, collections={**self.topology.collections, name: entry})

    def _read_transfer(self, text: str) -> None:
        name, *numbers, kind = re.fullmatch(r"(\w+)/(\d+) (\d+)->(\d+) (copy|move)", text).groups()
        place = (int(number) for number in numbers)
        transfer = values.Transfer(*place, values.TransferMethod.SNAPSHOT, kind == "copy", 50)
        entry = self.topology.collections[name]
        changed = replace(entry, transfers=(*entry.transfers, transfer))
        self.topology = replace(self.topology, collections={**self.topology.collections, name: changed})

    def course(self) -> str:
        """Go on until nothing is wanted any more, and tell what was done and what there is at the end."""
        lines = []
        while commands := reconcile(self.topology, self.silent, NOW, self.settings):
            self.rounds.append(commands)
            assert len(self.rounds) < MOST_ROUNDS, "it does not come to rest"
            lines += [f"round {len(self.rounds)}", *(f"  {said(command)}" for command in commands)]
            for command in commands:
                self.topology, rejected = apply_command(self.topology, command)
                assert rejected is None, f"{command}: {rejected}"
            self._catch_up()
        return "\n".join([*lines, "rest", *(f"  {line}" for line in self.state())])

    def _catch_up(self) -> None:
        for name, entry in self.topology.collections.items():
            for transfer in entry.transfers:
                if transfer.target not in self.silent:
                    shard = entry.shards[transfer.shard]
                    command = SetReplicaState(
                        name, transfer.shard, transfer.target, ReplicaState.ACTIVE, shard.epoch, seen=shard.changed
                    )
                    self.topology, rejected = apply_command(self.topology, command)
                    assert rejected is None

    def state(self) -> list[str]:
        return [
            f"{name}/{number}: "
            + " ".join(
                f"{peer}{'*' if peer == shard.primary else ''}{state}" for peer, state in sorted(shard.replicas.items())
            )
            for name, number, shard in self.topology.shards()
        ]


def said(command: SingleCommand) -> str:
    """A command in few words."""
    match command:
        case StartTransfer(name, shard, source, target, method, sync):
            return f"start {'copy' if sync else 'move'} {name}/{shard} {source}->{target} {method}"
        case FinishTransfer(name, shard, source, target):
            return f"finish {name}/{shard} {source}->{target}"
        case AbortTransfer(name, shard, source, target):
            return f"abort {name}/{shard} {source}->{target}"
        case DropReplica(name, shard, peer):
            return f"drop {name}/{shard} {peer}"
        case ChangePrimary(name, shard, peer, _, hands_over):
            return f"{'hand over' if hands_over else 'depose'} {name}/{shard} to {peer}"
    raise AssertionError(command)

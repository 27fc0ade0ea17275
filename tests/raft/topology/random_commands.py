"""Random commands over a small world, most of them possible, some not; and what must hold after each of them."""

from random import Random

from qnode.models import topology_commands as commands
from qnode.models.topology import CollectionEntry, KeyState, MirrorStage, ReplicaState, Shard, Topology, TransferMethod
from qnode.models.topology_commands import Command, SingleCommand

NAMES = ("a", "b")
PEERS = range(1, 7)
KEYS: tuple[int | str, ...] = (5, "5", "k")
CUSTOM = {"params": {"sharding_method": "custom"}}

BY_FORCE = (commands.ForcePrimary, commands.RemovePeer)


def random_command(topology: Topology, random: Random) -> Command:
    if random.random() < 0.05:
        return commands.Batch(tuple(_single(topology, random) for _ in range(random.randrange(4))))
    return _single(topology, random)


def _single(topology: Topology, random: Random) -> SingleCommand:
    places = list(topology.shards())
    kind = random.random()
    if kind < 0.12 or not topology.peers:
        return _on_peers(random)
    if kind < 0.3 or not places:
        return _on_collections(topology, random)
    name, number, shard = random.choice(places)
    if kind < 0.6:
        return _on_replicas(name, number, shard, random)
    return _on_transfers(topology, name, number, shard, random)


def _on_peers(random: Random) -> SingleCommand:
    peer = random.choice(PEERS)
    return random.choice(
        [
            commands.AddPeer(peer, f"http://n{random.choice(PEERS)}", random.choice(["word", "word", "word", "other"])),
            commands.AddPeer(peer, f"http://n{peer}", "word"),
            commands.UpdatePeerUri(peer, "word", f"http://n{random.choice(PEERS)}"),
            commands.PromotePeer(peer),
            commands.PeerStarted(peer, random.choice("ab"), random.choice(["", "a", "b"])),
            commands.SetPeerDraining(peer, random.random() < 0.5),
            commands.RemovePeer(peer, force=random.random() < 0.1),
        ]
    )


def _on_collections(topology: Topology, random: Random) -> SingleCommand:
    name, key, alias = random.choice(NAMES), random.choice(KEYS), random.choice(["x", "y", *NAMES])
    aliases = (commands.SetAlias(alias, name), commands.RenameAlias("x", alias), commands.DropAlias("y"))
    states = list(KeyState)
    entry = topology.collections.get(name)
    if entry is not None and entry.keys and random.random() < 0.5:
        return _on_mirrorings(name, entry, random)
    if entry is not None and entry.keys and random.random() < 0.3:
        key = random.choice(list(entry.keys))
        known = entry.keys[key].state if random.random() < 0.8 else random.choice(states)
        return commands.SetShardKeyState(name, key, known, random.choice(states))
    return random.choice(
        [
            commands.CreateCollection(name, {}, _placement(topology, random)),
            commands.CreateCollection(name, CUSTOM, ()),
            commands.CreateShardKey(name, key, _placement(topology, random), state=random.choice(states)),
            commands.CreateShardKey(name, key, _placement(topology, random)),
            commands.SetShardKeyState(name, key, KeyState.PARTIAL, random.choice(states)),
            commands.DropShardKey(name, key),
            commands.DeleteCollection(name if random.random() < 0.3 else "c"),
            commands.UpdateCollection(
                name, entry.config if entry else {}, {"x": 1} if random.random() < 0.5 else CUSTOM
            ),
            commands.CreateFieldIndex(name, "f", "keyword"),
            commands.DropFieldIndex(name, "f"),
            commands.ChangeAliases(tuple(random.sample(aliases, random.randrange(4)))),
            commands.PutMetadata("m", random.choice([None, 1, {"z": []}])),
            commands.DeleteMetadata("m"),
            commands.SetQuotas(random.choice([{}, {"enabled": True, "max_disk_usage_percent": 90}])),
        ]
    )


def _on_mirrorings(name: str, entry: CollectionEntry, random: Random) -> SingleCommand:
    if not entry.mirrorings or random.random() < 0.2:
        source, target = (random.choice([*entry.keys, "k"]) for _ in range(2))
        return commands.StartMirroring(name, source, target, random.choice([None, {"must": []}]))
    known = random.choice(entry.mirrorings)
    started = known.started - (random.random() < 0.1)
    number = random.choice([*known.stages, 0])
    if random.random() < 0.25:
        to_number = random.choice([*entry.keys[known.target].shards, number])
        return commands.AbortMirroring(name, number, to_number, random.choice([None, started]))
    epoch = known.epochs.get(number, 0) + (random.random() < 0.1)
    return commands.AdvanceMirroring(name, started, number, epoch, random.choice(list(MirrorStage)))


def _placement(topology: Topology, random: Random) -> commands.Placement:
    peers = [*topology.peers, random.choice(PEERS)] if random.random() < 0.1 else list(topology.peers)
    return tuple(
        tuple(random.sample(peers, random.randint(1, min(3, len(peers))))) for _ in range(random.randint(1, 3))
    )


def _on_replicas(name: str, number: int, shard: Shard, random: Random) -> SingleCommand:
    peer, state = _peer(shard, random), random.choice(list(ReplicaState))
    epoch = shard.epoch - (random.random() < 0.1)
    expected = random.choice([None, *ReplicaState]) if random.random() < 0.2 else shard.replicas.get(peer)
    seen = random.choice([None, shard.changed, shard.changed - 1])
    if random.random() < 0.6:
        return commands.SetReplicaState(name, number, peer, state, epoch, expected, seen)
    return random.choice(
        [
            commands.ChangePrimary(name, number, peer, epoch),
            commands.ChangePrimary(name, number, peer, epoch, hands_over=True),
            commands.ForcePrimary(name, number, peer, epoch),
            commands.AddReplica(name, number, random.choice(PEERS), random.choice([None, epoch])),
            commands.DropReplica(name, number, peer, random.choice([None, epoch])),
        ]
    )


def _on_transfers(topology: Topology, name: str, number: int, shard: Shard, random: Random) -> SingleCommand:
    method = random.choice(list(TransferMethod))
    transfers = topology.collections[name].transfers
    if transfers and random.random() < 0.6:
        transfer = random.choice(transfers)
        place = (name, transfer.shard, transfer.source, transfer.target)
        of = topology.collections[name].shards[transfer.shard]
        started = transfer.started - (random.random() < 0.1)
        return random.choice(
            [
                commands.SetReplicaState(
                    name, transfer.shard, transfer.target, ReplicaState.ACTIVE, of.epoch, seen=of.changed
                ),
                commands.RestartTransfer(*place, method),
                commands.FinishTransfer(*place, started),
                commands.FinishTransfer(*place, started),
                commands.AbortTransfer(*place, random.choice([None, started])),
            ]
        )
    source, target = random.choice(shard.active() or PEERS), random.choice(PEERS)
    return commands.StartTransfer(name, number, source, target, method, random.random() < 0.5)


def _peer(shard: Shard, random: Random) -> int:
    return random.choice(list(shard.replicas) or list(PEERS)) if random.random() < 0.9 else random.choice(PEERS)


def check_state(topology: Topology) -> None:
    """What must hold in every topology."""
    for alias, name in topology.aliases.items():
        assert name in topology.collections
        assert alias not in topology.collections
    assert not topology.removed & set(topology.peers)
    assert len({peer.uri for peer in topology.peers.values()}) == len(topology.peers)
    for _, _, shard in topology.shards():
        assert set(shard.replicas) <= set(topology.peers)
        active = shard.active()
        assert (shard.primary in active) if active else (shard.primary is None)
        assert shard.epoch <= topology.index
    for entry in topology.collections.values():
        assert all(number < entry.next_shard for number in entry.shards)
        by_key = {number: key for key, own in entry.keys.items() for number in own.shards}
        assert by_key == {number: shard.key for number, shard in entry.shards.items() if shard.key is not None}
        targets = [each.target for each in entry.mirrorings]
        assert len(set(targets)) == len(targets), "two mirrorings fill one key"
        for each in entry.mirrorings:
            assert {each.source, each.target} <= entry.keys.keys()
            assert each.source not in targets, "what is being filled is copied on"
            assert set(each.stages) == set(each.epochs) == set(entry.keys[each.source].shards)
            assert set(each.stages.values()) != {MirrorStage.ENDED}
        ends = [(each.shard, peer) for each in entry.transfers for peer in (each.source, each.target)]
        assert len(set(ends)) == len(ends), "two transfers of a shard share a peer"
        for transfer in entry.transfers:
            replicas = entry.shards[transfer.shard].replicas
            assert replicas[transfer.source] is ReplicaState.ACTIVE
            assert replicas[transfer.target] is not ReplicaState.DEAD


def check_step(before: Topology, command: Command, after: Topology) -> None:
    """What must hold between a topology and the next."""
    assert after.index > before.index or command == commands.Batch(())
    assert before.removed <= after.removed
    forced = _holds_force(command)
    for name, old in before.collections.items():
        new = after.collections.get(name)
        if new is None or new.folder != old.folder:
            continue
        assert new.next_shard >= old.next_shard
        for number, shard in new.shards.items():
            if number not in old.shards:
                assert number >= old.next_shard, "a number was given again"
                continue
            was = old.shards[number]
            assert shard.epoch >= was.epoch
            assert shard.primary == was.primary or shard.epoch > was.epoch, "two primaries in one epoch"
            assert shard.replicas == was.replicas or shard.changed > was.changed
            assert forced or shard.active() or not was.active(), "the last Active replica was lost"


def _holds_force(command: Command) -> bool:
    if isinstance(command, commands.Batch):
        return any(map(_holds_force, command.commands))
    return isinstance(command, BY_FORCE)

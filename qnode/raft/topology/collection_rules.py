"""What commands on collections do: their settings, payload indexes, aliases and shard keys; cluster metadata and quotas."""

from __future__ import annotations

from dataclasses import replace

from qnode.models.shard_choice import shown
from qnode.models.topology import CollectionEntry, KeyState, ShardingMethod, ShardKeyEntry, Topology
from qnode.models.topology_commands import (
    ChangeAliases,
    CreateCollection,
    CreateFieldIndex,
    CreateShardKey,
    DeleteCollection,
    DeleteMetadata,
    DropAlias,
    DropFieldIndex,
    DropShardKey,
    PutMetadata,
    RenameAlias,
    SetAlias,
    SetQuotas,
    SetShardKeyState,
    UpdateCollection,
)
from qnode.raft.topology.parts import check_peer, collection_of, key_of, new_shards, with_collection, without
from qnode.raft.topology.rejection import Reason, Refused

_FIRST_SHARD_OF_CUSTOM = 1
_NEXT_KEY_STATES = {
    KeyState.PARTIAL: (KeyState.ACTIVE_READ, KeyState.ACTIVE),
    KeyState.ACTIVE_READ: (KeyState.ACTIVE,),
    KeyState.ACTIVE: (),
}


def create_collection(topology: Topology, command: CreateCollection) -> Topology:
    """Make a collection under a name that no collection and no alias has."""
    name = command.name
    if name in topology.collections:
        raise Refused(Reason.EXISTS, f"Collection `{name}` already exists!")
    if name in topology.aliases:
        raise Refused(
            Reason.REFUSED, f"Can't create collection with name {name}. Alias with the same name already exists"
        )
    entry = CollectionEntry(f"{topology.index:08d}", command.config)
    _check_readable(entry)
    if entry.sharding_method is ShardingMethod.CUSTOM:
        if command.placement:
            raise Refused(Reason.REFUSED, "a collection with custom sharding starts without shards")
        return with_collection(topology, name, replace(entry, next_shard=_FIRST_SHARD_OF_CUSTOM))
    count = len(command.placement)
    if not count:
        raise Refused(Reason.REFUSED, f"Collection `{name}` must have one shard at least")
    shards = new_shards(topology, range(count), None, command.placement)
    return with_collection(topology, name, replace(entry, shards=shards, next_shard=count))


def update_collection(topology: Topology, command: UpdateCollection) -> Topology:
    """Replace the settings that the proposer knew."""
    entry = collection_of(topology, command.name)
    if entry.config != command.expected:
        raise Refused(Reason.OUTDATED, f"Collection `{command.name}` was changed by another request at the same time")
    changed = replace(entry, config=command.config)
    _check_readable(changed)
    if changed.sharding_method is not entry.sharding_method:
        raise Refused(Reason.REFUSED, "the sharding method of a collection cannot be changed")
    return with_collection(topology, command.name, changed)


def _check_readable(entry: CollectionEntry) -> None:
    """Refuse settings of which the topology cannot read what concerns it."""
    try:
        factors = entry.replication_factor, entry.write_consistency_factor
        readable = min(factors) > 0 and entry.sharding_method in ShardingMethod
    except (ValueError, TypeError, AttributeError):
        readable = False
    if not readable:
        raise Refused(Reason.REFUSED, "the settings of the collection cannot be read")


def delete_collection(topology: Topology, command: DeleteCollection) -> Topology:
    """Remove a collection, its shards, and the aliases that stand for it."""
    collection_of(topology, command.name)
    aliases = {alias: name for alias, name in topology.aliases.items() if name != command.name}
    return replace(topology, collections=without(topology.collections, command.name), aliases=aliases)


def create_field_index(topology: Topology, command: CreateFieldIndex) -> Topology:
    """Set the schema of a payload index."""
    entry = collection_of(topology, command.name)
    changed = replace(entry, fields={**entry.fields, command.field: command.schema})
    return with_collection(topology, command.name, changed)


def drop_field_index(topology: Topology, command: DropFieldIndex) -> Topology:
    """Take a payload index away, if there is one."""
    entry = collection_of(topology, command.name)
    return with_collection(topology, command.name, replace(entry, fields=without(entry.fields, command.field)))


def change_aliases(topology: Topology, command: ChangeAliases) -> Topology:
    """Make all changes in order; the first that cannot be made refuses them all."""
    aliases = dict(topology.aliases)
    for change in command.changes:
        match change:
            case SetAlias(alias, collection):
                collection_of(topology, collection)
                _check_free(topology, alias)
                aliases[alias] = collection
            case RenameAlias(old, new):
                if old not in aliases:
                    raise Refused(Reason.MISSING, f"Alias {old} does not exists!")
                _check_free(topology, new)
                aliases[new] = aliases.pop(old)
            case DropAlias(alias):
                aliases.pop(alias, None)
    return replace(topology, aliases=aliases)


def _check_free(topology: Topology, alias: str) -> None:
    if alias in topology.collections:
        raise Refused(Reason.EXISTS, f"Collection `{alias}` already exists!")


def create_shard_key(topology: Topology, command: CreateShardKey) -> Topology:
    """Make the shards of a new key, with numbers that no shard of the collection ever had."""
    entry, key = collection_of(topology, command.name), command.key
    if entry.sharding_method is ShardingMethod.AUTO:
        raise Refused(Reason.REFUSED, "Shard Key cannot be created with Auto sharding method")
    if key in entry.keys:
        raise Refused(Reason.REFUSED, f"Sharding key {shown(key)} already exists for collection {command.name}")
    if not command.placement:
        raise Refused(Reason.REFUSED, f"Sharding key {shown(key)} placement cannot be empty. Name one peer at least")
    for peer in command.peers:
        check_peer(topology, peer)
    numbers = range(entry.next_shard, entry.next_shard + len(command.placement))
    made = new_shards(topology, numbers, key, command.placement)
    own = ShardKeyEntry(tuple(numbers), command.replication_factor, command.peers, command.state)
    changed = replace(entry, shards={**entry.shards, **made}, keys={**entry.keys, key: own}, next_shard=numbers.stop)
    return with_collection(topology, command.name, changed)


def set_shard_key_state(topology: Topology, command: SetShardKeyState) -> Topology:
    """Move a key on towards Active; it never goes back."""
    entry = collection_of(topology, command.name)
    own = key_of(entry, command.name, command.key)
    if own.state is not command.expected:
        raise Refused(Reason.OUTDATED, f"Sharding key {shown(command.key)} is {own.state}, not {command.expected}")
    if command.state not in _NEXT_KEY_STATES[own.state]:
        raise Refused(
            Reason.REFUSED, f"Sharding key {shown(command.key)} is {own.state}, it cannot become {command.state}"
        )
    keys = {**entry.keys, command.key: replace(own, state=command.state)}
    return with_collection(topology, command.name, replace(entry, keys=keys))


def drop_shard_key(topology: Topology, command: DropShardKey) -> Topology:
    """Remove a key with its shards and their transfers."""
    entry = collection_of(topology, command.name)
    gone = set(key_of(entry, command.name, command.key).shards)
    changed = replace(
        entry,
        shards={number: shard for number, shard in entry.shards.items() if number not in gone},
        keys={key: own for key, own in entry.keys.items() if key != command.key},
        transfers=tuple(transfer for transfer in entry.transfers if transfer.shard not in gone),
        mirrorings=tuple(each for each in entry.mirrorings if command.key not in (each.source, each.target)),
    )
    return with_collection(topology, command.name, changed)


def put_metadata(topology: Topology, command: PutMetadata) -> Topology:
    """Keep a value under a key; null takes it away."""
    if command.value is None:
        return delete_metadata(topology, DeleteMetadata(command.key))
    return replace(topology, metadata={**topology.metadata, command.key: command.value})


def delete_metadata(topology: Topology, command: DeleteMetadata) -> Topology:
    """Take a key away, if it is there."""
    return replace(topology, metadata=without(topology.metadata, command.key))


def set_quotas(topology: Topology, command: SetQuotas) -> Topology:
    """Replace the quotas."""
    return replace(topology, quotas=dict(command.quotas))

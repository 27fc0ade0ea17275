"""Commands as bytes: JSON, with a version, and for each command a tag that is never given to another one.

What is read is checked against the types that the command's fields are declared with, so that nothing of another shape
reaches the rules. A command that this version does not know is no rejection: nodes that know it apply it, so a node that
does not must stop before it parts from them. That is `UnknownCommand`.

Left out: commands of `MAX_COMMAND_BYTES` or more. They are refused before they are proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from qnode.errors import BadRequest
from qnode.models import topology_commands as commands
from qnode.models.topology_commands import Command

FORMAT_VERSION = 1
MAX_COMMAND_BYTES = 60 << 10
"""Below the 64 KiB that one entry of the log may have with what is put around it."""

_TAGS: dict[str, type[Any]] = {
    "add_peer": commands.AddPeer,
    "update_peer_uri": commands.UpdatePeerUri,
    "peer_started": commands.PeerStarted,
    "promote_peer": commands.PromotePeer,
    "set_peer_draining": commands.SetPeerDraining,
    "remove_peer": commands.RemovePeer,
    "create_collection": commands.CreateCollection,
    "update_collection": commands.UpdateCollection,
    "delete_collection": commands.DeleteCollection,
    "create_field_index": commands.CreateFieldIndex,
    "drop_field_index": commands.DropFieldIndex,
    "change_aliases": commands.ChangeAliases,
    "set_alias": commands.SetAlias,
    "rename_alias": commands.RenameAlias,
    "drop_alias": commands.DropAlias,
    "create_shard_key": commands.CreateShardKey,
    "set_shard_key_state": commands.SetShardKeyState,
    "drop_shard_key": commands.DropShardKey,
    "set_replica_state": commands.SetReplicaState,
    "change_primary": commands.ChangePrimary,
    "force_primary": commands.ForcePrimary,
    "add_replica": commands.AddReplica,
    "drop_replica": commands.DropReplica,
    "start_transfer": commands.StartTransfer,
    "restart_transfer": commands.RestartTransfer,
    "finish_transfer": commands.FinishTransfer,
    "abort_transfer": commands.AbortTransfer,
    "start_mirroring": commands.StartMirroring,
    "advance_mirroring": commands.AdvanceMirroring,
    "abort_mirroring": commands.AbortMirroring,
    "put_metadata": commands.PutMetadata,
    "delete_metadata": commands.DeleteMetadata,
    "set_quotas": commands.SetQuotas,
    "batch": commands.Batch,
}
_HINTS = {made: get_type_hints(made) for made in _TAGS.values()}
_TAG_OF = {made: tag for tag, made in _TAGS.items()}
_TAG = "c"


class UnknownCommand(Exception):
    """These bytes are no command that this version knows."""


def command_to_bytes(command: Command) -> bytes:
    """Write what `command_from_bytes` reads; raise BadRequest for a command that is too large."""
    value = orjson.dumps([FORMAT_VERSION, _tagged(command)])
    if len(value) >= MAX_COMMAND_BYTES:
        raise BadRequest(f"the change takes {len(value)} bytes, and at most {MAX_COMMAND_BYTES - 1} are possible")
    return value


def command_from_bytes(value: bytes) -> Command:
    """Read a command; raise UnknownCommand."""
    try:
        version, content = orjson.loads(value)
        if version != FORMAT_VERSION:
            raise UnknownCommand(f"a command of version {version!r}")
        command: Command = _read_tagged(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnknownCommand(f"not a command: {error!r}") from error
    if isinstance(command, (commands.SetAlias, commands.RenameAlias, commands.DropAlias)):
        raise UnknownCommand("a part of a command")
    return command


def _tagged(value: Any) -> dict[str, Any]:
    content = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {_TAG: _TAG_OF[type(value)], **content}


def _plain(value: Any) -> Any:
    if type(value) in _TAG_OF:
        return _tagged(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _read_tagged(content: Any) -> Any:
    given = dict(content)
    made = _TAGS[given.pop(_TAG)]
    hints = _HINTS[made]
    return made(**{name: _read(hints[name], value) for name, value in given.items()})


def _read(hint: Any, value: Any) -> Any:
    """Read a JSON value as what a field is declared to be; raise TypeError or ValueError."""
    if hint is Any:
        return value
    if get_origin(hint) in (Union, UnionType):
        return _read_one_of(get_args(hint), value)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return tuple(_read(get_args(hint)[0], item) for item in value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    kind = dict if get_origin(hint) is Mapping else hint
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _read_one_of(hints: tuple[Any, ...], value: Any) -> Any:
    if value is None and NoneType in hints:
        return None
    if hints[0] in _TAG_OF:
        made = _read_tagged(value)
        if type(made) not in hints:
            raise TypeError(f"{type(made).__name__} does not belong here")
        return made
    matching = [hint for hint in hints if hint is type(value)]
    return _read(matching[0] if matching else hints[0], value)

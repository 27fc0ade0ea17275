"""Endpoints of aliases: other names of collections, good wherever a path names one.

Left out of what aliases stand for: to delete a collection takes its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.definitions import access_of, call_of, in_time, json_response
from qnode.api.http import definition_parameters, json_of
from qnode.errors import MalformedBody
from qnode.models import reading
from qnode.models.collection_sections import collection_name_faults
from qnode.models.topology_commands import AliasChange, DropAlias, RenameAlias, SetAlias

if TYPE_CHECKING:
    from qnode.shards.collections import Collections


def routes(collections: Collections) -> APIRouter:
    """Build the routes of aliases."""
    router = APIRouter()

    @router.post("/collections/aliases", summary="Change what aliases stand for")
    async def change(request: Request) -> Response:
        call = await call_of(request)
        parameters = definition_parameters(call.query_string)
        changes = parse_changes(json_of(call))
        await in_time(parameters, collections.change_aliases(changes))
        return json_response(answers.ok(True, call.started))

    @router.get("/aliases", summary="List aliases")
    async def aliases(request: Request) -> Response:
        access = access_of(request)
        seen = ((alias, name) for alias, name in collections.aliases.items() if access is None or access.may_see(name))
        return json_response(answers.ok(_shown(seen), request.state.started))

    @router.get("/collections/{collection_name}/aliases", summary="List aliases of a collection")
    async def aliases_of(collection_name: str, request: Request) -> Response:
        own = ((alias, name) for alias, name in collections.aliases.items() if name == collection_name)
        return json_response(answers.ok(_shown(own), request.state.started))

    return router


def parse_changes(body: object) -> list[AliasChange]:
    """Read the actions of a change, in order."""
    given = reading.mapping(body, "struct ChangeAliasesOperation")
    changes: list[AliasChange] = []
    faults: list[reading.Fault] = []
    for at, action in enumerate(reading.sequence(reading.required(given, "actions"))):
        change, named = _change(reading.mapping(action))
        changes.append(change)
        if not isinstance(change, DropAlias):
            new = change.new if isinstance(change, RenameAlias) else change.alias
            faults += [(f"actions[{at}].{named}", fault) for _, fault in collection_name_faults(new)]
    reading.raise_faults(faults)
    return changes


def _change(action: dict[str, Any]) -> tuple[AliasChange, str]:
    """Read one action, and where it says the name of an alias."""
    for name in ("create_alias", "delete_alias", "rename_alias"):
        if action.get(name) is None:
            continue
        given = reading.mapping(action[name])
        if name == "create_alias":
            return SetAlias(_text(given, "alias_name"), _text(given, "collection_name")), "create_alias.alias_name"
        if name == "delete_alias":
            return DropAlias(_text(given, "alias_name")), "delete_alias.alias_name"
        renamed = RenameAlias(_text(given, "old_alias_name"), _text(given, "new_alias_name"))
        return renamed, "rename_alias.new_alias_name"
    raise MalformedBody("data did not match any variant of untagged enum AliasOperations")


def _text(given: dict[str, Any], name: str) -> str:
    return reading.text(reading.required(given, name))


def _shown(aliases: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in sorted(aliases)]}

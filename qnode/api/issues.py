"""Issues: what the node has noticed that its users should mend. For now: payload fields without an index that made reads slow.

Kept in the heap of the node that noticed it, the latest MOST_ISSUES of them, until they are mended, cleared, or the node ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.http import Call
from qnode.api.strict_reads import filters_of
from qnode.models.index_needs import Need, needs_of

if TYPE_CHECKING:
    from qnode.shards.collection import Collection

SLOW_SECONDS = 1.2
"""A read that takes longer is looked at for what slowed it down."""

MOST_ISSUES = 256


@dataclass(frozen=True, slots=True)
class _Unindexed:
    """A field that needs an index; `noticed` in seconds since 1970."""

    collection: ReferenceType[Collection]
    need: Need
    noticed: float

    @property
    def is_open(self) -> bool:
        collection = self.collection()
        if collection is None or collection.is_removed:
            return False
        return not self.need.is_met(collection.fields.get(self.need.key))

    def shown(self, code: str, name: str) -> dict[str, Any]:
        choice = [_remedy(name, self.need, kind) for kind in self.need.types]
        solution = {"immediate": choice[0]} if len(choice) == 1 else {"immediate_choice": choice}
        return {
            "id": code,
            "description": f'Reads of collection "{name}" are slow: they filter by "{self.need.key}", which has no index',
            "solution": solution,
            "timestamp": answers.shown_time(self.noticed),
            "related_collection": name,
        }


class Issues:
    """What was noticed. The event loop's alone."""

    def __init__(self) -> None:
        self._noticed: dict[tuple[str, str], _Unindexed] = {}

    def look(self, call: Call) -> None:
        """Look at a read that was answered: was it slow for want of an index?"""
        collection = call.collection
        if call.asked is None or collection is None or perf_counter() - call.started < SLOW_SECONDS:
            return
        for chosen in filters_of(call.asked):
            for need in needs_of(chosen):
                if not need.is_met(collection.fields.get(need.key)):
                    self._notice(collection, need)

    def _notice(self, collection: Collection, need: Need) -> None:
        place = collection.name, need.key
        self._noticed.pop(place, None)
        self._noticed[place] = _Unindexed(ref(collection), need, time())
        if len(self._noticed) > MOST_ISSUES:
            del self._noticed[next(iter(self._noticed))]

    def shown(self) -> list[dict[str, Any]]:
        """Show what is not mended yet."""
        self._noticed = {place: issue for place, issue in self._noticed.items() if issue.is_open}
        return [issue.shown(f"UNINDEXED_FIELD/{name}/{key}", name) for (name, key), issue in self._noticed.items()]

    def clear(self) -> None:
        """Forget everything."""
        self._noticed.clear()


def routes(issues: Issues) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/issues", summary="What slows the node down and can be mended")
    async def show(request: Request) -> Response:
        shown = {"issues": issues.shown()}
        return Response(answers.ok(shown, request.state.started), media_type="application/json")

    @router.delete("/issues", summary="Forget the issues that were found")
    async def clear(request: Request) -> Response:
        issues.clear()
        return Response(answers.ok(True, request.state.started), media_type="application/json")

    return router


def _remedy(name: str, need: Need, kind: str) -> dict[str, Any]:
    schema: str | dict[str, Any] = kind if need.switch is None else {"type": kind, need.switch: True}
    return {
        "message": f"Create an index of type {kind} on field `{need.key}` of collection `{name}`",
        "action": {
            "method": "PUT",
            "uri": f"/collections/{name}/index",
            "headers": {"content-type": "application/json"},
            "body": {"field_name": need.key, "field_schema": schema},
        },
    }

"""How far the building, merging and rewriting of segments has come, of the shards on this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.definitions import json_response
from qnode.api.http import integer_parameter, query_pairs
from qnode.api.segments_json import show_status
from qnode.errors import BadRequest
from qnode.shards.builds import BuildNote, SegmentNote

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.collections import Collections

_EXTRA = ("queued", "completed", "idle_segments")
_DEFAULT_COMPLETED = 16


def routes(collections: Collections) -> APIRouter:
    """Build the route."""
    router = APIRouter()

    @router.get("/collections/{collection_name}/optimizations", summary="How far optimizations have come")
    async def optimizations(collection_name: str, request: Request) -> Response:
        pairs = query_pairs(request.scope["query_string"])
        wanted = _wanted(pairs.get("with", ""))
        limit = integer_parameter(pairs, "completed_limit")
        shown = show(collections.get(collection_name), wanted, _DEFAULT_COMPLETED if limit is None else limit)
        return json_response(answers.ok(shown, request.state.started))

    return router


def show(collection: Collection, wanted: set[str], most_completed: int) -> dict[str, Any]:
    """Build the answer; `wanted`: which lists beside those that are always shown."""
    shards = list(collection.shards.values())
    outlooks = [shard.builds.outlook(shard.index) for shard in shards]
    queued = [entry for outlook in outlooks for entry in outlook.queued]
    idle = [segment for outlook in outlooks for segment in outlook.idle]
    shown: dict[str, Any] = {
        "summary": {
            "queued_optimizations": len(queued),
            "queued_segments": sum(len(segments) for _, segments in queued),
            "queued_points": sum(segment.points for _, segments in queued for segment in segments),
            "idle_segments": len(idle),
        },
        "running": [_build(shard.builds.running) for shard in shards if shard.builds.running is not None],
    }
    if "queued" in wanted:
        shown["queued"] = [{"optimizer": purpose, "segments": _segments(segments)} for purpose, segments in queued]
    if "completed" in wanted:
        finished = [note for shard in shards for note in shard.builds.finished]
        finished.sort(key=lambda note: note.finished_at or note.started_at, reverse=True)
        shown["completed"] = [_build(note) for note in finished[:most_completed]]
    if "idle_segments" in wanted:
        shown["idle_segments"] = _segments(tuple(idle))
    return shown


def _wanted(value: str) -> set[str]:
    names = {name.strip() for name in value.split(",")} - {""}
    for name in sorted(names.difference(_EXTRA)):
        raise BadRequest(f"Unknown field in 'with' parameter: {name}")
    return names


def _build(note: BuildNote) -> dict[str, Any]:
    progress: dict[str, Any] = {"name": "Segment Optimizing", "started_at": note.started_at.isoformat()}
    if note.finished_at is not None:
        progress["finished_at"] = note.finished_at.isoformat()
        progress["duration_sec"] = (note.finished_at - note.started_at).total_seconds()
    return {
        "uuid": note.uuid,
        "optimizer": note.purpose,
        "status": show_status(note),
        "segments": _segments(note.segments),
        "progress": progress,
    }


def _segments(segments: tuple[SegmentNote, ...]) -> list[dict[str, Any]]:
    return [{"uuid": segment.uuid, "points_count": segment.points} for segment in segments]

"""Waiting for the payload indexes of a collection, on whatever nodes they are built."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from qnode.errors import TimedOut
from qnode.models.shard_calls import FieldsRequest
from qnode.shards.remote import Remote
from qnode.shards.routes import Routes


async def wait_for_fields(
    routes: Routes, remote: Remote, here: Coroutine[Any, Any, None], timeout_seconds: float | None
) -> None:
    """Return when all Active replicas in reach have built theirs; `here` waits for those of this node. Raise TimedOut."""
    elsewhere: dict[int, list[int]] = {}
    for number in routes.numbers:
        for peer in routes.active(number):
            if peer != routes.me and remote.is_connected(peer):
                elsewhere.setdefault(peer, []).append(number)
    folder = routes.entry.folder
    asked = [remote.read(peer, folder, tuple(shards), FieldsRequest()) for peer, shards in elsewhere.items()]
    try:
        async with asyncio.timeout(timeout_seconds):
            outcomes = await asyncio.gather(here, *asked, return_exceptions=True)
    except TimeoutError:
        raise TimedOut("the payload index is still being built") from None
    if isinstance(outcomes[0], BaseException):
        raise outcomes[0]

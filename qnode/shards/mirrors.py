"""The mirrorings of which this node is to do a part: begun, and ended, as the topology says.

A node does the part of a source shard while it is its primary in the epoch of the mirroring. What fails is given up through the
topology, where everybody sees that it is gone; the reason is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from qnode.errors import QnodeError
from qnode.models.shard_choice import shown
from qnode.models.topology import Mirroring, MirrorStage
from qnode.models.topology_commands import AbortMirroring
from qnode.shards.collection import Collection
from qnode.shards.mirror import Mirror
from qnode.shards.place import Place
from qnode.shards.proposer import Proposer

_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

_Part = tuple[str, int, int]
"""A collection's folder, when the mirroring began, the source shard."""


class Mirrors:
    """What this node does of them; `look` after every change of the topology, `close` before the shards are closed."""

    def __init__(self, opened: Callable[[], Iterable[Collection]], place: Place, topology_log: Proposer) -> None:
        self._opened = opened
        self._place = place
        self._topology_log = topology_log
        self._running: dict[_Part, asyncio.Task[None]] = {}
        self._ended: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Begin what this node shall do, and end what it shall not do any more."""
        wanted = {part: (collection, mirroring) for part, collection, mirroring in self._wanted()}
        for part in [part for part in self._running if part not in wanted]:
            task = self._running.pop(part)
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)
            task.cancel()
        for part, (collection, mirroring) in wanted.items():
            if part not in self._running:
                self._running[part] = asyncio.create_task(self._run(collection, part[2], mirroring))

    def _wanted(self) -> Iterator[tuple[_Part, Collection, Mirroring]]:
        for collection in self._opened():
            if not collection.entry.mirrorings or not collection.is_current:
                continue
            for mirroring in collection.entry.mirrorings:
                for number, epoch in mirroring.epochs.items():
                    shard = collection.shards.get(number)
                    view = None if shard is None else shard.view
                    if view is None or (view.primary, view.epoch) != (self._place.me, epoch):
                        continue
                    if mirroring.stages[number] is not MirrorStage.ENDED:
                        yield (collection.folder, mirroring.started, number), collection, mirroring

    async def _run(self, collection: Collection, number: int, mirroring: Mirroring) -> None:
        try:
            await Mirror(collection, number, mirroring, self._place, self._topology_log).run()
        except Exception as error:
            path = f"{shown(mirroring.source)} to {shown(mirroring.target)} in collection {collection.name}"
            expected = isinstance(error, QnodeError)
            _log.error("points of shard %d were not copied from %s: %s", number, path, error, exc_info=not expected)
            await self._give_up(collection, number, mirroring)

    async def _give_up(self, collection: Collection, number: int, mirroring: Mirroring) -> None:
        """Have the topology forget the mirroring, which cancels this."""
        target = collection.entry.keys[mirroring.target].shards[0]
        while True:
            try:
                await self._topology_log.propose(AbortMirroring(collection.name, number, target, mirroring.started))
            except QnodeError as error:
                _log.warning("the copying of points could not be given up yet: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Do nothing more; what was under way is given up by others, in the next epoch."""
        tasks = [*self._running.values(), *self._ended]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

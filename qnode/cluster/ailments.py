"""Primaries that are not well say so themselves, to whoever leads: their shards get others at once.

A peer looks at its own shards, which costs nothing, and repeats what it finds until the topology has answered it. The leader
asks them too (`supervision`), less often: for what a peer does not know of itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from qnode.channel import Channel
from qnode.cluster.shards import Address, Shards
from qnode.shards.topics import Topic

LOOK_SECONDS: Final = 0.25

Report = Callable[[int, Sequence[tuple[Address, int]]], None]
"""Takes the word of a peer: the shards whose primary it is in these epochs, and should not be."""

_log = logging.getLogger(__name__)


class Ailments:
    """Looks from `run` on until it is cancelled, and hears from others. `report` is this peer's own part as a leader."""

    def __init__(
        self,
        channel: Channel,
        shards: Shards,
        leader: Callable[[], int | None],
        report: Report,
        patience_seconds: float,
    ) -> None:
        self._channel = channel
        self._shards = shards
        self._leader = leader
        self._report = report
        self._patience_seconds = patience_seconds
        channel.on_message(Topic.AILING, self._heard)

    async def run(self) -> None:
        """Look, and tell, again and again."""
        known: set[tuple[Address, int]] = set()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = self._shards.ailing(self._patience_seconds)
            for (folder, number), epoch in found.keys() - known:
                ailment = found[(folder, number), epoch]
                _log.error("Shard %d in %s should have another primary: %s", number, folder, ailment)
            known = set(found)
            if found and (leader := self._leader()) is not None:
                self._tell(leader, list(found))

    def _tell(self, leader: int, found: Sequence[tuple[Address, int]]) -> None:
        if leader == self._channel.me:
            self._report(leader, found)
        else:
            told = [[folder, number, epoch] for (folder, number), epoch in found]
            self._channel.send(leader, Topic.AILING, orjson.dumps(told))

    def _heard(self, peer: int, data: bytes) -> None:
        try:
            found = [((str(folder), int(number)), int(epoch)) for folder, number, epoch in orjson.loads(data)]
        except (ValueError, TypeError) as error:
            _log.warning("Peer %d tells of shards that are not well in words that nobody reads: %s", peer, error)
        else:
            self._report(peer, found)

"""Where a node looks at its collections from. A value."""

from __future__ import annotations

from dataclasses import dataclass

from qnode.shards.freshness import Freshness
from qnode.shards.news import News
from qnode.shards.remote import Remote


@dataclass(frozen=True, slots=True)
class Place:
    """The peer itself, the others, word of changes of the topology, and whether what is here may be read."""

    me: int
    remote: Remote
    news: News
    freshness: Freshness

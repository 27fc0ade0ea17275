"""A read of a kind, as `scatter` carries it out: what is asked of peers, what is read here, how replicas' answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from qnode.models.point_id import PointKey
from qnode.models.query import Point, RetrieveRequest
from qnode.models.shard_calls import ReadRequest
from qnode.models.wire import BadWire
from qnode.shards.kinds import Kind, Settings
from qnode.shards.local_reads import Part

Request = TypeVar("Request", bound=ReadRequest)
Answer = TypeVar("Answer")
Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class KindReading(Generic[Request, Answer]):
    """One request to the shards of one collection. `local` gives shards of this node."""

    kind: Kind[Request, Answer]
    request: Request
    settings: Settings
    local: Callable[[Numbers], Sequence[Part]]

    def asked(self, numbers: Numbers) -> Request:
        return self.request

    def here(self, numbers: Numbers) -> Answer:
        return self.kind.read(self.local(numbers), self.asked(numbers), self.settings)

    def arrived(self, answer: object) -> Answer:
        if not isinstance(answer, self.kind.wired):
            raise BadWire(f"a peer has answered a read with a {type(answer).__name__}")
        return self.kind.arrived(answer)

    def agreed(self, answers: Sequence[Answer], needed: int) -> Answer:
        return self.merged(self.kind.agree(answers, needed))

    def merged(self, answers: Sequence[Answer]) -> Answer:
        return self.kind.merge(answers, self.request, self.settings)


@dataclass(frozen=True, slots=True, eq=False)
class RetrieveReading(KindReading[RetrieveRequest, Sequence[Point]]):
    """A read of points by id: of each node only those are asked for that its shards may have."""

    keys: Mapping[int, Sequence[PointKey]]

    def here(self, numbers: Numbers) -> Sequence[Point]:
        return self.read(self.local(numbers))

    def read(self, parts: Sequence[Part]) -> Sequence[Point]:
        """Read what shards of this node have."""
        own = [
            self.kind.read((part,), replace(self.request, keys=tuple(self.keys[part.number])), self.settings)
            for part in parts
        ]
        return self.merged(own)

    def asked(self, numbers: Numbers) -> RetrieveRequest:
        wanted = dict.fromkeys(key for number in numbers for key in self.keys[number])
        return replace(self.request, keys=tuple(wanted), shards=None)

"""The reads of a collection, each as `scatter` carries it out: what is asked of peers, what is read here, how answers are merged.

`agreed` compares what several replicas of one shard gave: points are kept that are equal in enough of them; of counts the smallest is taken when all must agree, else the one in the middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Generic, TypeVar

from qnode.models.point_id import PointKey
from qnode.models.query import AnyVector, Hits, Point, RetrieveRequest, SparseVector
from qnode.models.shard_calls import ReadRequest, Table, points_of
from qnode.models.wire import BadWire

Result = TypeVar("Result")
Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PointsReading:
    """A read that gives points. `read` reads shards on this node, `merge` puts together what several have given."""

    request: ReadRequest
    read: Callable[[Numbers], Sequence[Point]]
    merge: Callable[[Sequence[Sequence[Point]]], Sequence[Point]]

    def asked(self, numbers: Numbers) -> ReadRequest:
        return self.request

    def here(self, numbers: Numbers) -> Sequence[Point]:
        return self.read(numbers)

    def arrived(self, answer: object) -> Sequence[Point]:
        return points_of(_checked(answer, Table | Hits))

    def agreed(self, answers: Sequence[Sequence[Point]], needed: int) -> Sequence[Point]:
        seen = Counter(mark for points in answers for mark in {_mark(point) for point in points})
        kept: dict[Any, Point] = {}
        for points in answers:
            for point in points:
                mark = _mark(point)
                if seen[mark] >= needed:
                    kept.setdefault(mark, point)
        return self.merge([[point] for point in kept.values()] or [[]])


@dataclass(frozen=True, slots=True, eq=False)
class RetrieveReading(PointsReading):
    """A read of points by id: each peer is asked for those that its shards may have."""

    keys: Mapping[int, Sequence[PointKey]]

    def asked(self, numbers: Numbers) -> ReadRequest:
        assert isinstance(self.request, RetrieveRequest)
        wanted = dict.fromkeys(key for number in numbers for key in self.keys[number])
        return replace(self.request, keys=tuple(wanted), shards=None)


@dataclass(frozen=True, slots=True, eq=False)
class ValueReading(Generic[Result]):
    """A read that gives one value of a kind."""

    request: ReadRequest
    read: Callable[[Numbers], Result]
    kind: type[Result] | UnionType

    def asked(self, numbers: Numbers) -> ReadRequest:
        return self.request

    def here(self, numbers: Numbers) -> Result:
        return self.read(numbers)

    def arrived(self, answer: object) -> Result:
        checked: Result = _checked(answer, self.kind)
        return checked

    def agreed(self, answers: Sequence[Result], needed: int) -> Result:
        return answers[0]


class CountReading(ValueReading[int]):
    """A read that counts points."""

    def agreed(self, answers: Sequence[int], needed: int) -> int:
        ordered = sorted(answers)
        return ordered[0] if needed == len(answers) else ordered[len(answers) // 2]


def _mark(point: Point) -> tuple[object, ...]:
    """Make what is equal exactly for equal points."""
    vectors = None
    if point.vectors is not None:
        vectors = tuple(sorted((name, *_mark_of_vector(vector)) for name, vector in point.vectors.items()))
    score = None if point.score is None else float(point.score)
    return point.key, point.version, score, point.payload, vectors, point.shard_key


def _mark_of_vector(vector: AnyVector) -> tuple[bytes, ...]:
    if isinstance(vector, SparseVector):
        return vector.indices.tobytes(), vector.values.tobytes()
    return (vector.tobytes(),)


def _checked(answer: object, kind: Any) -> Any:
    if not isinstance(answer, kind):
        raise BadWire(f"a peer has answered a read with a {type(answer).__name__}")
    return answer

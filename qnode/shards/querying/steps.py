"""Evaluation that asks instead of reading: a generator that yields what it wants to know, and is sent the answers.

So the same evaluation runs on the event loop, in one thread, or over peers, as `running` sees fit, and it holds nothing that could be
waited for. What is yielded together may be answered in any order, beside each other.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from qnode.models.query import Point, QueryRequest, RetrieveRequest
from qnode.models.reads import OrderedRequest, SampleRequest
from qnode.models.universal import Lookup

Result = TypeVar("Result")
Request = QueryRequest | RetrieveRequest | OrderedRequest | SampleRequest


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """A read of the collection, or of the one at `place`."""

    request: Request
    place: Lookup | None = None


Steps = Generator[list[Ask], list[Sequence[Point]], Result]


def asked(ask: Ask) -> Steps[Sequence[Point]]:
    """Ask for one thing."""
    answers = yield [ask]
    return answers[0]


def beside(several: Sequence[Steps[Result]]) -> Steps[list[Result]]:
    """Run evaluations side by side: what they ask at the same time is asked together."""
    results: dict[int, Result] = {}
    sent: dict[int, list[Sequence[Point]] | None] = dict.fromkeys(range(len(several)))
    while True:
        asks: dict[int, list[Ask]] = {}
        for at, answers in sent.items():
            try:
                asks[at] = next(several[at]) if answers is None else several[at].send(answers)
            except StopIteration as end:
                results[at] = end.value
        if not asks:
            return [results[at] for at in range(len(several))]
        arrived = yield [ask for own in asks.values() for ask in own]
        sent, begin = {}, 0
        for at, own in asks.items():
            sent[at] = arrived[begin : begin + len(own)]
            begin += len(own)

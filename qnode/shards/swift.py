"""A search over several nodes without a task: what a small search needs when nothing goes wrong.

The searches of peers are sent, shards here are searched while the peers work, and the last answer that is read is what ends it. Whatever
goes wrong, as a peer that does not serve a shard any more, ends it without a result: then `scatter`, which knows what to do, begins anew.

Whom to ask is what `scatter` would choose first; it is worked out once for each state of the topology and of the links.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from qnode.models.query import Point, QueryRequest
from qnode.shards.remote import Remote
from qnode.shards.routes import Routes
from qnode.shards.scatter import Numbers, Scatter

Merge = Callable[[Sequence[Sequence[Point]]], Sequence[Point]]
Found = Callable[[Sequence[Point] | None], None]
Withdraw = Callable[[], None]

_TURNS: Final = 12
"""So many choices are worked out, and taken in turn: peers that serve equally well share the searches."""

_log = logging.getLogger(__name__)


class Swift:
    """The swift searches of one collection, by one state of the topology."""

    def __init__(self, routes: Routes, scatter: Scatter, remote: Remote) -> None:
        self._routes = routes
        self._scatter = scatter
        self._remote = remote
        self._plans = cycle([_Plan((), ())])
        self._as_of = -1

    def search(
        self,
        request: QueryRequest,
        seconds: float | None,
        here: Callable[[Numbers], Sequence[Point]],
        merge: Merge,
        found: Found,
    ) -> Withdraw | None:
        """Begin a search; `found` gets its points in a later turn of the event loop, or None if it must be done otherwise.

        `here` searches shards of this node. Gives what withdraws the search; None if it cannot be begun, as while this node
        has no lease: then `scatter` chooses whom to ask for each read anew.
        """
        if not self._scatter.is_fresh:
            return None
        if self._as_of != self._remote.changes:
            numbers = self._routes.read_from(None)
            self._plans = cycle([_Plan.of(self._scatter.first_choice(numbers), self._routes.me) for _ in range(_TURNS)])
            self._as_of = self._remote.changes
        plan = next(self._plans)
        if not plan.elsewhere:
            return None
        search = _Search(len(plan.elsewhere) + bool(plan.here), merge, found)
        try:
            for peer, numbers in plan.elsewhere:
                search.ask(self._remote, peer, self._routes.entry.folder, numbers, request, seconds)
            if plan.here:
                search.arrived(here(plan.here))
        except Exception:
            search.withdraw()
            raise
        return search.withdraw


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who searches which shards. `here`: those of this node."""

    here: Numbers
    elsewhere: tuple[tuple[int, Numbers], ...]

    @classmethod
    def of(cls, groups: Sequence[tuple[int, Numbers]], me: int) -> _Plan:
        here = [numbers for peer, numbers in groups if peer == me]
        return cls(here[0] if here else (), tuple(group for group in groups if group[0] != me))


class _Search:
    """One search that is under way. `missing`: how many answers have not been read yet."""

    __slots__ = ("_answers", "_found", "_merge", "_missing", "_withdrawals")

    def __init__(self, missing: int, merge: Merge, found: Found) -> None:
        self._withdrawals: list[Withdraw] = []
        self._answers: list[Sequence[Point]] = []
        self._missing = missing
        self._merge = merge
        self._found = found

    def ask(
        self,
        remote: Remote,
        peer: int,
        folder: str,
        numbers: Numbers,
        request: QueryRequest,
        seconds: float | None,
    ) -> None:
        """Begin the part of a peer."""
        self._withdrawals.append(remote.search(peer, folder, numbers, request, seconds, self.arrived))

    def arrived(self, points: Sequence[Point] | None) -> None:
        """Take what one of those asked has found; None ends the search."""
        if points is None:
            self.withdraw()
            self._found(None)
            return
        self._answers.append(points)
        if len(self._answers) < self._missing:
            return
        try:
            merged = self._merge(self._answers)
        except Exception:
            _log.exception("What peers have found could not be put together")
            merged = None
        self._found(merged)

    def withdraw(self) -> None:
        """Let nobody go on with it."""
        for withdraw in self._withdrawals:
            withdraw()

"""Reading shards wherever they are: one replica of each, or several that must agree.

A replica here is read first, while it is sure to be new (`freshness`). The other shards are asked of as few peers as have them all, one call each; with several that serve
equally well, they take turns. A peer that fails, or does not serve a shard any more, is passed over for the next that has it; where
the links to all that are left broke a moment ago, one is waited for. A read fails when no replica is left, or for a reason that all
of them would give. May be cancelled at any time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from itertools import count
from typing import Any, Final, Protocol, TypeVar

from qnode import deadline
from qnode.channel import LinkBroken, Unreached
from qnode.errors import InternalError, QnodeError, TimedOut, Unavailable
from qnode.models.query import Agreement, Consistency
from qnode.models.shard_calls import NotServed, ReadRequest
from qnode.shards.place import Place
from qnode.shards.routes import Routes

Result = TypeVar("Result")
Numbers = tuple[int, ...]

MOST_LOST_LINKS: Final = 2
"""A peer whose link broke under a read is asked again so often."""

LEASE_PATIENCE_SECONDS: Final = 3.0
"""So long a read that nobody else can answer waits for what is here to be sure to be new: longer than an election takes."""

ASK_AGAIN_SECONDS: Final = 0.1

_PASSED_OVER = (Unavailable, InternalError, TimedOut)
"""What another replica may do better."""


class Reading(Protocol[Result]):
    """One read: how to ask for shards that are elsewhere, and how to read those here (in a thread, with the same result)."""

    def asked(self, numbers: Numbers) -> ReadRequest: ...

    def here(self, numbers: Numbers) -> Result: ...

    def arrived(self, answer: object) -> Result: ...

    def agreed(self, answers: Sequence[Result], needed: int) -> Result:
        """Keep what at least `needed` of the replicas' answers have in common."""


class Scatter:
    """Reads the shards of one collection, by one state of the topology."""

    def __init__(
        self,
        routes: Routes,
        place: Place,
        readable_here: Collection[int],
        spare_here: Collection[int],
        sole_here: Collection[int],
    ) -> None:
        """`readable_here`: the shards with an Active replica on this node. Those of `spare_here` are read only when there is nobody
        else to ask, for this node has just started, and may not know yet what has become of them. Both count while what
        is here is sure to be new, but those that are in `sole_here` too: nobody else has them.
        """
        self._routes = routes
        self._remote = place.remote
        self._freshness = place.freshness
        self._sole_here = sole_here
        self._readable_here = readable_here
        self._spare_here = spare_here

    @property
    def is_fresh(self) -> bool:
        """Whether what is here is sure to be new, now."""
        return self._freshness.holds()

    async def read(
        self, numbers: Numbers, reading: Reading[Result], consistency: Consistency | None = None
    ) -> list[Result]:
        """Read each of the shards once; give what the peers gave, in no order."""
        if consistency in (None, 1) or self._routes.most_replicas <= 1:
            return await self._read_one_each(numbers, reading)
        assert consistency is not None
        return await asyncio.gather(*(self._read_several(number, reading, consistency) for number in numbers))

    def first_choice(self, numbers: Numbers) -> list[tuple[int, Numbers]]:
        """Choose whom to ask for which shards before anybody has failed; raise InternalError if nobody has a shard."""
        return self._grouped(self._untried(numbers, set()), None)

    async def _read_one_each(self, numbers: Numbers, reading: Reading[Result]) -> list[Result]:
        pending, answers = numbers, []
        tried: set[tuple[int, int]] = set()
        not_served: set[tuple[int, int]] = set()
        patient_until = asyncio.get_running_loop().time() + LEASE_PATIENCE_SECONDS
        lost: Counter[int] = Counter()
        fault: QnodeError | None = None
        while pending:
            candidates = self._untried(pending, tried)
            if not all(candidates.values()):
                await self._wait_for_links(pending, tried)
                if not_served and asyncio.get_running_loop().time() < patient_until:
                    await self._ask_again(pending, tried, not_served)
                candidates = self._untried(pending, tried)
            groups = self._grouped(candidates, fault)
            asking = [self._ask(peer, group, reading) for peer, group in groups]
            outcomes = [await _outcome(asking[0])] if len(asking) == 1 else await asyncio.gather(*map(_outcome, asking))
            left: list[int] = []
            for (peer, group), outcome in zip(groups, outcomes, strict=True):
                if isinstance(outcome, NotServed):
                    refused = {(peer, number) for number in set(group).intersection(outcome.shards) or group}
                    tried |= refused
                    if self._freshness.is_bounded:  # it may be without a lease
                        not_served |= refused
                elif isinstance(outcome, QnodeError):
                    deadline.check()
                    fault = outcome
                    is_lost = isinstance(outcome, Unreached | LinkBroken)
                    if is_lost and lost[peer] < MOST_LOST_LINKS:  # it may be asked again when it has a link
                        lost[peer] += 1
                    else:
                        tried.update((peer, number) for number in group)
                else:
                    answers.append(outcome)
                    continue
                left += group
            pending = tuple(left)
        return answers

    async def _ask_again(self, pending: Numbers, tried: set[tuple[int, int]], not_served: set[tuple[int, int]]) -> None:
        """Where nobody is left for a shard, give those that did not serve it a moment to be sure of what they have."""
        for number in pending:
            if not self._untried((number,), tried)[number]:
                await asyncio.sleep(ASK_AGAIN_SECONDS)
                deadline.check()
                tried -= not_served
                not_served.clear()
                return

    async def _wait_for_links(self, pending: Numbers, tried: set[tuple[int, int]]) -> None:
        """Give the links to those who have a shard the moment that they need to be there again."""
        if self._remote.is_alone:
            return
        for number in pending:
            while not self._untried((number,), tried)[number]:
                if self._may_become_fresh(number, tried) and await self._freshness.until_holds(LEASE_PATIENCE_SECONDS):
                    continue
                others = (peer for peer in self._routes.active(number) if peer != self._routes.me)
                left = [peer for peer in others if (peer, number) not in tried]
                if not await self._remote.wait_for_link(left):  # one that is there may be gone again by now
                    break
                deadline.check()

    def _untried(self, pending: Numbers, tried: set[tuple[int, int]]) -> dict[int, list[int]]:
        """List by shard whom to ask for it, this peer first, or last."""
        is_fresh = self.is_fresh
        return {
            number: [peer for peer in self._candidates(number, is_fresh=is_fresh) if (peer, number) not in tried]
            for number in pending
        }

    def _grouped(self, candidates: Mapping[int, list[int]], fault: QnodeError | None) -> list[tuple[int, Numbers]]:
        """Choose whom to ask for which shards; raise the last fault, or that nobody has a shard."""
        for number, peers in candidates.items():
            if not peers:
                raise fault or self._nobody(number, "has no active replica")
        me = self._routes.me
        mine = tuple(number for number, peers in candidates.items() if peers[0] == me)
        groups = [(me, mine)] if mine else []
        rest = [number for number, peers in candidates.items() if peers[0] != me]
        while rest:
            votes = Counter(peer for number in rest for peer in candidates[number] if peer != me)
            most = max(votes.values())
            best = sorted(peer for peer, shards in votes.items() if shards == most)
            peer = best[next(_turns) % len(best)]
            groups.append((peer, tuple(number for number in rest if peer in candidates[number])))
            rest = [number for number in rest if peer not in candidates[number]]
        return groups

    def _candidates(self, number: int, *, is_fresh: bool) -> list[int]:
        """List the peers that can be asked for a shard, this one first, or last."""
        me, connected = self._routes.me, self._remote.is_connected
        others = [peer for peer in self._routes.active(number) if peer != me and connected(peer)]
        if number not in self._sole_here and not is_fresh:
            return others
        if number in self._readable_here:
            return [me, *others]
        return [*others, me] if number in self._spare_here else others

    def _may_become_fresh(self, number: int, tried: set[tuple[int, int]]) -> bool:
        """Say whether a replica here could be read as soon as it is sure to be new."""
        is_here = number in self._readable_here or number in self._spare_here
        return is_here and (self._routes.me, number) not in tried and not self.is_fresh

    async def _read_several(self, number: int, reading: Reading[Result], consistency: Consistency) -> Result:
        """Ask as many replicas of a shard as are to agree, and keep what they agree on."""
        replicas = self._routes.answerable(number)
        match consistency:
            case Agreement.ALL | Agreement.MAJORITY:
                wanted = replicas
            case Agreement.QUORUM:
                wanted = replicas // 2 + 1
            case int(factor):
                wanted = min(factor, replicas)
        answers: list[Result] = []
        tried: set[tuple[int, int]] = set()
        not_served: set[tuple[int, int]] = set()
        patient_until = asyncio.get_running_loop().time() + LEASE_PATIENCE_SECONDS
        fault: QnodeError | None = None
        while (missing := wanted - len(answers)) > 0:
            peers = self._untried((number,), tried)[number][:missing]
            if len(peers) < missing:
                may_be_sure_soon = not_served or self._may_become_fresh(number, tried)
                if not may_be_sure_soon or asyncio.get_running_loop().time() >= patient_until:
                    raise fault or self._nobody(number, "does not have enough active replicas")
                await asyncio.sleep(ASK_AGAIN_SECONDS)
                deadline.check()
                tried -= not_served
                not_served.clear()
                continue
            tried.update((peer, number) for peer in peers)
            outcomes = await asyncio.gather(*(_outcome(self._ask(peer, (number,), reading)) for peer in peers))
            for peer, outcome in zip(peers, outcomes, strict=True):
                if isinstance(outcome, QnodeError):
                    deadline.check()
                    fault = outcome
                elif not isinstance(outcome, NotServed):
                    answers.append(outcome)
                elif self._freshness.is_bounded:  # it may be without a lease
                    not_served.add((peer, number))
        needed = len(answers) // 2 + 1 if consistency is Agreement.MAJORITY else len(answers)
        return reading.agreed(answers, needed)

    async def _ask(self, peer: int, numbers: Numbers, reading: Reading[Result]) -> Any:
        if peer == self._routes.me:
            return await asyncio.to_thread(reading.here, numbers)
        answer = await self._remote.read(peer, self._routes.entry.folder, numbers, reading.asked(numbers))
        return answer if isinstance(answer, NotServed) else reading.arrived(answer)

    def _nobody(self, number: int, what: str) -> QnodeError:
        return InternalError(f"The replica set for shard {number} on peer {self._routes.me} {what}")


_turns = count()


async def _outcome(asking: Awaitable[Any]) -> Any:
    """Wait for an answer; give a fault that another replica may not have as if it were one."""
    try:
        return await asking
    except _PASSED_OVER as fault:
        return fault

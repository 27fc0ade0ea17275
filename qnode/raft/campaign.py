"""What a peer knows of the leader and of the votes for itself. In the heap only: a restart may forget it.

Before a campaign the others are asked whether they would vote (pre-vote, Ongaro's thesis, 9.6): those that hear a leader
say no, so a peer that comes back from a cut neither raises the term nor deposes anybody. Votes are counted by voter.
"""

from __future__ import annotations

import math

from qnode.raft.library import now


class Campaign:
    """The newest attempt of this peer."""

    def __init__(self) -> None:
        self._leader_heard_at = -math.inf
        self._term = -1
        self._willing: set[int] = set()
        self._is_won = False
        self._voted_term = -1
        self._voters: set[int] = set()

    def hear_leader(self) -> None:
        """Note that there is a leader: who would vote for this peer does not count any more."""
        self._leader_heard_at = now()
        self.give_way()

    def heard_leader(self, within_seconds: float) -> bool:
        """Say whether a leader was heard of lately."""
        return now() - self._leader_heard_at < within_seconds

    def ask(self, term: int) -> None:
        """Begin, or go on, to ask in `term` who would vote in the next one."""
        if term != self._term:
            self._term, self._willing, self._is_won = term, set(), False

    def is_asking(self, term: int) -> bool:
        """Say whether this peer would campaign itself. Of two that ask each other, the one with less gives way."""
        return term == self._term

    def give_way(self) -> None:
        """Ask no more, until the election timeout runs out again."""
        self._term = -1

    def grant(self, peer: int, term: int, voter_count: int) -> None:
        """Count a peer that would vote; this peer itself would."""
        if term == self._term:
            self._willing.add(peer)
            self._is_won = 2 * (len(self._willing) + 1) > voter_count

    def is_won(self, term: int) -> bool:
        """Say whether a majority would vote for this peer in the term after `term`."""
        return self._is_won and term == self._term

    def is_first_vote(self, peer: int, term: int) -> bool:
        """Note a vote of a term; say whether it is the peer's first."""
        if term != self._voted_term:
            self._voted_term, self._voters = term, set()
        is_first = peer not in self._voters
        self._voters.add(peer)
        return is_first

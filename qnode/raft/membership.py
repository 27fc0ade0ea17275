"""Who takes part in the group: the voters, and who was removed for good. Pure.

A peer is known by its id and, beside it, by the **incarnation** of its journal: a random number that is drawn when the
journal is made. A peer whose journal was lost comes back with another incarnation. It has forgotten its votes and the
entries that it acknowledged, so it must not pass for the voter of its id; it has to be removed and added anew.

Membership is a function of the log: that of the snapshot, then every change that follows, committed or not. One change at
a time, and each of one peer, keeps any two majorities in contact (Ongaro's thesis, 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

ADD: Final = "add"
REMOVE: Final = "remove"

LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """One peer joins or leaves."""

    action: str
    peer: int
    incarnation: int

    def to_plain(self) -> list[Any]:
        return [self.action, self.peer, self.incarnation]

    @classmethod
    def from_plain(cls, value: object) -> MembershipChange | None:
        """Read what `to_plain` gave; None for anything else."""
        match value:
            case ["add" | "remove" as action, int(peer), int(incarnation)] if is_id(peer) and is_id(incarnation):
                return cls(action, peer, incarnation)
        return None


@dataclass(frozen=True, slots=True)
class Membership:
    """The voters with their incarnations, and the incarnations that were removed."""

    voters: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    removed: frozenset[int] = frozenset()

    def changed(self, change: MembershipChange) -> Membership:
        """Give the membership after a change; what is so already stays."""
        voters = {peer: number for peer, number in self.voters.items() if peer != change.peer}
        if change.action == ADD:
            if change.peer in self.voters or change.incarnation in self.removed:
                return self
            return Membership({**voters, change.peer: change.incarnation}, self.removed)
        if self.voters.get(change.peer) != change.incarnation:
            return self
        return Membership(voters, self.removed | {change.incarnation})

    def is_voter(self, peer: int, incarnation: int) -> bool:
        return self.voters.get(peer) == incarnation

    def is_impostor(self, peer: int, incarnation: int) -> bool:
        """Say whether the peer goes under a voter's id without its journal, or was removed."""
        return incarnation in self.removed or self.voters.get(peer, incarnation) != incarnation

    def to_plain(self) -> list[Any]:
        return [[[peer, number] for peer, number in sorted(self.voters.items())], sorted(self.removed)]

    @classmethod
    def from_plain(cls, value: Any) -> Membership:
        """Read what `to_plain` gave; raise ValueError or TypeError for anything else."""
        voters, removed = value
        if not all(is_id(number) for pair in voters for number in pair) or not all(map(is_id, removed)):
            raise ValueError("a membership holds numbers alone")
        return cls(dict(voters), frozenset(removed))


def is_id(value: object) -> bool:
    """Say whether a value can be a peer id or an incarnation."""
    return type(value) is int and 0 < value <= LARGEST_ID

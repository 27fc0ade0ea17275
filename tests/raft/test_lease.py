"""Leases of three peers whose clocks say different times; what is said arrives when the test says so."""

from qnode.raft.lease import NEVER, Lease
from qnode.raft.messages import encode, read

SECOND = 1_000_000
TERM = 4


class Peer:
    """A peer whose clock is its own: `offset` apart from the others'."""

    world = 0

    def __init__(self, number: int, offset: int) -> None:
        self.number = number
        self.lease = Lease(1.0, lambda: Peer.world + offset)


class Group:
    def __init__(self) -> None:
        Peer.world = 50 * SECOND
        self.peers = {1: Peer(1, 0), 2: Peer(2, 7000 * SECOND), 3: Peer(3, 900 * SECOND)}
        self.leader = self.peers[1].lease

    def passes(self, seconds: float) -> None:
        Peer.world += int(seconds * SECOND)

    def beat(self, *answering: int, commit: int = 5, is_sure: bool = True) -> None:
        """Let the leader offer leases, which the answering peers hear and answer at once."""
        offers = {peer: self.leader.offer(peer, (2, 3), TERM, commit, is_sure=is_sure) for peer in (2, 3)}
        for peer in answering:
            follower, offer = self.peers[peer].lease, offers[peer]
            follower.take_offer(offer["commit"], offer["age"], offer["heard"])
            answer = follower.answer(TERM, offer["at"])
            self.leader.hear_answer(peer, answer["at"], answer["heard"])
        if is_sure:
            self.leader.lead((2, 3), commit)

    def applied(self, index: int, *peers: int) -> None:
        for peer in peers:
            self.peers[peer].lease.applied(index)

    def holders(self) -> list[int]:
        return [number for number, peer in self.peers.items() if peer.lease.holds()]


def beaten(times: int = 3) -> Group:
    """Give a group in which all hold leases that are new."""
    group = Group()
    for _ in range(times):
        group.beat(2, 3)
        group.applied(5, 1, 2, 3)
    return group


def test_nobody_holds_a_lease_before_a_majority_has_answered():
    group = Group()
    group.beat()
    group.applied(5, 1, 2, 3)
    assert group.holders() == []


def test_who_hears_the_leader_holds_a_lease_whatever_its_clock_says():
    assert beaten().holders() == [1, 2, 3]


def test_a_lease_ends_by_itself():
    group = beaten()
    group.passes(0.99)
    assert group.holders() == [1, 2, 3]
    group.passes(0.02)
    assert group.holders() == []


def test_a_lease_counts_when_everything_that_was_committed_is_applied_here():
    group = beaten()
    group.passes(1.1)
    for _ in range(3):
        group.beat(2, 3, commit=9)
    group.applied(8, 2)
    group.applied(9, 3)
    assert group.holders() == [3]


def test_a_leader_that_hears_one_of_four_lends_nothing():
    group = Group()
    for _ in range(4):
        group.passes(0.2)
        offer = group.leader.offer(2, (2, 3, 4, 5), TERM, 5, is_sure=True)
        follower = group.peers[2].lease
        follower.take_offer(offer["commit"], offer["age"], offer["heard"])
        answer = follower.answer(TERM, offer["at"])
        group.leader.hear_answer(2, answer["at"], answer["heard"])
        group.leader.lead((2, 3, 4, 5), 5)
        group.applied(5, 1, 2)
    assert group.holders() == []


def test_what_a_deposed_leader_still_lends_ends_with_the_last_answer_of_its_majority():
    group = beaten()
    for _ in range(8):  # it hears nobody of a majority any more, and this peer hears it
        group.passes(0.2)
        offer = group.leader.offer(2, (2, 3, 4, 5), TERM, 5, is_sure=True)
        group.peers[2].lease.take_offer(offer["commit"], offer["age"], offer["heard"])
        group.leader.hear_answer(2, group.peers[2].lease.clock(), offer["at"])
        group.applied(5, 2)
    assert group.holders() == []


def test_an_offer_that_was_long_on_its_way_is_as_old_as_what_it_answers_to():
    group = beaten()
    offer = group.leader.offer(2, (2, 3), TERM, 5, is_sure=True)
    group.passes(3)
    group.peers[2].lease.take_offer(offer["commit"], offer["age"], offer["heard"])
    group.applied(5, 2)
    assert group.holders() == []


def test_a_leader_that_does_not_know_what_is_committed_lends_nothing():
    group = Group()
    for _ in range(3):
        group.beat(2, 3, is_sure=False)
        group.applied(5, 1, 2, 3)
    assert group.holders() == []


def test_what_a_peer_has_said_before_its_link_broke_is_forgotten():
    group = beaten()
    group.leader.forget_link(2)
    assert group.leader.offer(2, (2, 3), TERM, 5, is_sure=True)["heard"] == 0


def test_without_a_length_everything_is_allowed_and_nothing_is_said():
    lease = Lease(0, lambda: 0)
    assert lease.holds()
    assert not lease.is_due(0.1)


def test_offers_and_answers_are_messages():
    for message in (
        Lease(1.0, lambda: 5).offer(2, (2,), TERM, 5, is_sure=False),
        Lease(1.0, lambda: 5).answer(TERM, NEVER),
    ):
        assert read(encode(message, 3)) == (3, message)

"""Turns of a peer, with a disk whose commits end when the test says so."""

import pytest

from qnode.errors import InternalError, OutOfSpace
from qnode.raft.journal import Changes
from qnode.raft.turns import MAX_WAITING, Done, Turns

CHANGES = Changes(None, None, 0, 0, [])


class Peer:
    """Notes what it does; it has changed something in a turn if `changes` says so."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.changes: Changes | None = CHANGES
        self.commits: list[Done] = []
        self.more = 0
        self.turns = Turns(self.run, self.release, lambda: self.did.append("discard"), self.commit)

    def run(self) -> Changes | None:
        self.did.append("run")
        return self.changes

    def release(self) -> bool:
        self.did.append("release")
        self.more -= 1
        return self.more >= 0

    def commit(self, changes: Changes, done: Done) -> None:
        self.did.append("commit")
        self.commits.append(done)

    def hear(self, word: str) -> None:
        self.turns.add(lambda: self.did.append(word), may_be_dropped=True)


def test_nothing_is_said_before_the_commit_is_over():
    peer = Peer()
    peer.hear("word")
    peer.turns.take()
    assert peer.did == ["word", "run", "commit"]
    peer.commits.pop()(None)
    assert peer.did == ["word", "run", "commit", "release"]


def test_what_arrives_during_a_commit_waits_in_order_for_the_next_turn():
    peer = Peer()
    peer.turns.take()
    for word in ("first", "second"):
        peer.hear(word)
        peer.turns.take()
    assert peer.did == ["run", "commit"]
    peer.commits.pop()(None)
    assert peer.did == ["run", "commit", "release", "first", "second", "run", "commit"]


def test_a_turn_that_changes_nothing_commits_nothing():
    peer = Peer()
    peer.changes = None
    peer.turns.take()
    assert peer.did == ["run", "release"]


def test_a_turn_that_leads_to_another_is_followed_by_it_at_once():
    peer = Peer()
    peer.changes, peer.more = None, 2
    peer.turns.take()
    assert peer.did == ["run", "release"] * 3


def test_without_room_nothing_is_said_and_the_next_turn_tries_again():
    peer = Peer()
    peer.turns.take()
    peer.commits.pop()(OutOfSpace("the disk is full"))
    assert peer.did == ["run", "commit", "discard"]
    peer.turns.take()
    peer.commits.pop()(None)
    assert peer.did == ["run", "commit", "discard", "run", "commit", "release"]


def test_any_other_fault_of_the_disk_is_raised_and_nothing_is_said():
    peer = Peer()
    peer.turns.take()
    with pytest.raises(InternalError):
        peer.commits.pop()(InternalError("the disk is broken"))
    assert peer.did == ["run", "commit"]


def test_what_waits_is_bounded_but_for_word_of_links():
    peer = Peer()
    peer.turns.take()
    for _ in range(MAX_WAITING + 5):
        peer.hear("message")
    peer.turns.add(lambda: peer.did.append("link"), may_be_dropped=False)
    peer.commits.pop()(None)
    assert peer.did.count("message") == MAX_WAITING
    assert peer.did.count("link") == 1

"""Scenarios of a few replicas, each named after what it proves; the network is the simulation's, without chance."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from qnode.errors import BadRequest, QnodeError
from qnode.raft.core import Diverged
from qnode.raft.messages import encode
from qnode.raft.replica import NoLeader, OutcomeUnknown, Replica
from tests.raft.seams import Clock, Member
from tests.raft.simulation import Group, virtual_time


class Stage(Group):
    """A group to which only that happens what a test says."""

    def __init__(self, clock: Clock, compact_after: int = 128) -> None:
        self.forced_compact_after = compact_after
        super().__init__(0, clock, None)
        self.network.longest_delay = 0.01
        self.settle()

    @property
    def compact_after(self) -> int:
        return self.forced_compact_after

    @compact_after.setter
    def compact_after(self, drawn: int) -> None:
        pass

    def settle(self, seconds: float = 4.0) -> None:
        for _ in range(int(seconds / 0.05)):
            self.step()

    def until(self, happened: Callable[[], Any], seconds: float = 20.0) -> None:
        for _ in range(int(seconds / 0.05)):
            if happened():
                return
            self.step()
        raise AssertionError("it did not happen")

    def replica(self, peer: int) -> Replica:
        return self.network.members[peer].replica

    def member(self, peer: int) -> Member:
        return self.network.members[peer]

    def leader(self) -> int:
        (leader,) = [peer for peer in self.network.members if self.replica(peer).is_leader]
        return leader

    def asked(self, question: Callable[[Callable[..., None]], None], seconds: float = 20.0) -> Any:
        """Ask and wait; give the result or raise the error."""
        answers: list[tuple[bytes | None, QnodeError | None]] = []
        question(lambda result, error: answers.append((result, error)))
        self.until(lambda: answers, seconds)
        ((result, error),) = answers
        if error is not None:
            raise error
        return result

    def say(self, peer: int, command: bytes, timeout_seconds: float = 5.0) -> Any:
        return self.asked(lambda done: self.replica(peer).propose(command, timeout_seconds, done))

    def grow(self, count: int) -> None:
        for _ in range(count):
            peer = self.new_peer()
            self.start(peer)
            incarnation = self.replica(peer).incarnation
            self.asked(lambda done, p=peer, i=incarnation: self.replica(1).add_peer(p, i, 10.0, done))
        self.settle()

    def cut_off(self, peer: int) -> None:
        self.network.set_cut({frozenset((peer, other)) for other in self.disks if other != peer})

    def hear(self, peer: int, of: int, message: dict[str, Any]) -> None:
        """Let a peer hear something that nobody has said."""
        self.replica(peer).received(of, encode(message, self.replica(of).incarnation))
        self.replica(peer).tick()

    def log_of(self, peer: int) -> list[tuple[int, int]]:
        return [(index, term) for _, index, term in self.replica(peer)._journal[:]]


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with virtual_time(clock):
        yield clock


@pytest.fixture
def stage(clock: Clock) -> Stage:
    return Stage(clock)


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def test_the_first_peer_leads_a_group_of_its_own(stage: Stage):
    assert stage.say(1, number(5)) == b"1"
    assert stage.replica(1).status().voters == (1,)


def test_the_first_peer_stays_leader_while_others_join(stage: Stage):
    term = stage.replica(1).status().term
    stage.grow(4)
    assert stage.leader() == 1
    assert stage.replica(5).status().voters == (1, 2, 3, 4, 5)
    assert stage.replica(5).status().term == term


def test_a_peer_that_nobody_adds_does_not_campaign(stage: Stage):
    stage.start(stage.new_peer())
    stage.settle(10)
    assert stage.replica(2).status().term == 0
    with pytest.raises(NoLeader):
        stage.say(2, number(1), timeout_seconds=1.0)


def test_a_peer_that_never_comes_does_not_hold_up_the_group(stage: Stage):
    with pytest.raises(NoLeader):
        stage.asked(lambda done: stage.replica(1).add_peer(9, 99, 3.0, done))
    assert stage.say(1, number(1)) == b"1"
    assert stage.replica(1).status().voters == (1,)


def test_a_proposal_through_any_peer_is_answered_when_it_is_applied_there(stage: Stage):
    stage.grow(2)
    for peer in (1, 2, 3):
        assert stage.say(peer, number(peer)) == str(peer).encode()
        assert stage.member(peer).history.applied[-1] == peer


def test_an_idle_group_commits_nothing_to_disk(stage: Stage):
    stage.grow(2)
    before = [disk.open().stored for disk in stage.disks.values()]
    stage.settle(10)
    assert all(disk.open().stored is old for disk, old in zip(stage.disks.values(), before, strict=True))


def test_a_dead_leader_is_replaced_within_three_seconds(stage: Stage):
    stage.grow(2)
    stage.crash(1)
    stage.settle(3)
    assert stage.leader() in (2, 3)
    assert stage.say(2, number(7)) is not None


def test_a_leader_that_is_cut_off_acknowledges_nothing_and_steps_down(stage: Stage):
    stage.grow(2)
    stage.cut_off(1)
    with pytest.raises(OutcomeUnknown):
        stage.say(1, number(1), timeout_seconds=1.0)
    stage.settle(3)
    assert not stage.replica(1).is_leader


def test_a_refusal_of_a_request_that_was_repeated_on_its_way_is_not_certain(stage: Stage):
    stage.grow(2)
    stage.member(3).do(lambda replica: stage.crash(3))
    stage.disks[2].commit_seconds = 4.0  # so the leader takes the proposal and cannot commit it
    answers: list[QnodeError | None] = []
    stage.replica(2).propose(number(1), 1.0, lambda _, error: answers.append(error))
    stage.step()
    request = stage.replica(2)._core._SyncObj__commandsLocalCounter
    stage.hear(2, 1, {"type": "apply_command_response", "request_id": request, "error": 4})
    stage.until(lambda: answers)
    assert isinstance(answers[0], OutcomeUnknown)
    stage.disks[2].commit_seconds = 0.0
    stage.until(lambda: stage.member(1).history.applied == [1])


def test_a_peer_that_was_cut_off_does_not_depose_the_leader_when_it_returns(stage: Stage):
    stage.grow(2)
    term = stage.replica(1).status().term
    stage.cut_off(3)
    stage.settle(20)
    stage.network.set_cut(set())
    stage.settle(5)
    assert (stage.leader(), stage.replica(1).status().term) == (1, term)


def test_a_peer_of_a_higher_term_is_not_left_behind(stage: Stage):
    stage.grow(2)
    stage.crash(3)
    disk = stage.disks[3].open()
    hard = disk.stored.hard
    disk.stored = type(disk.stored)(
        type(hard)(hard.incarnation, hard.term + 5, None, hard.commit), disk.stored.entries, disk.stored.snapshot
    )
    stage.start(3)
    stage.say(1, number(1), timeout_seconds=10.0)
    stage.settle(10)
    assert stage.member(3).history.applied == [1]


def test_term_and_vote_outlive_a_restart(stage: Stage):
    stage.grow(2)
    stage.crash(1)
    stage.settle(4)
    voted = {peer: stage.replica(peer)._journal.getVotedForNodeId() for peer in (2, 3)}
    term = stage.replica(2).status().term
    for peer in (2, 3):
        stage.crash(peer)
        stage.start(peer)
        assert stage.replica(peer)._journal.getVotedForNodeId() == voted[peer]
        assert stage.replica(peer).status().term == term


def test_a_restarted_peer_shows_at_once_what_it_had_applied(clock: Clock):
    stage = Stage(clock, compact_after=4)
    for value in range(10):
        stage.say(1, number(value))
    stage.crash(1)
    stage.start(1)
    assert stage.member(1).history.applied == list(range(10))


def test_entries_that_are_sent_again_are_kept(stage: Stage):
    stage.grow(2)
    for value in range(5):
        stage.say(1, number(value))
    stage.settle(1)
    before = stage.log_of(2)
    old = stage.replica(1)._journal[-3]
    status = stage.replica(1).status()
    message = {
        "type": "append_entries",
        "term": status.term,
        "commit_index": 2,
        "prevLogIdx": old[1] - 1,
        "prevLogTerm": stage.replica(1)._journal.term_of(old[1] - 1),
        "entries": [old],
    }
    stage.hear(2, 1, message)
    assert stage.log_of(2) == before


def test_a_conflicting_end_is_replaced_and_its_proposal_is_tried_again(stage: Stage):
    stage.grow(2)
    stage.cut_off(1)
    answers: list[bytes | None] = []
    stage.replica(1).propose(number(1), 30.0, lambda result, error: answers.append(result))
    stage.settle(1)
    lonely = stage.log_of(1)[-1]
    stage.settle(4)
    stage.say(2, number(2))
    stage.network.set_cut(set())
    stage.until(lambda: answers)
    stage.settle(1)
    assert lonely not in stage.log_of(1)
    assert stage.member(1).history.applied == stage.member(2).history.applied
    assert sorted(stage.member(1).history.applied) == [1, 2]


def test_a_conflict_below_the_commit_index_ends_the_peer(stage: Stage):
    stage.grow(2)
    stage.say(1, number(1))
    stage.settle(1)
    last, term = stage.log_of(2)[-1]
    message = {
        "type": "append_entries",
        "term": term + 1,
        "commit_index": 1,
        "prevLogIdx": last,
        "prevLogTerm": term + 1,
        "entries": [],
    }
    with pytest.raises(Diverged):
        stage.hear(2, 1, message)


def test_a_match_of_an_earlier_term_does_not_count(stage: Stage):
    stage.grow(2)
    stage.network.set_cut({frozenset((1, 2)), frozenset((1, 3))})
    stage.replica(1).propose(number(1), 1.0, lambda result, error: None)
    stage.settle(0.3)
    status = stage.replica(1).status()
    for peer in (2, 3):
        answer = {
            "type": "next_node_idx",
            "term": status.term - 1,
            "next_node_idx": status.commit + 9,
            "reset": False,
            "success": True,
        }
        stage.hear(1, peer, answer)
    stage.step()
    assert stage.replica(1).status().commit == status.commit


def test_one_voter_has_one_vote_however_often_it_says_so(stage: Stage):
    stage.grow(4)
    for peer in (1, 2, 3):
        stage.crash(peer)
    stage.settle(2)
    core = stage.replica(4)._core
    stage.cut_off(4)
    core._SyncObj__transferInProgress, core._SyncObj__raftElectionDeadline = True, 0.0
    core.doTick(0.0)
    for _ in range(3):
        stage.hear(4, 5, {"type": "response_vote", "term": core.term})
    assert not stage.replica(4).is_leader


def test_a_laggard_behind_the_log_gets_a_snapshot(clock: Clock):
    stage = Stage(clock, compact_after=1)
    stage.grow(2)
    stage.cut_off(3)
    for value in range(200):
        stage.say(1, number(value))
    stage.network.set_cut(set())
    stage.settle(10)
    assert stage.member(3).history.applied == list(range(200))
    assert len(stage.replica(3)._journal) < 5


@pytest.mark.parametrize("moment", range(12))
def test_a_snapshot_is_shown_only_when_it_is_durable(clock: Clock, moment: int):
    stage = Stage(clock, compact_after=1)
    stage.grow(2)
    stage.cut_off(3)
    for value in range(20):
        stage.say(1, number(value))
    stage.member(3).fuse.left = moment
    stage.network.set_cut(set())
    stage.until(lambda: 3 not in stage.network.members)
    stage.start(3)
    assert not stage.wrong
    stage.settle()
    assert stage.member(3).history.applied == list(range(20))


def test_a_snapshot_takes_no_entries_away_that_follow_it(stage: Stage):
    stage.grow(2)
    for value in range(9):
        stage.say(1, number(value))
    core = stage.replica(1)._core
    snapshot = stage.replica(2)._applied.snapshot(stage.replica(2).status().applied, core.term)
    held = stage.log_of(2)
    stage.replica(2)._core._SyncObj__raftCommitIndex = 3  # it has not heard yet that the others are committed
    index = held[-3][0]
    data = replace(snapshot, index=index).to_bytes()
    message = {
        "type": "install_snapshot",
        "term": core.term,
        "commit_index": core.commit_index,
        "index": index,
        "offset": 0,
        "total": len(data),
        "data": data,
    }
    stage.hear(2, 1, message)
    assert stage.log_of(2) == held


def test_a_removed_peer_is_told_and_takes_part_no_more(stage: Stage):
    stage.grow(3)
    stage.asked(lambda done: stage.replica(2).remove_peer(4, 10.0, done))
    stage.until(lambda: stage.replica(4).is_expelled)
    with pytest.raises(NoLeader):
        stage.say(4, number(1))
    assert stage.replica(1).status().voters == (1, 2, 3)


def test_a_leader_that_is_removed_hands_over_first(stage: Stage):
    stage.grow(2)
    stage.asked(lambda done: stage.replica(2).remove_peer(1, 10.0, done))
    stage.settle()
    assert stage.leader() in (2, 3)
    assert stage.say(2, number(1)) == b"1"


def test_a_leader_that_is_asked_to_lets_another_lead(stage: Stage):
    stage.grow(2)
    stage.settle()
    leader, before = stage.leader(), stage.replica(1).status().term
    stage.replica(leader).hand_leadership_over()
    stage.until(lambda: stage.replica(leader).status().leader not in (None, leader))
    assert stage.replica(leader).status().term == before + 1
    assert stage.say(leader, number(1)) == b"1"


def test_dead_peers_can_be_removed_and_the_group_goes_on(stage: Stage):
    stage.grow(4)
    for peer in (4, 5):
        stage.crash(peer)
    for peer in (4, 5):
        stage.asked(lambda done, p=peer: stage.replica(1).remove_peer(p, 10.0, done))
    stage.crash(3)
    assert stage.say(2, number(1)) == b"1"


def test_of_several_changes_one_is_under_way_at_a_time(stage: Stage):
    stage.grow(4)
    done: list[int] = []
    for peer in (4, 5):
        stage.replica(1).remove_peer(peer, 20.0, lambda result, error, p=peer: done.append(p))
    for _ in range(200):
        stage.step()
        core = stage.replica(stage.leader())._core
        pending = [entry for entry in core.journal.since(core.last_applied + 1) if core.change_in(entry[0])]
        assert len(pending) <= 1
    assert sorted(done) == [4, 5]


def test_a_wiped_peer_is_refused_under_its_old_identity_and_its_voice_does_not_count(stage: Stage):
    stage.grow(2)
    stage.crash(3)
    stage.disks[3] = stage.new_disk()
    stage.start(3)
    wiped = stage.replica(3).incarnation
    with pytest.raises(BadRequest, match="lost its state"):
        stage.asked(lambda done: stage.replica(1).add_peer(3, wiped, 5.0, done))
    stage.crash(2)
    with pytest.raises((NoLeader, OutcomeUnknown)):
        stage.say(1, number(1), timeout_seconds=3.0)
    stage.start(2)
    stage.settle()
    stage.asked(lambda done: stage.replica(1).remove_peer(3, 10.0, done))
    stage.asked(lambda done: stage.replica(1).add_peer(3, wiped, 10.0, done))
    stage.crash(2)
    assert stage.say(1, number(2)) is not None


def test_a_restarted_peer_uses_the_newest_membership_of_its_log_at_once(stage: Stage):
    stage.grow(2)
    stage.asked(lambda done: stage.replica(1).remove_peer(3, 10.0, done))
    stage.grow(1)
    stage.crash(2)
    stage.start(2)
    assert stage.replica(2)._core.membership.voters.keys() == {1, 2, 4}


def test_the_last_peer_cannot_be_removed(stage: Stage):
    with pytest.raises(BadRequest, match="only one"):
        stage.asked(lambda done: stage.replica(1).remove_peer(1, 5.0, done))

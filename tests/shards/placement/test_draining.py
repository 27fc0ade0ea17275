import pytest

from qnode.errors import BadRequest
from qnode.shards.placement import Move, plan_drain
from tests.shards.placement.scenario import Scenario


def test_each_replica_goes_to_a_peer_that_has_none_or_is_dropped_where_others_are_enough():
    topology = Scenario(
        """
        peers 1 2 3
        shard c/0 replication=1: 1*Active
        shard c/1 replication=1: 1*Active
        shard d/0 replication=2: 1*Active 2Active
        shard e/0 replication=2: 1*Active 2Active 3Active
        """
    ).topology
    assert plan_drain(topology, 1) == (
        Move("c", 0, 3),
        Move("c", 1, 2),
        Move("d", 0, 3),
        Move("e", 0, None),
    )


def test_a_last_copy_that_nobody_can_take_keeps_a_peer_from_being_drained():
    topology = Scenario("peers 1 2!\nshard c/4: 1*Active\nshard c/5: 1*Active 2Dead").topology
    with pytest.raises(BadRequest) as refusal:
        plan_drain(topology, 1)
    assert str(refusal.value) == (
        "Bad request: Cannot drain peer 1: it holds the last copy of shard 4 of c (and of 1 more), "
        "and no other peer can take it"
    )


def test_a_last_copy_on_a_peer_that_does_not_answer_keeps_it_from_being_drained():
    topology = Scenario("peers 1 2 3\nshard c/0: 1*Active").topology
    assert plan_drain(topology, 1) == (Move("c", 0, 2),)
    with pytest.raises(BadRequest, match="the last copy of shard 0 of c, and it does not answer"):
        plan_drain(topology, 1, silent={1})


def test_fewer_replicas_than_wanted_do_not_keep_a_peer_from_being_drained():
    topology = Scenario("peers 1 2\nshard c/0 replication=2: 1*Active 2Active").topology
    assert plan_drain(topology, 1) == (Move("c", 0, None),)


def test_a_copy_elsewhere_counts_only_if_its_peer_answers_and_it_is_active():
    topology = Scenario("peers 1 2 3\nshard c/0: 1*Active 2Active\nshard c/1: 1*Active 2Partial").topology
    assert plan_drain(topology, 1) == (Move("c", 0, None), Move("c", 1, 3))
    with pytest.raises(BadRequest, match="the last copy of shard 0"):
        plan_drain(topology, 1, silent={2, 3})


def test_an_unknown_peer_is_named():
    with pytest.raises(BadRequest, match="Peer 9 does not exist"):
        plan_drain(Scenario("peers 1").topology, 9)

import pytest

from qnode.models.topology_commands import (
    AddReplica,
    ChangePrimary,
    DropReplica,
    ForcePrimary,
    SetReplicaState,
    StartTransfer,
    TransferMethod,
)
from qnode.raft.topology import Reason
from tests.raft.topology.common import (
    ACTIVE,
    DEAD,
    INITIALIZING,
    PARTIAL,
    RECOVERY,
    applied,
    one_shard,
    refused,
    shard,
)


def set_state(topology, peer, state, **guards):
    guards.setdefault("seen", shard(topology).changed if state is ACTIVE else None)
    return SetReplicaState("c", 0, peer, state, guards.pop("epoch", shard(topology).epoch), **guards)


def test_a_replica_leaves_and_joins_the_active_set():
    topology = one_shard(ACTIVE, ACTIVE)
    topology = applied(topology, set_state(topology, 2, DEAD))
    assert shard(topology).active() == [1]
    topology = applied(topology, set_state(topology, 2, PARTIAL))
    topology = applied(topology, set_state(topology, 2, ACTIVE))
    assert shard(topology).active() == [1, 2]


def test_a_state_decided_in_another_epoch_is_rejected():
    topology = one_shard(ACTIVE, ACTIVE, ACTIVE)
    stale = set_state(topology, 3, DEAD)
    topology = applied(topology, ChangePrimary("c", 0, 2, shard(topology).epoch))
    assert refused(topology, stale)[0] is Reason.OUTDATED


def test_a_state_that_supposes_another_one_is_rejected():
    topology = one_shard(ACTIVE, PARTIAL)
    assert refused(topology, set_state(topology, 2, ACTIVE, expected=INITIALIZING))[0] is Reason.OUTDATED


def test_a_promotion_that_was_overtaken_by_a_new_recovery_is_rejected():
    topology = one_shard(ACTIVE, PARTIAL)
    promotion = set_state(topology, 2, ACTIVE, expected=PARTIAL)
    topology = applied(topology, set_state(topology, 2, DEAD), set_state(topology, 2, PARTIAL))
    assert refused(topology, promotion)[0] is Reason.OUTDATED
    assert refused(topology, set_state(topology, 2, ACTIVE, seen=None))[0] is Reason.REFUSED
    promotion = set_state(topology, 2, ACTIVE, expected=PARTIAL)
    assert shard(applied(topology, promotion)).active() == [1, 2]


def test_the_same_state_again_changes_nothing():
    topology = one_shard(ACTIVE, DEAD)
    assert shard(applied(topology, set_state(topology, 2, DEAD))) is shard(topology)


def test_the_last_active_replica_is_not_deactivated():
    topology = one_shard(ACTIVE, PARTIAL)
    assert refused(topology, set_state(topology, 1, DEAD)) == (
        Reason.REFUSED,
        "Cannot deactivate the last active replica 1 of shard 0",
    )


def test_the_primary_is_not_deactivated_without_another_one():
    topology = one_shard(ACTIVE, ACTIVE)
    assert refused(topology, set_state(topology, 1, DEAD))[1].startswith("Cannot deactivate the primary 1 of shard 0")


def test_a_dead_replica_does_not_become_active_without_recovery():
    topology = one_shard(ACTIVE, DEAD)
    assert refused(topology, set_state(topology, 2, ACTIVE))[0] is Reason.REFUSED


def test_replicas_shards_and_peers_that_are_not_there_are_named():
    topology = one_shard(ACTIVE)
    epoch = shard(topology).epoch
    for command, text in (
        (SetReplicaState("c", 0, 2, DEAD, epoch), "Peer 2 has no replica of shard 0"),
        (SetReplicaState("c", 5, 1, DEAD, epoch), "Shard 5 of c does not exist"),
        (ChangePrimary("c", 0, 2, epoch), "Peer 2 has no replica of shard 0"),
        (DropReplica("c", 0, 2), "Peer 2 has no replica of shard 0"),
        (AddReplica("c", 0, 9), "Peer 9 does not exist"),
    ):
        assert refused(topology, command) == (Reason.REFUSED, text)


def test_a_new_primary_begins_the_next_epoch_and_the_old_one_leaves():
    before = one_shard(ACTIVE, ACTIVE, ACTIVE)
    after = shard(applied(before, ChangePrimary("c", 0, 3, shard(before).epoch)))
    assert (after.primary, after.epoch) == (3, shard(before).epoch + 1)
    assert after.replicas == {1: DEAD, 2: ACTIVE, 3: ACTIVE}


def test_a_primary_that_hands_over_stays_active():
    before = one_shard(ACTIVE, ACTIVE)
    after = shard(applied(before, ChangePrimary("c", 0, 2, shard(before).epoch, hands_over=True)))
    assert (after.primary, after.epoch, after.active()) == (2, shard(before).epoch + 1, [1, 2])


@pytest.mark.parametrize("state", [INITIALIZING, PARTIAL, RECOVERY, DEAD])
def test_only_an_active_replica_becomes_primary(state):
    topology = one_shard(ACTIVE, state)
    command = ChangePrimary("c", 0, 2, shard(topology).epoch)
    assert refused(topology, command) == (Reason.OUTDATED, "Shard 0 is not active on peer 2")


def test_of_two_new_primaries_for_one_epoch_the_first_wins():
    topology = one_shard(ACTIVE, ACTIVE, ACTIVE)
    epoch = shard(topology).epoch
    topology = applied(topology, ChangePrimary("c", 0, 2, epoch))
    assert refused(topology, ChangePrimary("c", 0, 3, epoch))[0] is Reason.OUTDATED


def test_an_operators_word_makes_a_dead_replica_the_only_active_one():
    before = one_shard(ACTIVE, ACTIVE, DEAD)
    after = shard(applied(before, ForcePrimary("c", 0, 3, shard(before).epoch)))
    assert (after.primary, after.epoch) == (3, shard(before).epoch + 1)
    assert after.replicas == {1: DEAD, 2: DEAD, 3: ACTIVE}


def test_a_replica_is_added_once_and_is_not_active():
    topology = applied(one_shard(ACTIVE), AddReplica("c", 0, 2))
    assert shard(topology).replicas == {1: ACTIVE, 2: INITIALIZING}
    assert refused(topology, AddReplica("c", 0, 2))[0] is Reason.REFUSED


def test_the_last_active_replica_is_not_dropped():
    assert refused(one_shard(ACTIVE, PARTIAL), DropReplica("c", 0, 1)) == (
        Reason.REFUSED,
        "Shard 0 must have at least one active replica after removing 1",
    )


def test_the_place_of_a_dropped_primary_is_taken_in_the_next_epoch():
    before = one_shard(ACTIVE, PARTIAL, ACTIVE)
    after = shard(applied(before, DropReplica("c", 0, 1)))
    assert (after.primary, after.epoch, after.replicas) == (3, shard(before).epoch + 1, {2: PARTIAL, 3: ACTIVE})


def test_transfers_of_a_dropped_replica_end():
    topology = applied(one_shard(ACTIVE, ACTIVE), StartTransfer("c", 0, 2, 3, TransferMethod.SNAPSHOT, sync=False))
    topology = applied(topology, DropReplica("c", 0, 2))
    assert topology.collections["c"].transfers == ()
    assert shard(topology).replicas == {1: ACTIVE}


def test_transfers_of_a_replica_that_dies_end():
    before = applied(one_shard(ACTIVE, ACTIVE), StartTransfer("c", 0, 2, 3, TransferMethod.SNAPSHOT, sync=True))
    source_died = applied(before, set_state(before, 2, DEAD))
    assert shard(source_died).replicas == {1: ACTIVE, 2: DEAD, 3: DEAD}
    target_died = applied(before, set_state(before, 3, DEAD))
    assert shard(target_died).replicas == {1: ACTIVE, 2: ACTIVE, 3: DEAD}
    assert source_died.collections["c"].transfers == target_died.collections["c"].transfers == ()

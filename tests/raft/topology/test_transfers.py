import pytest

from qnode.models.topology_commands import (
    AbortTransfer,
    ChangePrimary,
    FinishTransfer,
    RestartTransfer,
    SetReplicaState,
    StartTransfer,
    TransferMethod,
)
from qnode.raft.topology import Reason
from tests.raft.topology.common import ACTIVE, DEAD, PARTIAL, RECOVERY, applied, one_shard, refused, shard

SNAPSHOT, STREAM, DELTA = TransferMethod.SNAPSHOT, TransferMethod.STREAM_RECORDS, TransferMethod.WAL_DELTA


def begun(*states, source=1, target=None, sync=True, method=SNAPSHOT):
    topology = one_shard(*states)
    return applied(topology, StartTransfer("c", 0, source, target or len(states) + 1, method, sync))


def caught_up(topology, peer):
    return applied(topology, SetReplicaState("c", 0, peer, ACTIVE, shard(topology).epoch, seen=shard(topology).changed))


def started(topology):
    return topology.collections["c"].transfers[0].started


@pytest.mark.parametrize(("method", "state"), [(SNAPSHOT, RECOVERY), (STREAM, PARTIAL), (DELTA, PARTIAL)])
def test_the_target_holds_a_replica_from_the_beginning(method, state):
    assert shard(begun(ACTIVE, method=method)).replicas == {1: ACTIVE, 2: state}


def test_a_dead_replica_is_recovered_in_its_place():
    topology = caught_up(begun(ACTIVE, DEAD, target=2), 2)
    topology = applied(topology, FinishTransfer("c", 0, 1, 2, started(topology)))
    assert shard(topology).replicas == {1: ACTIVE, 2: ACTIVE}
    assert topology.collections["c"].transfers == ()


def test_a_finished_move_drops_its_source():
    topology = caught_up(begun(ACTIVE, ACTIVE, source=2, sync=False), 3)
    topology = applied(topology, FinishTransfer("c", 0, 2, 3, started(topology)))
    assert (shard(topology).primary, shard(topology).replicas) == (1, {1: ACTIVE, 3: ACTIVE})


def test_a_finished_move_of_the_primary_makes_the_target_primary_in_the_next_epoch():
    before = caught_up(begun(ACTIVE, ACTIVE, sync=False), 3)
    after = shard(applied(before, FinishTransfer("c", 0, 1, 3, started(before))))
    assert (after.primary, after.epoch, after.replicas) == (3, shard(before).epoch + 1, {2: ACTIVE, 3: ACTIVE})


def test_a_transfer_is_not_finished_before_its_target_is_active():
    topology = begun(ACTIVE)
    command = FinishTransfer("c", 0, 1, 2, started(topology))
    assert refused(topology, command) == (Reason.OUTDATED, "Shard 0 is not active on peer 2")


def test_an_aborted_copy_leaves_a_dead_replica_and_an_aborted_move_none():
    assert shard(applied(begun(ACTIVE), AbortTransfer("c", 0, 1, 2))).replicas == {1: ACTIVE, 2: DEAD}
    assert shard(applied(begun(ACTIVE, sync=False), AbortTransfer("c", 0, 1, 2))).replicas == {1: ACTIVE}


def test_a_copy_that_has_become_active_survives_an_abort():
    topology = applied(caught_up(begun(ACTIVE), 2), AbortTransfer("c", 0, 1, 2))
    assert shard(topology).replicas == {1: ACTIVE, 2: ACTIVE}


def test_an_active_target_of_a_move_stays_if_the_source_has_died():
    topology = caught_up(begun(ACTIVE, sync=False), 2)
    topology = applied(topology, ChangePrimary("c", 0, 2, shard(topology).epoch))
    assert (shard(topology).primary, shard(topology).replicas) == (2, {1: DEAD, 2: ACTIVE})
    assert topology.collections["c"].transfers == ()


def test_a_command_on_an_earlier_transfer_does_not_touch_a_later_one():
    topology = begun(ACTIVE)
    old = started(topology)
    topology = applied(topology, AbortTransfer("c", 0, 1, 2), StartTransfer("c", 0, 1, 2, SNAPSHOT, True))
    assert refused(topology, AbortTransfer("c", 0, 1, 2, old))[0] is Reason.OUTDATED
    assert refused(caught_up(topology, 2), FinishTransfer("c", 0, 1, 2, old))[0] is Reason.OUTDATED


def test_a_restart_needs_another_method():
    topology = begun(ACTIVE)
    assert refused(topology, RestartTransfer("c", 0, 1, 2, SNAPSHOT)) == (
        Reason.REFUSED,
        "Cannot restart transfer for shard 0, its configuration did not change",
    )
    again = applied(topology, RestartTransfer("c", 0, 1, 2, STREAM))
    assert started(again) > started(topology)
    assert shard(again).replicas == {1: ACTIVE, 2: PARTIAL}


def test_transfers_are_refused_in_known_words():
    topology = begun(ACTIVE, ACTIVE, DEAD, source=1, target=3)
    for command, text in (
        (StartTransfer("c", 0, 9, 2, SNAPSHOT, True), "Peer 9 does not exist"),
        (StartTransfer("c", 0, 1, 9, SNAPSHOT, True), "Peer 9 does not exist"),
        (StartTransfer("c", 7, 1, 2, SNAPSHOT, True), "Shard 7 of c does not exist"),
        (StartTransfer("c", 0, 3, 4, SNAPSHOT, True), "Shard 0 is not active on peer 3"),
        (StartTransfer("c", 0, 1, 4, SNAPSHOT, True), "Shard 0 is already involved in transfer 1 -> 3"),
        (StartTransfer("c", 0, 2, 3, SNAPSHOT, True), "Shard 0 is already involved in transfer 1 -> 3"),
        (
            StartTransfer("c", 0, 2, 1, SNAPSHOT, True),
            "Shard 0 is already involved in transfer 1 -> 3",
        ),
    ):
        assert refused(topology, command) == (Reason.REFUSED, text)
    missing = AbortTransfer("c", 0, 1, 4)
    assert refused(topology, missing) == (
        Reason.MISSING,
        "Shard transfer 1 -> 4 for collection c:0 does not exist",
    )


def test_a_primary_is_not_copied_anew_in_its_place():
    command = StartTransfer("c", 0, 2, 1, SNAPSHOT, True)
    assert refused(one_shard(ACTIVE, ACTIVE), command)[1].startswith("Cannot deactivate the primary 1")

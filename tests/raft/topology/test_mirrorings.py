"""Copying points from key to key, as the topology decides it."""

import orjson

from qnode.models.topology import KeyState, MirrorStage, Topology
from qnode.models.topology_commands import (
    AbortMirroring,
    AdvanceMirroring,
    ChangePrimary,
    CreateShardKey,
    DropShardKey,
    SetReplicaState,
    StartMirroring,
    StartTransfer,
    TransferMethod,
)
from qnode.raft.topology import Reason, topology_from_bytes, topology_to_bytes
from tests.raft.topology.common import ACTIVE, applied, refused, shard, with_keys

START = StartMirroring("c", "all", "new", {"must": []})


def filled() -> Topology:
    """Key `all` has shards 1 and 2, both in sync on two peers; `new` has shard 5; `other` has 3 and 4."""
    topology = with_keys("all", "other")
    for number in (1, 2):
        seen = shard(topology, number)
        peer = next(peer for peer in seen.replicas if peer != seen.primary)
        active = SetReplicaState("c", number, peer, ACTIVE, seen.epoch, seen=seen.changed)
        topology = applied(topology, active)
    return applied(topology, CreateShardKey("c", "new", ((3,),), state=KeyState.PARTIAL))


def advanced(topology: Topology, number: int, stage: MirrorStage) -> AdvanceMirroring:
    (mirroring,) = topology.collections["c"].mirrorings
    return AdvanceMirroring("c", mirroring.started, number, mirroring.epochs[number], stage)


def state(topology: Topology) -> KeyState:
    return topology.collections["c"].keys["new"].state


def test_the_target_is_read_when_all_shards_follow_and_active_when_all_have_ended():
    topology = applied(filled(), START)
    for stage, states in (
        (MirrorStage.FOLLOWING, (KeyState.PARTIAL, KeyState.ACTIVE_READ)),
        (MirrorStage.ENDED, (KeyState.ACTIVE_READ, KeyState.ACTIVE)),
    ):
        for number, expected in zip((1, 2), states, strict=True):
            topology = applied(topology, advanced(topology, number, stage))
            assert state(topology) is expected
    assert topology.collections["c"].mirrorings == ()


def test_a_shard_takes_one_step_after_the_other_and_ends_with_the_others():
    topology = applied(filled(), START)
    assert refused(topology, advanced(topology, 1, MirrorStage.ENDED))[0] is Reason.OUTDATED
    assert refused(topology, AdvanceMirroring("c", 1, 1, 1, MirrorStage.FOLLOWING))[0] is Reason.OUTDATED
    topology = applied(topology, advanced(topology, 1, MirrorStage.FOLLOWING))
    assert refused(topology, advanced(topology, 1, MirrorStage.FOLLOWING))[0] is Reason.OUTDATED
    assert refused(topology, advanced(topology, 1, MirrorStage.ENDED))[1] == "other shards are still being copied"


def test_what_was_said_in_another_epoch_of_the_source_does_not_count():
    topology = applied(filled(), START)
    seen = shard(topology, 1)
    heir = next(peer for peer in seen.active() if peer != seen.primary)
    late = advanced(topology, 1, MirrorStage.FOLLOWING)
    topology = applied(topology, ChangePrimary("c", 1, heir, seen.epoch, hands_over=True))
    assert refused(topology, late)[0] is Reason.OUTDATED
    started = topology.collections["c"].mirrorings[0].started
    now = AdvanceMirroring("c", started, 1, seen.epoch + 1, MirrorStage.FOLLOWING)
    assert refused(topology, now)[0] is Reason.OUTDATED


def test_a_mirroring_that_is_given_up_leaves_the_key_to_its_fallback():
    topology = applied(filled(), START)
    for number in (1, 2):
        topology = applied(topology, advanced(topology, number, MirrorStage.FOLLOWING))
    assert refused(topology, AbortMirroring("c", 1, 2))[0] is Reason.MISSING
    assert refused(topology, AbortMirroring("c", 1, 5, 1))[0] is Reason.OUTDATED
    topology = applied(topology, AbortMirroring("c", 2, 5))
    assert (state(topology), topology.collections["c"].mirrorings) == (KeyState.PARTIAL, ())
    topology = applied(topology, START, DropShardKey("c", "all"))
    assert topology.collections["c"].mirrorings == ()


def test_a_key_that_is_in_use_for_another_mirroring_or_a_transfer_is_refused():
    topology = applied(filled(), START)
    missing = refused(topology, StartMirroring("c", "all", "none", None))
    assert missing == (Reason.REFUSED, 'Sharding key "none" does not exist for collection c')
    for source, target in (("other", "new"), ("new", "other"), ("other", "all")):
        assert refused(topology, StartMirroring("c", source, target, None))[0] is Reason.REFUSED
    topology = applied(topology, StartMirroring("c", "all", "other", None))
    assert len(topology.collections["c"].mirrorings) == 2
    seen = shard(filled(), 1)
    assert seen.primary is not None
    moving = applied(filled(), StartTransfer("c", 1, seen.primary, 3, TransferMethod.SNAPSHOT, sync=True))
    assert "already involved" in refused(moving, START)[1]


def test_a_mirroring_is_read_back_and_a_topology_from_before_has_none():
    topology = applied(filled(), START)
    assert topology_from_bytes(topology_to_bytes(topology)) == topology
    old = orjson.loads(topology_to_bytes(filled()))
    del old["collections"]["c"]["mirrorings"]
    assert topology_from_bytes(orjson.dumps(old)) == filled()

from qnode.models.topology import Peer, ReplicaState, Topology
from qnode.models.topology_commands import (
    AddPeer,
    CreateCollection,
    PeerStarted,
    PromotePeer,
    RemovePeer,
    SetPeerDraining,
    StartTransfer,
    TransferMethod,
    UpdatePeerUri,
)
from qnode.raft.topology import Reason
from tests.raft.topology.common import ACTIVE, DEAD, INITIALIZING, PARTIAL, applied, one_shard, peers, refused, shard


def test_the_first_peer_votes_and_later_ones_when_they_are_promoted():
    topology = peers(2)
    assert [peer.is_voter for peer in topology.peers.values()] == [True, False]
    assert applied(topology, PromotePeer(2)).peers[2].is_voter


def test_a_member_that_starts_again_renews_what_is_known_of_it():
    topology = applied(peers(2), PromotePeer(2), SetPeerDraining(2, True))
    topology = applied(topology, AddPeer(2, "http://elsewhere", "word 2", "two", "1.1", "zone b"))
    assert topology.peers[2] == Peer("http://elsewhere", "word 2", "two", "1.1", "zone b", True, True)
    assert applied(topology, UpdatePeerUri(2, "word 2", "http://n2")).peers[2].uri == "http://n2"


def test_a_process_that_begins_starts_a_new_epoch_of_what_it_is_primary_of():
    before = applied(peers(3), CreateCollection("c", {}, ((2, 1), (3, 2))))
    after = applied(before, PeerStarted(2, "second", "", 700))
    assert (after.peers[2].life, after.peers[2].lease_ms) == ("second", 700)
    led, followed = shard(after, 0), shard(after, 1)
    assert (led.epoch, led.changed) == (shard(before, 0).epoch + 1, after.index)
    assert (led.primary, led.replicas) == (2, shard(before, 0).replicas)
    assert followed == shard(before, 1)


def test_a_start_that_is_told_again_or_too_late_changes_nothing():
    topology = applied(one_shard(ACTIVE, ACTIVE), PeerStarted(1, "first", ""), PeerStarted(1, "second", "first"))
    again = applied(topology, PeerStarted(1, "second", "first"))
    assert (again.peers, again.collections) == (topology.peers, topology.collections)
    late = refused(topology, PeerStarted(1, "another", "first"))
    assert late == (Reason.OUTDATED, "Peer 1 has started again meanwhile")
    assert refused(topology, PeerStarted(9, "x", ""))[1] == "Peer 9 does not exist"


def test_what_a_member_says_of_itself_leaves_its_life():
    topology = applied(peers(2), PeerStarted(2, "life", "", 700), AddPeer(2, "http://elsewhere", "word 2"))
    assert (topology.peers[2].life, topology.peers[2].lease_ms) == ("life", 700)


def test_a_wiped_node_is_refused_under_its_old_id():
    reason, text = refused(peers(2), AddPeer(2, "http://n2", "another word"))
    assert reason is Reason.REFUSED
    assert text.startswith("Peer 2 is known with another storage")
    assert refused(peers(2), UpdatePeerUri(2, "another word", "http://x"))[1] == text


def test_a_wiped_node_under_a_new_id_is_refused_while_its_old_one_has_shards():
    reason, text = refused(one_shard(ACTIVE, ACTIVE), AddPeer(9, "http://n2", "another word"))
    assert reason is Reason.REFUSED
    assert text.startswith("peer URI http://n2 already used by peer 2 which still has shards, ")


def test_a_peer_without_shards_gives_its_address_to_a_new_one():
    topology = applied(one_shard(ACTIVE, ACTIVE), AddPeer(9, "http://n3", "another word"))
    assert sorted(topology.peers) == [1, 2, 9]
    assert topology.removed == {3}


def test_a_removed_peer_does_not_come_back():
    topology = applied(peers(3), RemovePeer(3))
    assert refused(topology, AddPeer(3, "http://n3", "word 3"))[1].startswith("Peer 3 was removed from the cluster")
    assert refused(topology, UpdatePeerUri(3, "word 3", "http://x")) == (Reason.REFUSED, "Peer 3 does not exist")


def test_a_peer_with_shards_is_removed_only_by_force():
    topology = one_shard(ACTIVE, ACTIVE)
    assert refused(topology, RemovePeer(2)) == (Reason.REFUSED, "Cannot remove peer 2 as there are shards on it")
    assert shard(applied(topology, RemovePeer(2, force=True))).replicas == {1: ACTIVE}


def test_after_a_forced_removal_of_the_primary_an_active_replica_follows_in_the_next_epoch():
    before = one_shard(ACTIVE, PARTIAL, ACTIVE)
    after = shard(applied(before, RemovePeer(1, force=True)))
    assert (after.primary, after.epoch, after.replicas) == (3, shard(before).epoch + 1, {2: PARTIAL, 3: ACTIVE})


def test_a_forced_removal_of_the_last_copy_leaves_the_shard_without_primary():
    before = one_shard(ACTIVE, DEAD)
    after = shard(applied(before, RemovePeer(1, force=True)))
    assert (after.primary, after.epoch, after.replicas) == (None, shard(before).epoch + 1, {2: DEAD})


def test_transfers_end_with_the_peer_that_they_come_from_or_go_to():
    before = applied(one_shard(ACTIVE, ACTIVE), StartTransfer("c", 0, 2, 3, TransferMethod.SNAPSHOT, sync=True))
    after = applied(before, RemovePeer(2, force=True))
    assert after.collections["c"].transfers == ()
    assert shard(after).replicas == {1: ACTIVE, 3: DEAD}
    after = applied(before, RemovePeer(3, force=True))
    assert after.collections["c"].transfers == ()
    assert shard(after).replicas == {1: ACTIVE, 2: ACTIVE}


def test_the_only_peer_stays():
    assert refused(peers(1), RemovePeer(1, force=True))[1] == "Cannot remove peer 1 as it is the only one"


def test_the_first_peer_takes_over_what_its_node_held_alone():
    topology = applied(Topology(), CreateCollection("c", {}, ((0,), (0,))))
    topology = applied(topology, AddPeer(7, "http://n7", "word"))
    assert [(each.primary, each.replicas) for each in topology.collections["c"].shards.values()] == [
        (7, {7: ReplicaState.ACTIVE}),
        (7, {7: ReplicaState.ACTIVE}),
    ]
    assert refused(topology, CreateCollection("d", {}, ((0,),))) == (Reason.REFUSED, "Peer 0 does not exist")


def test_a_new_collection_has_its_primaries_active_and_the_others_on_their_way():
    topology = applied(peers(3), CreateCollection("c", {}, ((2, 1), (3, 2))))
    assert shard(topology, 0).replicas == {2: ACTIVE, 1: INITIALIZING}
    assert [shard(topology, number).primary for number in (0, 1)] == [2, 3]
    assert shard(topology).epoch == topology.index

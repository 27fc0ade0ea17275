from collections import Counter

from qnode.models.topology import Peer, Topology
from qnode.models.topology_commands import AddPeer, CreateCollection, SetPeerDraining
from qnode.raft.topology import apply_command
from qnode.shards.placement import Load, loads, place


def cluster(*zones: str | None) -> Topology:
    return Topology(
        peers={number: Peer(f"http://n{number}", "word", zone=zone) for number, zone in enumerate(zones, start=1)}
    )


def test_replicas_and_primaries_are_spread_evenly():
    for peers, shards, factor in ((3, 12, 2), (3, 6, 3), (5, 20, 3), (4, 7, 2), (6, 1000, 3)):
        placement = place(cluster(*[None] * peers), shards, factor)
        replicas = Counter(peer for holders in placement for peer in holders)
        primaries = Counter(holders[0] for holders in placement)
        assert all(len(set(holders)) == factor for holders in placement)
        for count, total in ((replicas, shards * factor), (primaries, shards)):
            assert max(count.values()) - min(count[peer] for peer in range(1, peers + 1)) <= 1, (peers, shards, factor)
            assert count.total() == total


def test_a_shard_is_not_twice_on_one_peer_even_if_there_are_too_few():
    assert place(cluster(None, None), 2, 3) == ((1, 2), (2, 1))


def test_replicas_of_a_shard_go_to_different_zones():
    topology = cluster("a", "a", "a", "b", "b", "c")
    for holders in place(topology, 12, 3):
        assert sorted(topology.peers[peer].zone or "" for peer in holders) == ["a", "b", "c"]


def test_peers_that_hold_less_get_more():
    topology, rejected = apply_command(cluster(None, None, None), CreateCollection("c", {}, ((1, 2), (1,), (1, 2))))
    assert rejected is None
    assert loads(topology) == {1: Load(3, 3), 2: Load(2, 0), 3: Load(0, 0)}
    assert place(topology, 3, 1) == ((3,), (3,), (2,))


def test_silent_and_drained_peers_are_left_out_while_there_are_others():
    topology, rejected = apply_command(cluster(None, None, None), SetPeerDraining(2, True))
    assert rejected is None
    assert place(topology, 1, 3, silent={3}) == ((1,),)
    assert place(topology, 1, 3, silent={1, 3}) == ((1, 2, 3),)


def test_only_the_named_peers_take_part():
    assert place(cluster(None, None, None), 2, 3, only={2, 3}) == ((2, 3), (3, 2))
    assert place(cluster(None), 2, 3, only={9}) == ()


def test_a_node_alone_holds_everything_before_and_after_it_becomes_a_cluster():
    topology, _ = apply_command(Topology(), CreateCollection("c", {}, place(Topology(), 2, 3)))
    topology, rejected = apply_command(topology, AddPeer(7, "http://n7", "word"))
    assert rejected is None
    assert loads(topology) == {7: Load(2, 2)}

from qnode.raft import (
    CreateCollection,
    CreateFieldIndex,
    DeleteCollection,
    DropFieldIndex,
    Rejected,
    Topology,
    UpdateCollection,
    apply_command,
)


def applied(*commands) -> Topology:
    topology = Topology()
    for command in commands:
        topology, rejected = apply_command(topology, command)
        assert rejected is None
    return topology


def test_a_second_collection_of_the_same_name_is_rejected():
    topology = applied(CreateCollection("a", {"x": 1}))
    after, rejected = apply_command(topology, CreateCollection("a", {"x": 2}))
    assert rejected is Rejected.EXISTS
    assert after.collections == topology.collections


def test_a_collection_made_again_gets_another_folder():
    topology = applied(CreateCollection("a", {}))
    again = applied(CreateCollection("a", {}), DeleteCollection("a"), CreateCollection("a", {}))
    assert topology.collections["a"].folder != again.collections["a"].folder


def test_commands_on_a_missing_collection_are_rejected():
    for command in (
        DeleteCollection("a"),
        UpdateCollection("a", {}, {}),
        CreateFieldIndex("a", "f", "keyword"),
        DropFieldIndex("a", "f"),
    ):
        after, rejected = apply_command(Topology(), command)
        assert rejected is Rejected.MISSING
        assert after.collections == {}
        assert after.index == 1


def test_settings_that_changed_meanwhile_are_not_overwritten():
    topology = applied(CreateCollection("a", {"x": 1}), UpdateCollection("a", {"x": 1}, {"x": 2}))
    _, rejected = apply_command(topology, UpdateCollection("a", {"x": 1}, {"x": 3}))
    assert rejected is Rejected.OUTDATED


def test_payload_indexes_come_and_go():
    topology = applied(
        CreateCollection("a", {}),
        CreateFieldIndex("a", "f", "keyword"),
        CreateFieldIndex("a", "g", {"type": "integer"}),
    )
    assert topology.collections["a"].fields == {"f": "keyword", "g": {"type": "integer"}}
    topology, _ = apply_command(topology, DropFieldIndex("a", "f"))
    assert topology.collections["a"].fields == {"g": {"type": "integer"}}


def test_a_topology_survives_its_bytes():
    topology = applied(CreateCollection("a", {"x": [1, None]}), CreateFieldIndex("a", "f", "keyword"))
    assert Topology.from_bytes(topology.to_bytes()) == topology

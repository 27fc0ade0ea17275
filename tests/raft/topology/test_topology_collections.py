import pytest

from qnode.models.topology import KeyState, ShardKeyEntry, Topology
from qnode.models.topology_commands import (
    ChangeAliases,
    CreateCollection,
    CreateFieldIndex,
    CreateShardKey,
    DeleteCollection,
    DeleteMetadata,
    DropAlias,
    DropFieldIndex,
    DropShardKey,
    PutMetadata,
    RenameAlias,
    SetAlias,
    SetShardKeyState,
    StartTransfer,
    TransferMethod,
    UpdateCollection,
)
from qnode.raft.topology import Reason
from tests.raft.topology.common import CUSTOM, applied, peers, refused, with_keys

HERE = ((0,),)


def test_a_second_collection_of_the_same_name_is_rejected():
    topology = applied(Topology(), CreateCollection("a", {"x": 1}, HERE))
    assert refused(topology, CreateCollection("a", {"x": 2}, HERE)) == (
        Reason.EXISTS,
        "Collection `a` already exists!",
    )


def test_a_collection_made_again_has_another_folder_and_no_epoch_of_the_first():
    first = applied(Topology(), CreateCollection("a", {}, HERE))
    again = applied(first, DeleteCollection("a"), CreateCollection("a", {}, HERE))
    assert first.collections["a"].folder != again.collections["a"].folder
    assert again.collections["a"].shards[0].epoch > first.collections["a"].shards[0].epoch


@pytest.mark.parametrize(
    "command",
    [
        DeleteCollection("a"),
        UpdateCollection("a", {}, {}),
        CreateFieldIndex("a", "f", "keyword"),
        DropFieldIndex("a", "f"),
        CreateShardKey("a", "k", HERE),
        DropShardKey("a", "k"),
        ChangeAliases((SetAlias("x", "a"),)),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command_on_a_missing_collection_is_rejected(command):
    assert refused(Topology(), command) == (Reason.MISSING, "Collection `a` doesn't exist!")


def test_settings_that_changed_meanwhile_are_not_overwritten():
    topology = applied(Topology(), CreateCollection("a", {"x": 1}, HERE), UpdateCollection("a", {"x": 1}, {"x": 2}))
    assert refused(topology, UpdateCollection("a", {"x": 1}, {"x": 3}))[0] is Reason.OUTDATED


@pytest.mark.parametrize("placement", [(), ((),), ((1, 1),), ((1, 9),)])
def test_a_placement_that_cannot_be_is_refused(placement):
    assert refused(peers(2), CreateCollection("a", {}, placement))[0] is Reason.REFUSED


@pytest.mark.parametrize(
    "params", ["x", {"sharding_method": "other"}, {"replication_factor": "x"}, {"write_consistency_factor": -1}]
)
def test_settings_that_cannot_be_read_are_refused(params):
    command = CreateCollection("a", {"params": params}, HERE)
    unreadable = (Reason.REFUSED, "the settings of the collection cannot be read")
    assert refused(Topology(), command) == unreadable
    topology = applied(Topology(), CreateCollection("a", {}, HERE))
    assert refused(topology, UpdateCollection("a", {}, command.config)) == unreadable


def test_payload_indexes_come_and_go():
    topology = applied(
        Topology(),
        CreateCollection("a", {}, HERE),
        CreateFieldIndex("a", "f", "keyword"),
        CreateFieldIndex("a", "g", {"type": "integer"}),
    )
    assert topology.collections["a"].fields == {"f": "keyword", "g": {"type": "integer"}}
    assert applied(topology, DropFieldIndex("a", "f")).collections["a"].fields == {"g": {"type": "integer"}}


def test_aliases_are_changed_in_order():
    topology = applied(Topology(), CreateCollection("a", {}, HERE), CreateCollection("b", {}, HERE))
    topology = applied(topology, ChangeAliases((SetAlias("x", "a"), SetAlias("x", "b"), RenameAlias("x", "y"))))
    assert topology.aliases == {"y": "b"}
    assert topology.collection_named("y") == "b"
    assert topology.collection_named("x") is None
    assert (
        applied(
            topology,
            ChangeAliases(
                (
                    DropAlias("y"),
                    DropAlias("never"),
                )
            ),
        ).aliases
        == {}
    )


def test_aliases_are_changed_together_or_not_at_all():
    topology = applied(Topology(), CreateCollection("a", {}, HERE), ChangeAliases((SetAlias("x", "a"),)))
    command = ChangeAliases((DropAlias("x"), RenameAlias("never", "y")))
    assert refused(topology, command) == (Reason.MISSING, "Alias never does not exists!")


def test_names_of_collections_and_aliases_are_one_space():
    topology = applied(Topology(), CreateCollection("a", {}, HERE), ChangeAliases((SetAlias("x", "a"),)))
    taken = (Reason.EXISTS, "Collection `a` already exists!")
    assert refused(topology, ChangeAliases((SetAlias("a", "a"),))) == taken
    assert refused(topology, ChangeAliases((RenameAlias("x", "a"),))) == taken
    assert refused(topology, CreateCollection("x", {}, HERE)) == (
        Reason.REFUSED,
        "Can't create collection with name x. Alias with the same name already exists",
    )


def test_a_deleted_collection_takes_its_aliases_along():
    topology = applied(Topology(), CreateCollection("a", {}, HERE), CreateCollection("b", {}, HERE))
    topology = applied(topology, ChangeAliases((SetAlias("x", "a"), SetAlias("y", "b"))), DeleteCollection("a"))
    assert topology.aliases == {"y": "b"}


def test_a_custom_collection_starts_without_shards_and_counts_them_from_one():
    topology = applied(peers(3), CreateCollection("c", CUSTOM, ()))
    assert topology.collections["c"].shards == {}
    topology = applied(topology, CreateShardKey("c", "k", ((1,), (2,))))
    assert list(topology.collections["c"].shards) == [1, 2]
    assert topology.collections["c"].keys == {"k": ShardKeyEntry((1, 2))}


def test_numbers_of_dropped_shards_are_not_given_again():
    topology = applied(with_keys("a"), DropShardKey("c", "a"), CreateShardKey("c", "a", ((1,),)))
    assert list(topology.collections["c"].shards) == [3]


def test_a_number_and_the_same_digits_as_text_are_two_keys():
    topology = with_keys(5, "5")
    assert topology.collections["c"].keys[5].shards == (1, 2)
    assert topology.collections["c"].keys["5"].shards == (3, 4)
    assert list(applied(topology, DropShardKey("c", 5)).collections["c"].keys) == ["5"]


def test_transfers_end_with_the_key_that_they_belong_to():
    topology = applied(with_keys("a", "b"), StartTransfer("c", 1, 1, 3, TransferMethod.SNAPSHOT, sync=True))
    assert len(applied(topology, DropShardKey("c", "b")).collections["c"].transfers) == 1
    assert applied(topology, DropShardKey("c", "a")).collections["c"].transfers == ()


def test_shard_keys_are_refused_in_known_words():
    auto = applied(peers(1), CreateCollection("c", {}, ((1,),)))
    for topology, command, text in (
        (auto, CreateShardKey("c", "k", ((1,),)), "Shard Key cannot be created with Auto sharding method"),
        (with_keys("k"), CreateShardKey("c", "k", ((1,),)), 'Sharding key "k" already exists for collection c'),
        (with_keys(5), CreateShardKey("c", 5, ((1,),)), "Sharding key 5 already exists for collection c"),
        (with_keys(), DropShardKey("c", "k"), 'Sharding key "k" does not exist for collection c'),
        (with_keys(), CreateShardKey("c", "k", ((9,),)), "Peer 9 does not exist"),
        (with_keys(), CreateShardKey("c", "k", ((1,),), peers=(1, 9)), "Peer 9 does not exist"),
    ):
        assert refused(topology, command) == (Reason.REFUSED, text)
    assert refused(with_keys(), CreateShardKey("c", "k", ()))[1].startswith(
        'Sharding key "k" placement cannot be empty. '
    )


def test_a_key_may_have_a_replication_factor_of_its_own():
    config = {"params": {"sharding_method": "custom", "replication_factor": 2}}
    topology = applied(peers(3), CreateCollection("c", config, ()))
    topology = applied(topology, CreateShardKey("c", "a", ((1,),)), CreateShardKey("c", "b", ((1,),), 3))
    assert [topology.collections["c"].replication_factor_of(number) for number in (1, 2)] == [2, 3]


def test_a_key_is_filled_in_steps_that_do_not_go_back():
    topology = applied(with_keys(), CreateShardKey("c", "k", ((1,),), state=KeyState.PARTIAL))
    topology = applied(topology, SetShardKeyState("c", "k", KeyState.PARTIAL, KeyState.ACTIVE_READ))
    late = SetShardKeyState("c", "k", KeyState.PARTIAL, KeyState.ACTIVE)
    assert refused(topology, late)[0] is Reason.OUTDATED
    topology = applied(topology, SetShardKeyState("c", "k", KeyState.ACTIVE_READ, KeyState.ACTIVE))
    back = SetShardKeyState("c", "k", KeyState.ACTIVE, KeyState.PARTIAL)
    assert refused(topology, back)[0] is Reason.REFUSED


def test_metadata_keys_come_and_go_and_null_is_none():
    topology = applied(Topology(), PutMetadata("a", {"x": [1]}), PutMetadata("b", 2))
    assert topology.metadata == {"a": {"x": [1]}, "b": 2}
    topology = applied(topology, PutMetadata("a", None), DeleteMetadata("b"), DeleteMetadata("never"))
    assert topology.metadata == {}

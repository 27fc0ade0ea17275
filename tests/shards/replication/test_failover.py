from qnode.shards.replication import ReplicaState, ShardView
from qnode.shards.replication.failover import LogEnd, candidates, choose_primary

ACTIVE, PARTIAL, DEAD = ReplicaState.ACTIVE, ReplicaState.PARTIAL, ReplicaState.DEAD


def view(epoch: int = 4, primary: int | None = 1, **states: ReplicaState) -> ShardView:
    return ShardView(primary, epoch, 9, {int(name[1:]): state for name, state in states.items()})


def test_only_other_in_sync_replicas_are_candidates() -> None:
    assert candidates(view(p1=ACTIVE, p2=ACTIVE, p3=PARTIAL, p4=DEAD)) == {2}


def test_the_longest_log_is_chosen_and_a_later_epoch_is_longer() -> None:
    shard = view(p1=ACTIVE, p2=ACTIVE, p3=ACTIVE, p4=ACTIVE)
    ends = {2: LogEnd(3, 90), 3: LogEnd(4, 80), 4: LogEnd(4, 79)}
    assert choose_primary(shard, ends) == 3


def test_one_that_is_not_in_sync_is_not_chosen_whatever_it_holds() -> None:
    shard = view(p1=ACTIVE, p2=ACTIVE, p3=PARTIAL)
    assert choose_primary(shard, {2: LogEnd(3, 1), 3: LogEnd(4, 99), 1: LogEnd(4, 99)}) == 2


def test_a_shard_waits_when_no_candidate_answers() -> None:
    assert choose_primary(view(p1=ACTIVE, p2=ACTIVE, p3=PARTIAL), {3: LogEnd(4, 99)}) is None
    assert choose_primary(view(p1=ACTIVE), {}) is None


def test_equal_logs_are_shared_out_by_the_epoch() -> None:
    ends = {2: LogEnd(3, 5), 3: LogEnd(3, 5)}
    chosen = {choose_primary(view(epoch, p1=ACTIVE, p2=ACTIVE, p3=ACTIVE), ends) for epoch in (4, 5)}
    assert chosen == {2, 3}

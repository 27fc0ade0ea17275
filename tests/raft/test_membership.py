from qnode.raft.membership import Membership, MembershipChange


def test_a_removed_incarnation_never_comes_back_and_another_one_may():
    membership = Membership({1: 10, 2: 20}).changed(MembershipChange("remove", 2, 20))
    assert membership == Membership({1: 10}, frozenset({20}))
    assert membership.changed(MembershipChange("add", 2, 20)) == membership
    assert membership.changed(MembershipChange("add", 2, 21)).voters == {1: 10, 2: 21}


def test_a_voter_is_not_exchanged_for_another_journal():
    membership = Membership({1: 10})
    assert membership.changed(MembershipChange("add", 1, 11)) == membership
    assert membership.changed(MembershipChange("remove", 1, 11)) == membership


def test_who_comes_under_a_voters_id_with_another_journal_is_an_impostor():
    membership = Membership({1: 10}, frozenset({20}))
    assert membership.is_impostor(1, 11)
    assert membership.is_impostor(2, 20)
    assert not membership.is_impostor(1, 10)
    assert not membership.is_impostor(2, 21)


def test_a_membership_is_read_as_it_was_written():
    membership = Membership({2: 20, 1: 10}, frozenset({5, 3}))
    assert Membership.from_plain(membership.to_plain()) == membership

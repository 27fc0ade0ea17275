"""Pairs are put into a new LMDB file in their order, however many commits that takes."""

from itertools import count
from pathlib import Path

import pytest

from qnode.index import refilling
from qnode.index.refilling import fill, new_environment


def test_all_pairs_of_several_commits_are_there_duplicates_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refilling, "PAIRS_A_COMMIT", 10)
    pairs = [(b"key%03d" % (number // 4), (number % 4).to_bytes(4, "little")) for number in range(100)]
    with new_environment(tmp_path) as made:
        assert fill(made, "postings", pairs) == (100, 100)
        assert fill(made, "free", []) == (0, 0)
        with made.begin(db=made.open_db(b"postings", create=False)) as txn, txn.cursor() as cursor:
            assert list(cursor.iternext()) == pairs


def test_pairs_without_an_end_that_do_not_ascend_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refilling, "PAIRS_A_COMMIT", 10)
    endless = ((b"%03d" % (number % 25), b"") for number in count())
    with new_environment(tmp_path) as made:
        taken, fresh = fill(made, "dead", endless)
    assert fresh == 25 < taken <= 40

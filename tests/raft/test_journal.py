from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from qnode.errors import Corruption
from qnode.raft.commands import NO_OPERATION, encode_regular
from qnode.raft.journal import Changes, Journal
from qnode.raft.journal_store import LmdbJournalStore
from qnode.raft.membership import Membership
from qnode.raft.snapshot import Snapshot

INCARNATION = 7


def opened(path: Path) -> Journal:
    return Journal(LmdbJournalStore(path), INCARNATION)


def filled(path: Path, last: int = 6) -> Journal:
    journal = opened(path)
    journal.setCurrentTerm(3, 2)
    for index in range(1, last + 1):
        journal.add(NO_OPERATION, index, 0 if index == 1 else 3)
    return journal


class CountingStore(LmdbJournalStore):
    commits = 0

    def commit(self, changes: Changes) -> None:
        self.commits += 1
        super().commit(changes)


def test_what_was_flushed_is_there_after_reopening(tmp_path: Path):
    journal = filled(tmp_path)
    journal.setRaftCommitIndex(4)
    journal.flush()
    journal.close()
    again = Journal(LmdbJournalStore(tmp_path), INCARNATION + 1)
    assert [index for _, index, _ in again[:]] == [1, 2, 3, 4, 5, 6]
    assert (again.getCurrentTerm(), again.getVotedForNodeId(), again.getRaftCommitIndex()) == (3, 2, 4)
    assert again.incarnation == INCARNATION
    again.close()


def test_what_was_not_flushed_is_forgotten_as_a_whole(tmp_path: Path):
    journal = filled(tmp_path)
    journal.flush()
    journal.deleteEntriesFrom(3)
    journal.setCurrentTerm(4, 1)
    journal.close()
    again = opened(tmp_path)
    assert (len(again), again.getCurrentTerm()) == (6, 3)
    again.close()


def test_all_changes_of_a_tick_are_one_transaction_and_no_change_is_none(tmp_path: Path):
    store = CountingStore(tmp_path)
    journal = Journal(store, INCARNATION)
    journal.setCurrentTerm(1, 5)
    for index in range(1, 50):
        journal.add(NO_OPERATION, index, 1)
    journal.flush()
    journal.flush()
    assert store.commits == 1
    journal.close()


def test_a_truncated_and_rewritten_end_is_what_is_found(tmp_path: Path):
    journal = filled(tmp_path)
    journal.flush()
    journal.deleteEntriesFrom(2)
    journal.add(encode_regular(bytes(16), b"other"), 3, 4)
    journal.flush()
    journal.close()
    again = opened(tmp_path)
    assert [(index, term) for _, index, term in again[:]] == [(1, 0), (2, 3), (3, 4)]
    again.close()


def test_a_snapshot_and_the_cutting_off_are_one_step(tmp_path: Path):
    store = CountingStore(tmp_path)
    journal = Journal(store, INCARNATION)
    for index in range(1, 7):
        journal.add(NO_OPERATION, index, 1)
    journal.setRaftCommitIndex(6)
    journal.flush()
    journal.compact(Snapshot(5, 1, Membership({1: 9}), (bytes(16),), b"state"), first_index=4)
    journal.flush()
    assert store.commits == 2
    journal.close()
    again = opened(tmp_path)
    assert [index for _, index, _ in again[:]] == [4, 5, 6]
    assert again.snapshot == Snapshot(5, 1, Membership({1: 9}), (bytes(16),), b"state")
    again.close()


def test_an_installed_snapshot_replaces_the_whole_log(tmp_path: Path):
    journal = filled(tmp_path)
    journal.flush()
    journal.install(Snapshot(40, 9, Membership({1: 9}), (), b"state"))
    journal.flush()
    journal.close()
    again = opened(tmp_path)
    assert [(index, term) for _, index, term in again[:]] == [(40, 9)]
    assert (again.getRaftCommitIndex(), again.getCurrentTerm(), again.getVotedForNodeId()) == (40, 9, None)
    again.close()


def test_a_second_vote_in_a_term_is_refused(tmp_path: Path):
    journal = filled(tmp_path)
    with pytest.raises(AssertionError):
        journal.setCurrentTerm(3, 1)
    journal.close()


@pytest.mark.parametrize("needle", [b"needle", b"hard-needle"])
def test_a_flipped_byte_is_detected_and_named(tmp_path: Path, needle: bytes):
    journal = filled(tmp_path)
    journal.setRaftCommitIndex(6)
    journal.add(encode_regular(bytes(16), b"needle"), 7, 3)
    journal.compact(Snapshot(5, 3, Membership({1: 9}), (), b"hard-needle"), first_index=4)
    journal.flush()
    journal.close()
    file = tmp_path / "data.mdb"
    content = bytearray(file.read_bytes())
    places = [at for at in range(len(content)) if content[at : at + len(needle)] == needle]
    assert places
    for at in places:
        content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(Corruption, match=r"data\.mdb is damaged"):
        opened(tmp_path)


@contextmanager
def entries_written(path: Path) -> Iterator[tuple[Any, Any]]:
    """Fill a journal, and give a transaction on what it has stored, and where its entries are."""
    journal = filled(path)
    journal.flush()
    journal.close()
    with lmdb.open(str(path), max_dbs=2) as env:
        entries = env.open_db(b"entries")
        with env.begin(write=True) as txn:
            yield txn, entries


def test_a_missing_entry_is_detected(tmp_path: Path):
    with entries_written(tmp_path) as (txn, entries):
        assert txn.delete((4).to_bytes(8, "big"), db=entries)
    with pytest.raises(Corruption, match="entries are missing"):
        opened(tmp_path)


def test_an_entry_in_anothers_place_is_detected(tmp_path: Path):
    with entries_written(tmp_path) as (txn, entries):
        txn.put((4).to_bytes(8, "big"), txn.get((5).to_bytes(8, "big"), db=entries), db=entries)
    with pytest.raises(Corruption, match="checksum of entry 4"):
        opened(tmp_path)

import numpy as np
import pytest

from qnode.index.records import (
    HEAD_BYTES,
    ids_in,
    key_in,
    new_records,
    op_in,
    read_records,
    to_values,
    version_in,
    versions_in,
)
from qnode.models.point_id import id_of, key_of

UUID = "11111111-2222-3333-4444-555555555555"


def heads_of(ids):
    return b"".join(value[:HEAD_BYTES] for value in to_values(new_records([key_of(i) for i in ids], 2**40, 2)))


@pytest.mark.parametrize("ids", [[], [0], [1, 2**64 - 1, 256], [UUID], [3, UUID, 0]])
def test_heads_tell_ids_and_versions(ids):
    assert ids_in(heads_of(ids)) == ids
    assert versions_in(heads_of(ids)) == [2**40] * len(ids)


def test_a_record_that_is_shorter_than_the_slots_has_no_vectors_there():
    (value,) = to_values(new_records([key_of(UUID)], 7, 1))
    assert (id_of(key_in(value)), version_in(value), op_in(value, 0), op_in(value, 3)) == (UUID, 7, 0, 0)
    assert read_records([value], 4)["ops"].tolist() == np.zeros((1, 4), np.uint64).tolist()

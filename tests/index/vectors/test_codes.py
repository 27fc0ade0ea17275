"""int8 codes: the nearest whole numbers within the limit, and bounds that are never too small."""

import numpy as np
import pytest

from qnode.index.vectors import codes

SIZES = (1, 15, 16, 17, 31, 33, 48, 100, 384)


def rows_of(size: int) -> np.ndarray:
    generator = np.random.default_rng(size)
    rows = (generator.standard_t(2, (20, size)) * 10).astype(np.float32)
    rows[3] = 0
    rows[4] = 1e-30
    rows[5] = np.arange(size) - size / 2  # many in the middle between two codes
    return rows


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [0.0, 2.5])
def test_a_code_is_the_nearest_whole_number_within_the_limit(size, limit):
    rows = rows_of(size)
    found, bounds = codes.to_int8(rows, limit)
    largest = np.full(len(rows), limit, np.float32) if limit else np.abs(rows).max(axis=1)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    inverse = np.float32(1) / scale
    expected = np.rint(np.clip(rows * inverse[:, None], -127, 127))
    assert bounds[:, 0].tolist() == scale.tolist()
    assert found[:, :size].tolist() == expected.tolist()
    assert not found[:, size:].any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [0.0, 2.5])
def test_what_a_code_misses_is_told_closely_and_never_too_small(size, limit):
    rows = rows_of(size)
    found, bounds = codes.to_int8(rows, limit)
    told = found[:, :size].astype(np.float64) * bounds[:, :1].astype(np.float64)
    missed = np.linalg.norm(rows - told, axis=1)
    assert (bounds[:, 1] >= missed).all()
    assert bounds[:, 1] == pytest.approx(missed, rel=2e-6)
    assert bounds[:, 2] == pytest.approx(np.linalg.norm(rows.astype(np.float64), axis=1), rel=1e-6)


def test_a_row_with_numbers_that_are_infinite_spoils_no_other():
    rows = rows_of(100)
    alone = codes.to_int8(rows[1:], 0.0)
    rows[0, 7] = np.inf
    found, bounds = codes.to_int8(rows, 0.0)
    assert (found[1:] == alone[0]).all()
    assert (bounds[1:] == alone[1]).all()
    assert not np.isfinite(bounds[0, 1])

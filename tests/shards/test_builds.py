import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qnode.index import Index, maintenance
from qnode.models.operation import Upsert, VectorColumn
from qnode.models.point_id import key_of
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from qnode.shards.builds import BuildLog

ROWS, DIM = 400, 8
PARAMS = IndexParams((VectorParams("", 0, DIM, Distance.DOT),), indexing_threshold_kb=10)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path / "shard", PARAMS)
    column = VectorColumn(np.arange(ROWS, dtype=np.int32), np.ones((ROWS, DIM), np.float32))
    opened.apply([(1, Upsert([key_of(number) for number in range(ROWS)], [b"{}"] * ROWS, {"": column}))])
    yield opened
    opened.close()


def test_a_build_is_due_then_runs_then_is_remembered(index: Index) -> None:
    log = BuildLog(index.path)
    (purpose, segments), *more = log.outlook(index).queued
    assert (purpose, [segment.points for segment in segments], more) == ("indexing", [ROWS], [])
    assert log.outlook(index).idle == ()
    build = maintenance.begin_build(index)
    assert build is not None
    with log.recorded(build):
        assert log.running is not None
        assert (log.running.purpose, log.running.segments, log.running.finished_at) == ("indexing", segments, None)
        assert log.outlook(index).queued == log.outlook(index).idle == ()
        remembered = log.running
    assert log.running is None
    assert list(log.finished) == [remembered]
    assert remembered.finished_at is not None
    assert remembered.finished_at >= remembered.started_at
    assert remembered.fault is None
    assert not remembered.was_cancelled


def test_how_a_build_failed_is_remembered(index: Index) -> None:
    log = BuildLog(index.path)
    build = maintenance.begin_build(index)
    assert build is not None
    with pytest.raises(OSError, match="no room"), log.recorded(build):
        raise OSError("no room")
    with pytest.raises(asyncio.CancelledError), log.recorded(build):
        raise asyncio.CancelledError
    cancelled, failed = log.finished
    assert (failed.fault, failed.was_cancelled) == ("no room", False)
    assert (cancelled.fault, cancelled.was_cancelled) == (None, True)
    assert log.outlook(index).queued[0][0] == "indexing"

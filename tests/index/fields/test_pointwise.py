import numpy as np
import pytest
from indexed_points import Shard

from qnode import deadline
from qnode.errors import TimedOut
from qnode.index.fields import Filtering, evaluation, payload_scan, pointwise
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import FieldCondition, Filter, HasId, HasVector, MatchValue, Range
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of

POINTS = 50


@pytest.fixture
def shard(tmp_path):
    made = Shard(tmp_path)
    made.write({number: {"n": number} for number in range(POINTS)})
    yield made
    made.close()


def narrow(low):
    return FieldCondition(parse_path("n"), range=Range(gte=float(low), lt=low + 0.5))


MANY = Filter(should=tuple(narrow(low / 10) for low in range(10 * POINTS)))


def test_a_filter_of_many_open_conditions_selects_what_each_of_them_does(shard):
    assert len(MANY.should) > evaluation.MOST_SCANNED
    assert shard.select(MANY) == list(range(POINTS)) == shard.brute_force(MANY)
    others = Filter(must=(MANY, HasVector("")), must_not=(HasId(frozenset([key_of(1007)])),))
    assert shard.select(others) == shard.brute_force(others) == [n for n in range(POINTS) if n != 7]


def test_conditions_whose_masks_find_no_room_are_evaluated_on_payloads(shard, monkeypatch):
    shard.create("n", FieldSchema("integer"))
    monkeypatch.setattr(evaluation, "MASKS_BYTES", 10 * POINTS)
    assert shard.select(MANY) == list(range(POINTS))


def test_alternatives_on_one_field_are_one_condition(shard, monkeypatch):
    asked = []
    scan = payload_scan.scan
    monkeypatch.setattr(evaluation, "scan", lambda *given: asked.append(len(given[2])) or scan(*given))
    chosen = Filter(should=tuple(FieldCondition(parse_path("n"), MatchValue(n)) for n in range(30, 1000)))
    assert shard.select(chosen) == list(range(30, POINTS))
    assert asked == [1]


@pytest.mark.parametrize("chosen", [MANY, Filter(must=(narrow(3), narrow(4)))], ids=["many", "few"])
def test_an_evaluation_ends_when_the_time_is_up(shard, chosen):
    with deadline.within(-1), pytest.raises(TimedOut):
        shard.select(chosen)
    assert shard.select(chosen) == shard.brute_force(chosen)


@pytest.mark.parametrize(("module", "name", "chosen"), [
    (pointwise, "PIECE_POINTS", MANY),
    (payload_scan, "CHUNK_POINTS", Filter(must=(narrow(3), narrow(4)))),
])  # fmt: skip
def test_the_deadline_is_looked_at_between_pieces_of_points(shard, monkeypatch, module, name, chosen):
    monkeypatch.setattr(module, name, 10)
    checks = []
    monkeypatch.setattr(module.deadline, "check", lambda: checks.append(1))
    with shard.env.begin() as txn:
        Filtering(shard.fields).select(txn, shard.points, chosen)
    conditions = len(chosen.should) + len(chosen.must)
    assert len(checks) == conditions + POINTS // 10


def test_a_piece_has_fewer_points_when_there_are_more_conditions(shard, monkeypatch):
    monkeypatch.setattr(pointwise, "PIECE_CHECKS", len(MANY.should))
    checks = []
    monkeypatch.setattr(deadline, "check", lambda: checks.append(1))
    with shard.env.begin() as txn:
        pointwise.judge(txn, shard.points, MANY, np.arange(20, dtype=np.uint32))
    assert len(checks) == 20

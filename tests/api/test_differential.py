"""The same calls of the client library, to a node and to the library's own local mode: the same answers.

Local mode is a second reading of Qdrant's rules, not ours; where the calls steer clear of a difference, `tests/differential` says why.
`QNODE_TEST_SEED` repeats a run; `python -m tests.differential --sequences 2000` is a longer one.
"""

import os
import random
from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient

from tests.differential.answers import same
from tests.differential.sequence import Sequence
from tests.support.node import Node

SEQUENCES, STEPS = 8, 40
SEED = os.environ.get("QNODE_TEST_SEED", str(random.randrange(2**32)))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantClient]:
    with Node(tmp_path_factory.mktemp("differential")) as running:
        client = QdrantClient(running.address, timeout=60)
        yield client
        client.close()


@pytest.mark.parametrize("at", range(SEQUENCES))
def test_a_node_answers_as_local_mode_does(node: QdrantClient, at: int) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    Sequence(node, f"{SEED} {at}").run(STEPS)


def hits(*scored: tuple[int, float]) -> list[dict[str, object]]:
    return [{"id": point, "score": score} for point, score in scored]


def test_equal_scores_may_stand_in_any_order_and_no_others() -> None:
    assert same(hits((1, 2.0), (2, 1.0), (3, 1.0)), hits((1, 2.0), (3, 1.0), (2, 1.0)))
    assert same(hits((1, 2.0), (2, 1.0)), hits((1, 2.0), (3, 1.0)))
    assert not same(hits((1, 2.0), (2, 1.0)), hits((2, 2.0), (1, 1.0)))
    assert not same(hits((1, 3.0), (2, 2.0), (4, 1.0)), hits((1, 3.0), (3, 2.0), (4, 1.0)))
    assert not same(hits((1, 2.0)), hits((1, 2.0), (2, 1.0)))

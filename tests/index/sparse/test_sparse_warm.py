"""The kernels of sparse vectors are ready when a node says that it is: no search waits for a compiler after that."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import pathlib, sys
import numpy as np
from qnode.index import Index, reading
from qnode.index.sparse import kernel
from qnode.index.vectors import warm_up
from qnode.models.columns import column_of
from qnode.models.filter import Filter, HasId
from qnode.models.operation import Upsert
from qnode.models.point_id import key_of
from qnode.models.query import Examples, ExamplesKind, Nearest, QueryRequest, SparseVector
from qnode.models.vector_params import IndexParams, SparseParams

warm_up()
names = [name for name in vars(kernel) if hasattr(getattr(kernel, name), "signatures") and name != "scatter"]
before = {name: list(getattr(kernel, name).signatures) for name in names}
names = [name for name in names if before[name]]  # others are called by kernels alone
assert {"score_rows", "search_rows", "search_postings", "add_postings", "count_wanted", "take_best"} <= set(names), names

index = Index.open(pathlib.Path(sys.argv[1]), IndexParams((), sparse=(SparseParams("s", 0),)))
keys = [key_of(number) for number in range(300)]
vectors = [SparseVector(np.array([1, 5], np.uint32), np.array([1, number], np.float32)) for number in range(300)]
column = column_of(np.arange(300, dtype=np.int32), vectors)
index.apply([(1, Upsert(keys, [b"{}"] * 300, {"s": column}))])
for writeable in (True, False):
    query = SparseVector(np.array([5], np.uint32), np.array([1], np.float32))
    query.indices.flags.writeable = query.values.flags.writeable = writeable
    several = Examples(ExamplesKind.BEST_SCORE, positive=(query, query))
    for asked in (Nearest(query), several):
        for chosen in (None, Filter(must=(HasId(frozenset(keys[:3])),))):
            request = QueryRequest(asked, "s", chosen)
            assert len(reading.search(index, request, request.target)) == (3 if chosen else 10)
index.close()
for name in names:
    assert list(getattr(kernel, name).signatures) == before[name], (name, getattr(kernel, name).signatures)
"""


def test_no_search_compiles_a_kernel_after_warming_up(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "shard")], check=True)

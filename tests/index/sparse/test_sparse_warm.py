"""The kernels of sparse vectors are ready when a node says that it is."""

import os
import subprocess
import sys

PROGRAM = """
from qnode.index.sparse import kernel
from qnode.index.vectors import warm_up
warm_up()
for name in ("score_rows", "search_rows", "search_postings", "add_postings", "count_wanted", "take_best", "ascend_within"):
    assert getattr(kernel, name).signatures, name
"""


def test_warming_up_compiles_what_searches_of_sparse_vectors_need() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=os.environ)

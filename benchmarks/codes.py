"""What codes find by themselves: product quantization beside the codes that stand in its place.

    python -m benchmarks.codes --data FOLDER [--points 20000]

For each compression, the share of the true best 10 among the best 10 and the best 30 that codes alone find in a scan; the 30 are about
what a search compares exactly afterwards. Codes of components are compared with queries that are encoded in the same way,
centroids with exact queries, as each is in a search.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faiss
import numpy as np

from benchmarks import data
from benchmarks.data import TOP, Dataset, Floats
from qnode.index.vectors.codes import MIDDLE, USER_QUANTILE, limit_of

COMPRESSIONS = {"x8": 2, "x16": 4, "x32": 8, "x64": 16}
"""Components that share one of 256 centroids. Of x4 each has its own: these are codes of 8 bits."""
QUERIES, TRAINED, ROUNDS, FEW, MANY = 200, 10_000, 8, TOP, 3 * TOP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--points", type=int, default=20_000)
    options = parser.parse_args()
    whole = data.real(options.data)
    vectors, queries = whole.vectors[: options.points], whole.queries[:QUERIES]
    truth = _best(queries @ vectors.T, TOP)
    dataset = Dataset(f"{len(vectors)} of {whole.name}", vectors, queries, truth)
    print(dataset.name)
    for compression, components in COMPRESSIONS.items():
        _show(dataset, f"product {compression}", queries @ _centroids(vectors, components).T)
    step, middle = limit_of(vectors, USER_QUANTILE) / 127, limit_of(vectors, MIDDLE)
    for name, encode in {
        "8 bits": lambda values: np.clip(np.round(values / step), -127, 127),
        "2 bits": lambda values: (values > middle).astype(np.float32) - (values < -middle),
        "1 bit": lambda values: np.where(values > 0, 1, -1).astype(np.float32),
    }.items():
        _show(dataset, name, encode(queries) @ encode(vectors).T)


def _centroids(vectors: Floats, components: int) -> Floats:
    """Give the vectors as product quantization remembers them."""
    quantizer = faiss.IndexPQ(vectors.shape[1], vectors.shape[1] // components, 8, faiss.METRIC_INNER_PRODUCT)
    quantizer.pq.cp.niter = ROUNDS
    quantizer.train(vectors[:TRAINED])
    quantizer.add(vectors)
    remembered: Floats = quantizer.reconstruct_n(0, len(vectors))
    return remembered


def _show(dataset: Dataset, name: str, scores: Floats) -> None:
    few, many = (dataset.recall(list(_best(scores, count))) for count in (FEW, MANY))
    print(f"{name:12} {few:.3f} of the best {TOP} among {FEW}, {many:.3f} among {MANY}")


def _best(scores: Floats, count: int) -> data.Numbers:
    return np.argpartition(-scores, count, axis=1)[:, :count]


if __name__ == "__main__":
    main()

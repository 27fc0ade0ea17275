"""Load 2 000 real texts with their embeddings into a running node, search them, filter them, and print what is found.

    python examples/search_texts.py [--url http://localhost:6333]

It makes the collection `texts` (replacing one of that name) and leaves it there to play with. It needs numpy and httpx,
which come with qnode. `texts/README.md` tells where the data comes from.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

FOLDER = Path(__file__).parent / "texts"
COLLECTION = "/collections/texts"
BATCH_POINTS = 100
BAR_WIDTH = 40
TEXT_WIDTH = 90
SHOWN_POINTS = 4

EVERYTHING: dict[str, Any] = {}
WORDS = {"must": [{"key": "kind", "match": {"value": "synset"}}]}
PROGRAMS = {"must": [{"key": "tags", "match": {"value": "role::program"}}]}
SMALL_PACKAGES = {
    "must": [{"key": "kind", "match": {"value": "package"}}, {"key": "size", "range": {"lt": 100_000}}],
    "must_not": [{"key": "section", "match": {"any": ["gnu-r", "doc"]}}],
}
SEARCHES = (
    (0, "everything", EVERYTHING),
    (0, "programs only", PROGRAMS),
    (1, "everything", EVERYTHING),
    (2, "everything", EVERYTHING),
    (2, "packages under 100 kB, neither for R nor documentation", SMALL_PACKAGES),
    (3, "everything", EVERYTHING),
    (4, "everything", EVERYTHING),
    (4, "words only", WORDS),
    (5, "everything", EVERYTHING),
)
"""Which of the bundled queries to search with, within what, and the filter that says so."""


def main() -> int:
    """Run the example; give the exit code."""
    parser = argparse.ArgumentParser(description="Load 2 000 real texts into a running node and search them.")
    parser.add_argument("--url", default="http://localhost:6333", help="the node (default http://localhost:6333)")
    url = parser.parse_args().url
    with gzip.open(FOLDER / "payloads.jsonl.gz", "rt", encoding="utf-8") as lines:
        payloads = [json.loads(line) for line in lines]
    vectors = np.load(FOLDER / "vectors.npy").astype(np.float32)
    with (FOLDER / "queries.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    queries = np.load(FOLDER / "queries.npy").astype(np.float32)
    try:
        with httpx.Client(base_url=url, timeout=60) as node:
            load(node, vectors, payloads)
            for number, within, chosen in SEARCHES:
                print(f"\n“{shortened(texts[number])}” – {within} ({count(node, chosen)} points)")
                show_found(search(node, queries[number], chosen))
    except httpx.ConnectError:
        print(f"There is no node at {url}; start one with `qnode`, or name another with --url.", file=sys.stderr)
        return 1
    return 0


def load(
    node: httpx.Client, vectors: np.ndarray[Any, np.dtype[np.float32]], payloads: Sequence[dict[str, Any]]
) -> None:
    """Make the collection, upload everything, index the fields that are filtered by."""
    node.delete(COLLECTION).raise_for_status()
    node.put(COLLECTION, json={"vectors": {"size": vectors.shape[1], "distance": "Cosine"}}).raise_for_status()
    started = time.perf_counter()
    for begin in progress(range(0, len(payloads), BATCH_POINTS), "uploading"):
        batch = slice(begin, begin + BATCH_POINTS)
        points = {
            "ids": list(range(len(payloads)))[batch],
            "vectors": vectors[batch].tolist(),
            "payloads": payloads[batch],
        }
        node.put(f"{COLLECTION}/points", params={"wait": "true"}, json={"batch": points}).raise_for_status()
    for field, schema in (("kind", "keyword"), ("section", "keyword"), ("tags", "keyword"), ("size", "integer")):
        body = {"field_name": field, "field_schema": schema}
        node.put(f"{COLLECTION}/index", params={"wait": "true"}, json=body).raise_for_status()
    print(f"{len(payloads)} points and four payload indexes in {time.perf_counter() - started:.1f} s")


def count(node: httpx.Client, chosen: dict[str, Any]) -> int:
    """Count the points that pass a filter."""
    answer = node.post(f"{COLLECTION}/points/count", json={"filter": chosen}).raise_for_status()
    found: int = answer.json()["result"]["count"]
    return found


def search(
    node: httpx.Client, query: np.ndarray[Any, np.dtype[np.float32]], chosen: dict[str, Any]
) -> list[dict[str, Any]]:
    """Find the nearest texts of those that pass a filter."""
    body = {
        "query": query.tolist(),
        "filter": chosen,
        "limit": SHOWN_POINTS,
        "with_payload": ["name", "section", "text"],
    }
    answer = node.post(f"{COLLECTION}/points/query", json=body).raise_for_status()
    points: list[dict[str, Any]] = answer.json()["result"]["points"]
    return points


def show_found(points: Sequence[dict[str, Any]]) -> None:
    """Print one line a point: score, section, text."""
    for point in points:
        payload = point["payload"]
        text = payload["text"]
        shown = text if text.startswith(payload["name"]) else f"{payload['name']}: {text}"
        print(f"  {point['score']:.3f}  {payload['section']:<13} {shortened(shown)}")


def shortened(text: str) -> str:
    """Cut a text to what fits a line."""
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1].rstrip() + "…"


def progress(steps: Sequence[int], title: str) -> Iterator[int]:
    """Go through the steps, drawing a bar when somebody looks."""
    for done, step in enumerate(steps, 1):
        yield step
        if sys.stdout.isatty():
            filled = BAR_WIDTH * done // len(steps)
            end = "\n" if done == len(steps) else ""
            print(
                f"\r{title} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {100 * done // len(steps)}%",
                end=end,
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())

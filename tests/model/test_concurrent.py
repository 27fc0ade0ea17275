"""The short form with several clients at once. QNODE_TEST_SEED repeats what each of them sends, not how they meet."""

import os
import random
from pathlib import Path

from tests.model.clients import Client, all_points
from tests.model.store import Store
from tests.support.node import Node, wait_for

CLIENTS = 4
STEPS = 60
SETTINGS = {"optimizers_config": {"indexing_threshold": 2, "vacuum_min_vector_number": 100}}


def test_clients_at_once_find_their_points_as_they_left_them_also_after_a_kill(tmp_path: Path) -> None:
    seed = int(os.environ.get("QNODE_TEST_SEED") or random.randrange(2**32))
    print(f"QNODE_TEST_SEED={seed}")
    vectors = {"text": (8, "Cosine"), "image": (4, "Euclid")}
    shown = {name: {"size": size, "distance": distance} for name, (size, distance) in vectors.items()}
    with Node(tmp_path) as node:
        node.ask("PUT", "/collections/c", {"vectors": shown, **SETTINGS})
        node.ask("PUT", "/collections/c/index", {"field_name": "n", "field_schema": "integer"})
        clients = [Client(node, Store("c", vectors, 1), f"{seed} {at}", at) for at in range(CLIENTS)]
        try:
            for is_killed in (True, False):
                wanted = [client.steps + STEPS for client in clients]
                for client in clients:
                    client.start()
                wait_for(lambda wanted=wanted: all(map(has_come_to, clients, wanted)))
                if is_killed:
                    node.kill()
                for client in clients:
                    client.stop()
                if is_killed:
                    node.start()
                check(node, clients)
        finally:
            for client in clients:
                client.stop()
        node.wait_until_green("c")
        check(node, clients)


def has_come_to(client: Client, steps: int) -> bool:
    return client.steps >= steps or client.fault is not None


def check(node: Node, clients: list[Client]) -> None:
    """Every point is someone's, and as it must be; searches and filters see as many."""
    shown = all_points(node, "c")
    assert shown.keys() <= set().union(*(client.touched for client in clients))
    for client in clients:
        client.settle(shown)
    assert node.count("c") == len(shown)
    body = {"filter": {"must_not": [{"is_empty": {"key": "n"}}]}}
    wanted = sum(point["payload"].get("n") not in (None, []) for point in shown.values())
    assert node.ask("POST", "/collections/c/points/count", body)["count"] == wanted

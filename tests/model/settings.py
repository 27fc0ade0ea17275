"""Random settings of a collection, and what a change of them should lead to."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

SCALAR = {"scalar": {"type": "int8", "quantile": 0.99}}
SHOWN_AS = {"optimizers_config": "optimizer_config"}
"""The sections that are shown under another name than they are sent under."""


def random_settings(rng: random.Random) -> Json:
    """Make settings with which segments are sealed, built and rewritten all the time, or never."""
    return {
        "optimizers_config": {"indexing_threshold": rng.choice([1, 2, 5, 10_000]), "vacuum_min_vector_number": 100},
        "hnsw_config": {"m": rng.choice([0, 8, 16, 16])},
    }


def random_change(rng: random.Random) -> Json:
    """Make the body of a PATCH."""
    makers: list[Callable[[], Json]] = [
        lambda: {"optimizers_config": {"indexing_threshold": rng.choice([1, 3, 8, 10_000])}},
        lambda: {"hnsw_config": {"m": rng.choice([0, 8, 16]), "ef_construct": rng.choice([64, 128])}},
        lambda: {"quantization_config": rng.choice([SCALAR, "Disabled"])},
        lambda: {"params": {"on_disk_payload": rng.random() < 0.5}},
        lambda: {"metadata": {rng.choice("ab"): rng.choice([1, "x", {"y": [2]}])}},
    ]
    made: Json = {}
    for make in rng.sample(makers, rng.choice([1, 1, 2, 3])):
        made |= make()
    return made


def after(before: Json, change: Json) -> Json:
    """What a collection's `config` shows after a PATCH."""
    shown = dict(before)
    for section, values in change.items():
        name = SHOWN_AS.get(section, section)
        if section == "quantization_config":
            shown[name] = None if values == "Disabled" else values
        else:
            shown[name] = {**shown.get(name, {}), **values}
    return shown

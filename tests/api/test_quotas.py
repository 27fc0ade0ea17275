"""Quotas over HTTP."""

from pathlib import Path

import orjson
import pytest

from qnode.errors import OutOfSpace
from qnode.models.topology import Topology
from qnode.models.topology_commands import Command, SetQuotas
from qnode.quotas import QuotaConfig, Quotas, Usage
from qnode.raft import StandaloneLog
from qnode.raft.topology import apply_command, topology_from_bytes, topology_to_bytes
from qnode.raft.topology.command_codec import command_from_bytes, command_to_bytes
from tests.api.conftest import Client, serving


def test_quotas_are_shown_with_what_is_in_use(client: Client) -> None:
    shown = client.result("GET", "/quotas")
    assert shown["config"] == {"enabled": False}
    assert 0 <= shown["usage"]["disk_usage_percent"] <= 100
    assert 0 <= shown["usage"]["resident_memory_percent"] <= 100


def test_a_node_over_its_quota_refuses_what_needs_space_and_nothing_else(client: Client) -> None:
    client.result("PUT", "/collections/q", {"vectors": {"size": 1, "distance": "Dot"}})
    point = {"points": [{"id": 1, "vector": [1.0]}]}
    client.result("PUT", "/quotas?wait=true", {"enabled": True, "max_disk_usage_percent": 1})
    used = client.result("GET", "/quotas")["usage"]["disk_usage_percent"]
    status, text = client.error("PUT", "/collections/q/points", point)
    assert (status, text) == (507, f"Insufficient storage: the disk quota of 1% is used up ({used}% in use)")
    client.result("POST", "/collections/q/points/delete", {"points": [1]})
    client.result("POST", "/collections/q/points/query", {"query": [1.0]})
    client.result("PUT", "/quotas", {"enabled": False})
    assert client.result("GET", "/quotas")["config"] == {"enabled": False}
    client.result("PUT", "/collections/q/points", point)
    client.result("DELETE", "/collections/q")


@pytest.mark.parametrize("name", ["max_disk_usage_percent", "max_resident_memory_percent"])
def test_quotas_out_of_bounds_are_refused(client: Client, name: str) -> None:
    assert client.error("PUT", "/quotas", {name: 0}) == (
        422, f"Validation error in JSON body: [{name}: value 0 invalid, must be from 1 to 100]",
    )  # fmt: skip


def test_quotas_outlive_the_process(tmp_path: Path) -> None:
    config = {"enabled": False, "max_disk_usage_percent": 90, "release_margin_percent": 0}
    with serving(tmp_path) as client:
        client.result("PUT", "/quotas", config)
    log = StandaloneLog(tmp_path / "raft")
    try:
        assert Quotas(tmp_path, lambda: log.current, log.propose).config.to_json() == config
    finally:
        log.close()


def test_a_topology_of_a_version_without_quotas_has_none() -> None:
    content = orjson.loads(topology_to_bytes(Topology(3, quotas={"enabled": True})))
    assert topology_from_bytes(orjson.dumps(content)).quotas == {"enabled": True}
    del content["quotas"]
    assert topology_from_bytes(orjson.dumps(content)) == Topology(3)


def quotas_of(folder: Path, config: QuotaConfig, used: list[int], now: list[float]) -> Quotas:
    topology, _ = apply_command(Topology(), command_from_bytes(command_to_bytes(SetQuotas(config.to_json()))))
    return Quotas(folder, lambda: topology, refused, lambda _: Usage(used[0], None), lambda: now[0])


async def refused(_: Command) -> object:
    raise AssertionError("nothing is proposed here")


def is_refusing(quotas: Quotas) -> bool:
    try:
        quotas.check()
    except OutOfSpace:
        return True
    return False


def test_what_was_used_up_is_refused_until_the_margin_is_free(tmp_path: Path) -> None:
    used, now = [80], [0.0]
    config = QuotaConfig(True, max_resident_memory_percent=80, release_margin_percent=10)
    quotas = quotas_of(tmp_path, config, used, now)
    for percent, is_refused in ((79, False), (80, True), (75, True), (71, True), (70, False), (79, False)):
        used[0], now[0] = percent, now[0] + 2
        assert is_refusing(quotas) is is_refused


def test_usage_is_measured_once_a_second(tmp_path: Path) -> None:
    used, now = [10], [0.0]
    quotas = quotas_of(tmp_path, QuotaConfig(), used, now)
    assert quotas.usage().resident_memory_percent == 10
    used[0], now[0] = 20, 0.9
    assert quotas.usage().resident_memory_percent == 10
    now[0] = 1.0
    assert quotas.usage().resident_memory_percent == 20

from pathlib import Path
from typing import Any

import pytest

from qnode import config
from qnode.cluster import settings_from
from qnode.cluster.identity import peer_id_of
from qnode.errors import CannotStart, Corruption
from qnode.models.topology import LARGEST_PEER_ID
from qnode.raft import ConsensusSettings

KEY = "a key of more than sixteen bytes"


def configured(tmp_path: Path, **cluster: Any) -> config.Configuration:
    return config.load(None, {"cluster": cluster}, {}, tmp_path)


def test_a_node_listens_at_its_uri_unless_told_otherwise(tmp_path: Path) -> None:
    settings = settings_from(configured(tmp_path, uri="http://127.0.0.1:7000"))
    assert (settings.host, settings.port, settings.bootstrap) == ("127.0.0.1", 7000, None)
    settings = settings_from(configured(tmp_path, uri="http://n1:7000", key=KEY))
    assert (settings.host, settings.port) == ("0.0.0.0", 7000)
    settings = settings_from(configured(tmp_path, uri="http://n1:7000", key=KEY, p2p={"port": 6335, "host": "::"}))
    assert (settings.host, settings.port) == ("::", 6335)


def test_the_built_in_times_are_those_of_consensus_itself(tmp_path: Path) -> None:
    settings = settings_from(configured(tmp_path, uri="http://localhost:7000"))
    assert settings.consensus == ConsensusSettings()
    faster = {"tick_period_ms": 20, "compact_wal_entries": 1}
    settings = settings_from(configured(tmp_path, uri="http://localhost:7000", consensus=faster))
    assert settings.consensus.timing.heartbeat == pytest.approx(0.03)
    assert (settings.consensus.tick_seconds, settings.consensus.compact_after) == (0.01, 1)


def test_peers_may_send_each_other_what_becomes_of_the_largest_request(tmp_path: Path) -> None:
    cluster = {"uri": "http://localhost:7000"}
    usual = settings_from(configured(tmp_path, **cluster)).limits
    raised = settings_from(
        config.load(None, {"cluster": cluster, "service": {"max_request_size_mb": 100}}, {}, tmp_path)
    ).limits
    assert usual.max_message_bytes >= 4 * (32 << 20)
    assert raised.max_message_bytes == 4 * (100 << 20)
    assert raised.max_backlog_bytes >= raised.max_message_bytes


def test_a_node_that_is_its_own_bootstrap_peer_is_the_first(tmp_path: Path) -> None:
    same = configured(tmp_path, uri="http://127.0.0.1:6335", bootstrap="http://127.0.0.1")
    assert settings_from(same).bootstrap is None


def test_an_address_is_guessed_from_the_way_to_the_bootstrap_peer(tmp_path: Path) -> None:
    settings = settings_from(configured(tmp_path, bootstrap="http://127.0.0.1:7001"))
    assert (settings.uri, settings.bootstrap) == ("http://127.0.0.1:6335", "http://127.0.0.1:7001")


@pytest.mark.parametrize(
    ("cluster", "fault"),
    [
        ({"enabled": True}, "set cluster.uri"),
        ({"uri": "http://n1:6335"}, "other machines could reach http://n1:6335, .*: set cluster.key"),
        ({"uri": "http://n1:6335", "key": "short"}, "needs at least 16"),
        ({"uri": "http://n1:0"}, "is not the URI of a peer"),
        ({"uri": "http://localhost", "p2p": {"enable_tls": True}}, "certificates of this peer cannot be used"),
    ],
)
def test_what_is_missing_for_a_safe_start_is_named(tmp_path: Path, cluster: dict[str, Any], fault: str) -> None:
    with pytest.raises(CannotStart, match=fault):
        settings_from(configured(tmp_path, **cluster))


def test_a_node_keeps_its_id_with_its_storage(tmp_path: Path) -> None:
    drawn = peer_id_of(tmp_path / "a", None)
    assert 1 <= drawn <= LARGEST_PEER_ID
    assert peer_id_of(tmp_path / "a", None) == drawn
    assert peer_id_of(tmp_path / "b", 7) == 7
    with pytest.raises(CannotStart, match=r"this storage belongs to peer 7, and cluster\.peer_id is 8"):
        peer_id_of(tmp_path / "b", 8)
    (tmp_path / "b" / "peer_id").write_text("seven")
    with pytest.raises(Corruption, match="peer_id is damaged"):
        peer_id_of(tmp_path / "b", 7)

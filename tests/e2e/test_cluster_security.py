"""Who takes part in a cluster: peers with its certificates or its key, and nobody else."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import ClusterOfProcesses, Member

DIM = 4
KEY = "the key of this cluster"
PATIENCE = {"QNODE__CLUSTER__CONSENSUS__BOOTSTRAP_TIMEOUT_SEC": "2"}
CERTIFICATES = Path(__file__).parent.parent / "channel" / "certificates"


def with_certificates(owner: str) -> dict[str, str]:
    """Settings of a node that shows a certificate of the authority "cluster", if `owner` is one of its peers."""
    return {
        "QNODE__CLUSTER__P2P__ENABLE_TLS": "true",
        "QNODE__TLS__CA_CERT": str(CERTIFICATES / "cluster-authority.pem"),
        "QNODE__TLS__CERT": str(CERTIFICATES / f"{owner}-peer.pem"),
        "QNODE__TLS__KEY": str(CERTIFICATES / f"{owner}-peer.key"),
        **PATIENCE,
    }


def with_key(key: str) -> dict[str, str]:
    return {"QNODE__CLUSTER__KEY": key, **PATIENCE}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    """Two nodes that share a key, and a collection."""
    with ClusterOfProcesses(tmp_path_factory.mktemp("keyed"), nodes=2, environment=with_key(KEY)) as cluster:
        cluster[0].create("c", DIM, replication_factor=2)
        yield cluster


def assert_is_refused(folder: Path, cluster: ClusterOfProcesses, settings: dict[str, str]) -> None:
    """A node with these settings does not become a member, and the cluster takes writes all the while."""
    stranger = Member(folder, cluster[0].uri, settings)
    assert stranger.launch().wait(60) == 1
    assert "could be reached" in stranger.log.read_text()
    assert len(cluster[0].cluster()["peers"]) == len(cluster)
    cluster[1].upsert("c", [{"id": 1, "vector": [1, 0, 0, 1]}])
    assert [member.count("c") for member in cluster] == [1] * len(cluster)


@pytest.mark.parametrize("settings", [with_key("the key of another one"), PATIENCE], ids=["another key", "no key"])
def test_a_node_without_the_key_does_not_join(
    tmp_path: Path, keyed: ClusterOfProcesses, settings: dict[str, str]
) -> None:
    assert_is_refused(tmp_path, keyed, settings)


def test_nodes_with_certificates_form_a_cluster_that_another_authority_s_node_does_not_join(tmp_path: Path) -> None:
    with ClusterOfProcesses(tmp_path, nodes=2, environment=with_certificates("cluster")) as cluster:
        cluster[0].create("c", DIM, replication_factor=2)
        (tmp_path / "stranger").mkdir()
        assert_is_refused(tmp_path / "stranger", cluster, with_certificates("stranger"))


def test_whatever_a_stranger_sends_to_the_port_for_peers_it_is_closed_and_nothing_happens(
    keyed: ClusterOfProcesses,
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    first, second = keyed
    address = urlsplit(first.uri)
    assert address.port is not None
    for sent in (b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(100), rng.randbytes(100_000), b"", b"\x16\x03\x01" * 50):
        with (
            socket.create_connection((address.hostname, address.port), timeout=30) as stranger,
            suppress(ConnectionError),
        ):
            stranger.sendall(sent)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(4096):
                pass
    second.upsert("c", [{"id": 1, "vector": [1, 0, 0, 1]}])
    assert first.count("c") == 1
    assert len(first.cluster()["peers"]) == 2

"""TLS of the REST interface."""

import asyncio
import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from qnode.api.tls import RestCertificate
from qnode.errors import CannotStart
from tests.support.node import Node

FILES = Path(__file__).parents[1] / "channel" / "certificates"


def lay(folder: Path, certificate: str, key: str | None = None) -> None:
    """Put a certificate of these names where the node reads it."""
    shutil.copy(FILES / f"{certificate}-peer.pem", folder / "cert.pem")
    shutil.copy(FILES / f"{key or certificate}-peer.key", folder / "key.pem")


def shown_by(certificate: RestCertificate) -> bytes | None:
    """Give the certificate that a new connection is shown."""

    async def connect() -> bytes | None:
        async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=certificate.context)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        async with server:
            host, port = server.sockets[0].getsockname()
            _, writer = await asyncio.open_connection(host, port, ssl=client)
            shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            await writer.wait_closed()
        return shown

    return asyncio.run(connect())


def der(name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert((FILES / f"{name}-peer.pem").read_text())


def test_a_renewed_certificate_is_taken_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    lay(tmp_path, "cluster")
    certificate = RestCertificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert shown_by(certificate) == der("cluster")
    lay(tmp_path, "stranger", "cluster")
    certificate.follow()
    assert shown_by(certificate) == der("cluster"), "a key that does not fit"
    (tmp_path / "key.pem").unlink()
    certificate.follow()
    assert shown_by(certificate) == der("cluster"), "no key"
    lay(tmp_path, "stranger")
    certificate.follow()
    assert shown_by(certificate) == der("stranger")


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"cert\.pem"):
        RestCertificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    lay(tmp_path, "cluster", "stranger")
    with pytest.raises(CannotStart, match="cannot be used"):
        RestCertificate(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_a_node_speaks_tls_and_wants_its_key(tmp_path: Path) -> None:
    settings = {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__SERVICE__API_KEY": "secret",
        "QDRANT__TLS__CERT": str(FILES / "cluster-peer.pem"),
        "QDRANT__TLS__KEY": str(FILES / "cluster-peer.key"),
    }
    trusted = ssl.create_default_context(cafile=str(FILES / "cluster-authority.pem"))
    with (
        Node(tmp_path, environment=settings) as node,
        httpx.Client(base_url=f"https://127.0.0.1:{node.port}", verify=trusted, trust_env=False) as client,
    ):
        assert client.get("/collections").status_code == 401
        client.headers["api-key"] = "secret"
        body = {"vectors": {"size": 2, "distance": "Dot"}}
        assert client.put("/collections/c", json=body).status_code == 200
        points = {"points": [{"id": 1, "vector": [1.0, 1.0]}]}
        assert client.put("/collections/c/points?wait=true", json=points).status_code == 200
        found = client.post("/collections/c/points/query", json={"query": [1.0, 0.0]})
        assert found.json()["result"]["points"][0]["id"] == 1
        del client.headers["api-key"]
        assert client.post("/collections/c/points/query", json={"query": [1.0, 0.0]}).status_code == 401
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{node.port}/", trust_env=False)

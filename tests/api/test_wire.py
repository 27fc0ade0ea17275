"""A real node at the end of a socket: requests one after the other on a connection, whatever became of the one before."""

import re
import socket
import struct
from collections.abc import Iterator

import orjson
import pytest

from tests.support.node import Node

LIMIT_BYTES = 1 << 20
HEAD = b"Host: node\r\nContent-Type: application/json\r\n"
COUNT = b"/collections/c/points/count"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("wire"), environment={"QNODE__SERVICE__MAX_REQUEST_SIZE_MB": "1"}) as running:
        running.create("c", 2)
        running.upsert("c", [{"id": 1, "vector": [1.0, 1.0]}])
        yield running


def post(body: bytes, path: bytes = COUNT, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (path, HEAD, more, len(body), body)


def chunked(pieces: list[bytes]) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (COUNT, HEAD, framed)


LAST = post(b"{}", more=b"Connection: close\r\n")


def statuses(node: Node, *requests: bytes, piece_bytes: int = 1 << 30) -> list[int]:
    """Send requests on one connection, and one more that asks to close it; give the statuses of the answers."""
    sent = b"".join(requests) + LAST
    with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), piece_bytes):
            connection.sendall(sent[at : at + piece_bytes])
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    assert answer.endswith(b"}")
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def answers_to(node: Node, sent: bytes) -> bytes:
    """Send something, and give all that comes until the node closes the connection."""
    with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def test_a_connection_goes_on_after_errors(node: Node) -> None:
    unknown = b"GET /nowhere HTTP/1.1\r\n%b\r\n" % HEAD
    long_name = post(b"{}", b"/collections/%b/points/count" % (b"x" * 300))
    found = statuses(node, post(b"{"), post(b"{}"), unknown, post(b"{}", b"/collections/d/points"), long_name)
    assert found == [400, 200, 404, 400, 422, 200]


def test_a_connection_goes_on_after_a_body_over_the_limit(node: Node) -> None:
    piece = b" " * (LIMIT_BYTES // 2)
    assert statuses(node, post(4 * piece), post(b"{}")) == [400, 200, 200]
    assert statuses(node, chunked([piece] * 5), chunked([b"{", b"}"])) == [400, 200, 200]
    assert statuses(node, post(8 * piece), post(b"{}")) == [400, 200, 200]


def test_a_body_that_is_declared_huge_is_refused_by_its_head(node: Node) -> None:
    for path in (b"/collections/c/points", b"/collections/d"):
        answer = answers_to(node, b"PUT %b HTTP/1.1\r\n%bContent-Length: 99999999999\r\n\r\n" % (path, HEAD))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nconnection: close\r\n" in answer
        assert b"JSON payload (99999999999 bytes) is larger than allowed (limit: 1048576 bytes)." in answer


def test_a_request_in_many_pieces_is_one_request(node: Node) -> None:
    assert statuses(node, post(b'{"exact":true}'), chunked([b"{}"]), piece_bytes=5) == [200, 200, 200]


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["words", "version", "header", "length", "tls"],
)
def test_what_is_no_http_is_refused_in_the_envelope_and_does_no_harm(node: Node, sent: bytes) -> None:
    head, _, body = answers_to(node, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert {b"content-type: application/json", b"connection: close"} <= set(head.split(b"\r\n"))
    envelope = orjson.loads(body)
    assert list(envelope) == ["status", "time"]
    assert envelope["status"] == {"error": "Bad request: Invalid HTTP request received."}
    assert statuses(node) == [200]


@pytest.mark.parametrize("count", [1, 3])
def test_whole_requests_are_answered_though_garbage_follows(node: Node, count: int) -> None:
    answer = answers_to(node, post(b'{"exact":true}', more=b"Origin: there\r\n") * count + b"GARBAGE\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200"] * count
    assert answer.count(b"connection: close\r\n") == 1
    assert b"Traceback" not in node.log.read_bytes()


def test_a_body_that_breaks_off_in_garbage_is_refused_once(node: Node) -> None:
    answer = answers_to(node, chunked([b"{"]).removesuffix(b"0\r\n\r\n") + b"GARBAGE\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"400"]
    assert statuses(node) == [200]
    assert b"Traceback" not in node.log.read_bytes()


def test_a_client_that_leaves_before_several_answers_does_no_harm(node: Node) -> None:
    write = post(b'{"points":[{"id":1,"vector":[1,1]}]}', b"/collections/c/points?wait=true").replace(
        b"POST", b"PUT", 1
    )
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(write * 5)
        node.upsert("c", [{"id": 1, "vector": [1.0, 1.0]}])
    assert statuses(node) == [200]
    assert b"Traceback" not in node.log.read_bytes()


def test_a_client_that_leaves_before_its_body_is_complete_changes_nothing(node: Node) -> None:
    for request in (
        b"DELETE /collections/c HTTP/1.1\r\n%bContent-Length: 10\r\n\r\n" % HEAD,
        b"DELETE /collections/c HTTP/1.1\r\n%bContent-Length: 10\r\n\r\n{" % HEAD,
        post(b'{"filter":{}}', b"/collections/c/points/delete")[:-1],
    ):
        with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
            connection.sendall(request)
    assert node.wait_for(lambda: node.count("c") == 1)
    assert statuses(node) == [200]

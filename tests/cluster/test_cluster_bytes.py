"""What nodes say of themselves, as bytes: what was written is read, and anything else is refused."""

from dataclasses import replace
from random import Random

import pytest

from qnode.cluster.joining import Introduction
from qnode.cluster.status import PeerStatus
from qnode.errors import BadInput, BadRequest, InternalError

OWN = Introduction(7, (1 << 63) - 1, "http://n7:6335", "seven", "1.0", None)
STATUS = PeerStatus("1.0", "Leader", True, 3, 17, 16, 1, "working", True)


def test_what_a_node_says_of_itself_survives_its_bytes() -> None:
    for said in (OWN, replace(OWN, zone="a", name="é")):
        assert Introduction.from_bytes(said.to_bytes()) == said
    assert PeerStatus.from_bytes(STATUS.to_bytes()) == STATUS


def test_a_later_version_may_say_more_of_its_status() -> None:
    longer = STATUS.to_bytes()[:-1] + b',"more":[1]}'
    assert PeerStatus.from_bytes(longer) == STATUS


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b"null", b'{"peer":1}', OWN.to_bytes().replace(b"7,", b'"7",', 1)]
)
def test_what_is_no_introduction_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest, match="this is no introduction"):
        Introduction.from_bytes(value)


def test_damaged_bytes_are_refused_or_read_but_never_worse() -> None:
    random = Random(1)
    for _ in range(2000):
        for said in (OWN.to_bytes(), STATUS.to_bytes()):
            value = bytearray(said)
            value[random.randrange(len(value))] = random.randrange(256)
            try:
                Introduction.from_bytes(bytes(value))
                PeerStatus.from_bytes(bytes(value))
            except (BadRequest, BadInput, InternalError):
                continue

"""Two peers prove to each other that they belong to one cluster, before either believes anything else.

    dialer   HELLO      magic, lowest and highest version spoken, own id, own incarnation, id of who should answer, nonce
    listener CHALLENGE  version to speak, own id, own incarnation, nonce
    dialer   PROOF      MAC(secret, "dialer proves")
    listener WELCOME    MAC(secret, "listener proves")    or REFUSAL: reason, MAC(secret, "listener refuses" + reason)

    secret = MAC(cluster key, HELLO + CHALLENGE);  MAC is HMAC-SHA-256, and comparisons take constant time

What holds:

- **Both ends know the cluster key**, or nothing more is said. Both nonces go into the secret, so no proof can be used
  again; both ids, the versions and the order of the roles do too, so that nothing of it can be exchanged, and no proof
  can be turned back to who made it. A peer that hears its own id refuses.
- **Who answers is who was meant**: a dialer names the id that it expects (or none, when it knows an address only), and
  stops when another one answers. Ids are no secrets and no ranks: whoever has the key may take any id. Peers of one
  cluster trust each other.
- **The proof comes before the listener does anything**: to a stranger it says its id and a random number, in answer to a
  well-formed HELLO only, keeps a few hundred bytes, and closes at the first byte that is wrong or after a few seconds.
- **Every later frame is sealed** with keys made of the secret, one for each direction (frames.py): somebody on the path
  can read, and can cut, but can neither change, insert, repeat nor reorder. Who must not be read turns on TLS; then the
  seals are left out, and the handshake runs inside of TLS, for the ids and, if there is one, for the key as well.

A key is to be long and random: whoever can make a peer talk to them, or reads along, sees MACs that a guess can be
tried on. Left out: forward secrecy, for nothing is encrypted here; and the choice between several keys, which changing
a key without a stop would need.

Pure: bytes in, bytes out; the caller keeps the time.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from qnode.channel.frames import Frame, Kind, Seal

NOBODY: Final = 0  # no peer has this id

_MAGIC: Final = b"qnodepeer"
_VERSION: Final = 1
_NONCE_BYTES: Final = 32
_PROOF_BYTES: Final = 32
_HELLO: Final = struct.Struct(f"<{len(_MAGIC)}sBBQQQ{_NONCE_BYTES}s")
_CHALLENGE: Final = struct.Struct(f"<BQQ{_NONCE_BYTES}s")


class Refusal(IntEnum):
    """Why a peer that has proved itself is not wanted."""

    HAS_LINK = 1
    NOT_ADMITTED = 2


class HandshakeFailed(Exception):
    """The other end is not who it should be, or does not speak as a peer does."""


class Refused(HandshakeFailed):
    """The other end belongs to the cluster and does not want this link."""

    def __init__(self, peer: int, reason: Refusal) -> None:
        says = "it has a link already" if reason is Refusal.HAS_LINK else "it does not admit this peer"
        super().__init__(f"peer {peer} refuses: {says}")
        self.peer = peer
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """A peer, and a random number that changes with each start of its process."""

    peer: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Session:
    """What a finished handshake has found out: who is there, and how to seal."""

    other: Identity
    outgoing: Seal
    incoming: Seal


class Dialing:
    """The dialer's side: send `hello`, then whatever `receive` gives, until `session` is there."""

    def __init__(self, me: Identity, expected: int, key: bytes) -> None:
        self.session: Session | None = None
        self.other: Identity | None = None
        """Who has answered; the proof of it is sent, its own not yet here."""
        self._me = me
        self._expected = expected
        self._key = key
        self._secret = b""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        self.hello = _HELLO.pack(_MAGIC, _VERSION, _VERSION, me.peer, me.incarnation, expected, nonce)

    def receive(self, frame: Frame) -> tuple[Kind, bytes] | None:
        """Take the listener's next frame and give the answer to it, if one is due; raise HandshakeFailed."""
        if self.other is None:
            return self._challenge(frame)
        if frame.kind == Kind.WELCOME and _is_proof(frame.payload, self._secret, b"listener proves"):
            self.session = _session(self.other, self._secret, b"dialer", b"listener")
            return None
        if frame.kind == Kind.REFUSAL and len(frame.payload) == 1 + _PROOF_BYTES:
            reason, proof = frame.payload[:1], frame.payload[1:]
            if _is_proof(proof, self._secret, b"listener refuses" + reason) and reason[0] in set(Refusal):
                raise Refused(self.other.peer, Refusal(reason[0]))
        raise HandshakeFailed("it did not prove that it has the key of this cluster")

    def _challenge(self, frame: Frame) -> tuple[Kind, bytes]:
        if frame.kind != Kind.CHALLENGE or len(frame.payload) != _CHALLENGE.size:
            raise HandshakeFailed("it does not speak as a peer does")
        version, peer, incarnation, _ = _CHALLENGE.unpack(frame.payload)
        if version != _VERSION:
            raise HandshakeFailed(f"it chose version {version} of the protocol, which was not offered")
        if self._expected not in (NOBODY, peer):
            raise HandshakeFailed(f"peer {peer} answered in place of peer {self._expected}")
        if peer in (NOBODY, self._me.peer):
            raise HandshakeFailed("the address leads back to this peer" if peer else "it has no peer id")
        self.other = Identity(peer, incarnation)
        self._secret = _mac(self._key, self.hello + frame.payload)
        return Kind.PROOF, _mac(self._secret, b"dialer proves")


class Answering:
    """The listener's side: give what `receive` gives, until `session` is there.

    `judge` is asked about a dialer that has proved itself, and gives a reason to refuse it, or None.
    """

    def __init__(self, me: Identity, key: bytes, judge: Callable[[Identity], Refusal | None]) -> None:
        self.session: Session | None = None
        self._me = me
        self._key = key
        self.refused: Refusal | None = None
        self._judge = judge
        self.other: Identity | None = None
        self._secret = b""

    def receive(self, frame: Frame) -> tuple[Kind, bytes]:
        """Take the dialer's next frame and give the answer to it; raise HandshakeFailed, and nothing is to be sent.

        A REFUSAL is the last that is to be sent: then there is no session.
        """
        if self.other is None:
            return self._hello(frame)
        if frame.kind != Kind.PROOF or not _is_proof(frame.payload, self._secret, b"dialer proves"):
            raise HandshakeFailed(f"who calls itself peer {self.other.peer} does not have the key of this cluster")
        self.refused = self._judge(self.other)
        if self.refused is not None:
            reason = bytes([self.refused])
            return Kind.REFUSAL, reason + _mac(self._secret, b"listener refuses" + reason)
        self.session = _session(self.other, self._secret, b"listener", b"dialer")
        return Kind.WELCOME, _mac(self._secret, b"listener proves")

    def _hello(self, frame: Frame) -> tuple[Kind, bytes]:
        if frame.kind != Kind.HELLO or len(frame.payload) != _HELLO.size:
            raise HandshakeFailed("it does not speak as a peer does")
        magic, lowest, highest, peer, incarnation, expected, _ = _HELLO.unpack(frame.payload)
        if magic != _MAGIC or peer == NOBODY:
            raise HandshakeFailed("it does not speak as a peer does")
        if not lowest <= _VERSION <= highest:
            raise HandshakeFailed(f"peer {peer} speaks versions {lowest} to {highest}, this one {_VERSION}")
        if peer == self._me.peer:
            raise HandshakeFailed("it has this peer's own id")
        if expected not in (NOBODY, self._me.peer):
            raise HandshakeFailed(f"peer {peer} looks for peer {expected} here")
        self.other = Identity(peer, incarnation)
        challenge = _CHALLENGE.pack(_VERSION, self._me.peer, self._me.incarnation, secrets.token_bytes(_NONCE_BYTES))
        self._secret = _mac(self._key, frame.payload + challenge)
        return Kind.CHALLENGE, challenge


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _is_proof(proof: bytes, secret: bytes, text: bytes) -> bool:
    return hmac.compare_digest(proof, _mac(secret, text))


def _session(other: Identity, secret: bytes, own_role: bytes, other_role: bytes) -> Session:
    return Session(other, Seal(_mac(secret, own_role + b" seals")), Seal(_mac(secret, other_role + b" seals")))

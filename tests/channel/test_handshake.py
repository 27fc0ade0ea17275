"""The handshake, side against side, without a network."""

import pytest

from qnode.channel.frames import Frame, Kind
from qnode.channel.handshake import NOBODY, Answering, Dialing, HandshakeFailed, Identity, Refusal, Refused

KEY = b"the key of the cluster"
ONE, TWO = Identity(1, 11), Identity(2, 22)


def frame(kind: Kind, payload: bytes) -> Frame:
    return Frame(kind, False, 0, 0, payload)


def answering(me: Identity = TWO, key: bytes = KEY, refusal: Refusal | None = None) -> Answering:
    return Answering(me, key, lambda other: refusal)


def converse(dialing: Dialing, listener: Answering) -> None:
    said: tuple[Kind, bytes] | None = (Kind.HELLO, dialing.hello)
    while said is not None:
        said = dialing.receive(frame(*listener.receive(frame(*said))))


@pytest.mark.parametrize("expected", [2, NOBODY])
def test_both_learn_who_the_other_is_and_seal_for_each_other(expected: int) -> None:
    dialing, listener = Dialing(ONE, expected, KEY), answering()
    converse(dialing, listener)
    assert dialing.session is not None
    assert listener.session is not None
    assert (dialing.session.other, listener.session.other) == (TWO, ONE)
    assert dialing.session.outgoing.next(b"x") == listener.session.incoming.next(b"x")
    assert dialing.session.incoming.next(b"x") == listener.session.outgoing.next(b"x")
    assert dialing.session.incoming.next(b"x") != dialing.session.outgoing.next(b"x")


@pytest.mark.parametrize("keys", [(KEY, b"another key"), (b"another key", KEY), (KEY, b""), (b"", KEY)])
def test_another_key_is_refused_before_anything_is_proved_to_it(keys: tuple[bytes, bytes]) -> None:
    dialing, listener = Dialing(ONE, 2, keys[0]), answering(key=keys[1])
    challenge = listener.receive(frame(Kind.HELLO, dialing.hello))
    proof = dialing.receive(frame(*challenge))
    assert proof is not None
    with pytest.raises(HandshakeFailed, match="does not have the key"):
        listener.receive(frame(*proof))
    assert listener.session is None


def test_a_listener_without_the_key_is_found_out() -> None:
    dialing, listener = Dialing(ONE, 2, KEY), answering(key=b"guessed")
    dialing.receive(frame(*listener.receive(frame(Kind.HELLO, dialing.hello))))
    with pytest.raises(HandshakeFailed, match="did not prove"):
        dialing.receive(frame(Kind.WELCOME, bytes(32)))
    assert dialing.session is None


def test_who_answers_as_another_than_was_meant_is_refused_by_both_sides() -> None:
    with pytest.raises(HandshakeFailed, match="peer 1 looks for peer 3 here"):
        converse(Dialing(ONE, 3, KEY), answering())
    dialing = Dialing(ONE, 3, KEY)
    meant_otherwise = answering().receive(frame(Kind.HELLO, Dialing(ONE, 2, KEY).hello))
    with pytest.raises(HandshakeFailed, match="peer 2 answered in place of peer 3"):
        dialing.receive(frame(*meant_otherwise))


def test_swapped_ids_do_not_survive_the_proof() -> None:
    dialing, listener = Dialing(ONE, 2, KEY), answering()
    as_three = Dialing(Identity(3, 11), 2, KEY).hello
    swapped = dialing.hello[:11] + as_three[11:19] + dialing.hello[19:]
    proof = dialing.receive(frame(*listener.receive(frame(Kind.HELLO, swapped))))
    assert proof is not None
    with pytest.raises(HandshakeFailed, match="who calls itself peer 3"):
        listener.receive(frame(*proof))


def test_a_replayed_conversation_of_a_dialer_is_refused() -> None:
    dialing, listener = Dialing(ONE, 2, KEY), answering()
    proof = dialing.receive(frame(*listener.receive(frame(Kind.HELLO, dialing.hello))))
    assert proof is not None
    later = answering()
    later.receive(frame(Kind.HELLO, dialing.hello))
    with pytest.raises(HandshakeFailed):
        later.receive(frame(*proof))


def test_a_replayed_conversation_of_a_listener_is_refused() -> None:
    first, listener = Dialing(ONE, 2, KEY), answering()
    challenge = listener.receive(frame(Kind.HELLO, first.hello))
    proof = first.receive(frame(*challenge))
    assert proof is not None
    welcome = listener.receive(frame(*proof))
    later = Dialing(ONE, 2, KEY)
    later.receive(frame(*challenge))
    with pytest.raises(HandshakeFailed):
        later.receive(frame(*welcome))


def test_a_proof_turned_back_to_its_maker_is_refused() -> None:
    dialing, listener = Dialing(ONE, 2, KEY), answering()
    proof = dialing.receive(frame(*listener.receive(frame(Kind.HELLO, dialing.hello))))
    assert proof is not None
    with pytest.raises(HandshakeFailed):
        dialing.receive(frame(Kind.WELCOME, proof[1]))


def test_a_peer_does_not_speak_to_its_own_id() -> None:
    with pytest.raises(HandshakeFailed, match="own id"):
        converse(Dialing(TWO, NOBODY, KEY), answering())
    dialing = Dialing(ONE, NOBODY, KEY)
    from_itself = answering(ONE).receive(frame(Kind.HELLO, Dialing(TWO, 1, KEY).hello))
    with pytest.raises(HandshakeFailed, match="leads back"):
        dialing.receive(frame(*from_itself))


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refusal_says_why_to_who_has_the_key(refusal: Refusal) -> None:
    dialing, listener = Dialing(ONE, 2, KEY), answering(refusal=refusal)
    with pytest.raises(Refused) as raised:
        converse(dialing, listener)
    assert (raised.value.peer, raised.value.reason) == (2, refusal)
    assert listener.session is dialing.session is None


def test_an_unproved_refusal_is_not_believed() -> None:
    dialing = Dialing(ONE, 2, KEY)
    dialing.receive(frame(*answering().receive(frame(Kind.HELLO, dialing.hello))))
    with pytest.raises(HandshakeFailed, match="did not prove"):
        dialing.receive(frame(Kind.REFUSAL, bytes([Refusal.HAS_LINK]) + bytes(32)))


def test_every_flipped_bit_of_a_handshake_is_noticed() -> None:
    bits = 8 * len(Dialing(ONE, 2, KEY).hello)
    for bit in range(bits):
        with pytest.raises(HandshakeFailed):
            prove(Dialing(ONE, 2, KEY), answering(), hello_bit=bit)
    _, challenge = answering().receive(frame(Kind.HELLO, Dialing(ONE, 2, KEY).hello))
    for bit in range(8 * len(challenge)):
        with pytest.raises(HandshakeFailed):
            prove(Dialing(ONE, 2, KEY), answering(), challenge_bit=bit)


def prove(
    dialing: Dialing, listener: Answering, hello_bit: int | None = None, challenge_bit: int | None = None
) -> None:
    kind, challenge = listener.receive(frame(Kind.HELLO, flipped(dialing.hello, hello_bit)))
    proof = dialing.receive(frame(kind, flipped(challenge, challenge_bit)))
    assert proof is not None
    listener.receive(frame(*proof))


def test_a_version_that_is_not_shared_is_refused() -> None:
    hello = bytearray(Dialing(ONE, 2, KEY).hello)
    hello[9:11] = bytes([2, 3])
    with pytest.raises(HandshakeFailed, match="versions 2 to 3"):
        answering().receive(frame(Kind.HELLO, bytes(hello)))


@pytest.mark.parametrize("kind", list(Kind))
def test_any_other_frame_in_place_of_a_hello_is_refused(kind: Kind) -> None:
    hello = Dialing(ONE, 2, KEY).hello
    for payload in (b"", hello[:-1], hello + b"x", bytes(len(hello))) + (() if kind == Kind.HELLO else (hello,)):
        with pytest.raises(HandshakeFailed):
            answering().receive(frame(kind, payload))


def test_the_session_of_each_handshake_has_keys_of_its_own() -> None:
    seals = set()
    for _ in range(3):
        dialing, listener = Dialing(ONE, 2, KEY), answering()
        converse(dialing, listener)
        assert dialing.session is not None
        seals.add(dialing.session.outgoing.next(b""))
    assert len(seals) == 3


def flipped(data: bytes, bit: int | None) -> bytes:
    if bit is None:
        return data
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)

"""The session with a Lintel lock, against the published vectors and against everything that is not one."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.ble import lintel_messages as m
from lintel.edge.ble.fragments import MAX_MESSAGE, Assembler, cut
from lintel.edge.ble.lintel_lock import Channel, Handshake, Pairing, key_id, public_of
from lintel.edge.ble.words import KeyRefused, Move, WrongLock
from lintel.edge.errors import BadFrame, Refused
from tests.edge.ble import vectors as v


def handshake():
    return Handshake(v.GATEWAY_SEED, v.LOCK, v.GATEWAY_EPHEMERAL)


def channel():
    opening = handshake()
    opening.answer(v.HELLO_ACK)
    return opening.channel()


def pairing():
    pair = Pairing(v.GATEWAY, v.NAME, v.SECRET, v.GATEWAY_EPHEMERAL)
    pair.hello = v.HELLO  # the vectors of PAIR are over the HELLO of a paired gateway
    return pair


def test_keys_and_their_names():
    assert public_of(v.GATEWAY_SEED) == v.GATEWAY
    assert key_id(v.GATEWAY).hex() == "56475aa75463474c"
    assert key_id(v.LOCK).hex() == "24f6ed6acbfe1009"


def test_the_handshake_is_that_of_the_vectors():
    opening = handshake()
    assert opening.hello == v.HELLO
    assert opening.answer(v.HELLO_ACK) == v.AUTH


def test_the_sealed_messages_are_those_of_the_vectors():
    sealed = channel()
    assert sealed.open(v.READY[1]) == v.READY[0]
    assert sealed.seal(v.GET_CHALLENGE[0]) == v.GET_CHALLENGE[1]
    assert sealed.open(v.CHALLENGE[1]) == v.CHALLENGE[0]
    assert sealed.seal(v.COMMAND[0]) == v.COMMAND[1]
    assert sealed.open(v.ACCEPTED[1]) == v.ACCEPTED[0]
    assert sealed.open(v.RESULT[1]) == v.RESULT[0]


def test_what_they_say():
    assert m.read(v.READY[0]) == m.Ready(3, 41, 60)
    assert m.read(v.CHALLENGE[0]) == m.Challenge(bytes(range(0xA0, 0xB0)), 5000)
    assert m.read(v.ACCEPTED[0]) == m.Accepted(v.COMMAND_ID, 0)
    assert m.read(v.RESULT[0]) == m.Result(v.COMMAND_ID, 0, "unlocked", "closed", 42)
    assert v.COMMAND[0] == m.command(v.COMMAND_ID, Move.UNLOCK, bytes(range(0xA0, 0xB0)), hold_s=5.0)


def test_pairing_is_that_of_the_vectors():
    pair = pairing()
    assert pair.answer(v.HELLO_ACK) == b"\x05" + v.GATEWAY + v.NAME.ljust(16, b"\0") + v.PAIR_PROOF
    assert pair.paired(b"\x06" + v.LOCK + v.PAIRED_PROOF) == v.LOCK


def test_pairing_begins_without_a_key():
    pair = Pairing(v.GATEWAY, v.NAME, v.SECRET, v.GATEWAY_EPHEMERAL)
    assert pair.hello[3:11] == bytes(8)


def test_a_lock_that_does_not_know_the_secret_is_not_believed():
    pair = pairing()
    pair.answer(v.HELLO_ACK)
    with pytest.raises(WrongLock):
        pair.paired(b"\x06" + v.LOCK + v.PAIRED_PROOF[:-1] + b"\0")
    other = public_of(bytes(32))
    with pytest.raises(WrongLock):
        pair.paired(b"\x06" + other + v.PAIRED_PROOF)


def test_another_lock_is_not_spoken_to():
    opening = Handshake(v.GATEWAY_SEED, public_of(bytes(32)), v.GATEWAY_EPHEMERAL)
    with pytest.raises(WrongLock):
        opening.answer(v.HELLO_ACK)


@given(st.integers(0, 8 * len(v.HELLO_ACK) - 1))
def test_a_flipped_bit_of_the_answer_is_noticed(bit):
    changed = bytearray(v.HELLO_ACK)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        handshake().answer(bytes(changed))


def test_a_refused_key_is_told_from_other_refusals():
    for code in (1, 2):
        with pytest.raises(KeyRefused):
            handshake().answer(bytes((7, code)))
    with pytest.raises(Refused) as caught:
        handshake().answer(b"\x07\x09")
    assert not isinstance(caught.value, KeyRefused)
    sealed = channel()
    with pytest.raises(KeyRefused):  # the lock refuses AUTH where READY would stand
        sealed.open(b"\x07\x02")
    with pytest.raises(BadFrame):
        sealed.open(v.READY[1])


def test_a_share_of_small_order_is_refused():
    ack = b"\x02" + bytes(32)
    opening = handshake()
    th1 = hashlib.sha256(opening.hello + bytes(32)).digest()
    signature = Ed25519PrivateKey.from_private_bytes(v.LOCK_SEED).sign(b"lintel-lock/1 lock" + th1)
    opening.answer(ack + signature)
    with pytest.raises(BadFrame):
        opening.channel()


# ---- the sealed channel


def test_a_replayed_message_ends_the_channel():
    sealed = channel()
    sealed.open(v.READY[1])
    with pytest.raises(BadFrame):
        sealed.open(v.READY[1])
    with pytest.raises(BadFrame):
        sealed.open(v.CHALLENGE[1])  # also what would have been right
    with pytest.raises(BadFrame):
        sealed.seal(v.GET_CHALLENGE[0])


def test_a_skipped_counter_ends_the_channel():
    sealed = channel()
    with pytest.raises(BadFrame):
        sealed.open(v.CHALLENGE[1])
    with pytest.raises(BadFrame):
        sealed.open(v.READY[1])


@given(st.integers(0, 8 * len(v.READY[1]) - 1))
def test_a_flipped_bit_ends_the_channel(bit):
    changed = bytearray(v.READY[1])
    changed[bit // 8] ^= 1 << bit % 8
    sealed = channel()
    with pytest.raises((BadFrame, Refused)):
        sealed.open(bytes(changed))
    with pytest.raises(BadFrame):
        sealed.open(v.READY[1])


def test_a_message_of_another_connection_is_noticed():
    opening = Handshake(v.GATEWAY_SEED, v.LOCK, bytes(32))
    th1 = hashlib.sha256(opening.hello + v.HELLO_ACK[1:33]).digest()
    signature = Ed25519PrivateKey.from_private_bytes(v.LOCK_SEED).sign(b"lintel-lock/1 lock" + th1)
    opening.answer(v.HELLO_ACK[:33] + signature)
    with pytest.raises(BadFrame):
        opening.channel().open(v.READY[1])


class Blind(Channel):
    """The control: a channel that looks at the tag alone."""

    def open(self, message):
        return self._in.decrypt(message[1:5] + bytes(8), message[5:], message[:5])


def test_control_without_the_counter_a_replay_is_taken():
    blind = channel()
    blind.__class__ = Blind
    assert blind.open(v.READY[1]) == blind.open(v.READY[1]) == v.READY[0]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_round_trip_with_a_lock_of_ones_own(messages):
    gateway, lock = channel(), Channel(*_lock_keys())
    for message in messages:
        assert lock.open(gateway.seal(message)) == message
        assert gateway.open(lock.seal(message)) == message


def _lock_keys():
    """The lock's two keys, derived on its own side."""
    shared = X25519PrivateKey.from_private_bytes(v.LOCK_EPHEMERAL).exchange(
        X25519PrivateKey.from_private_bytes(v.GATEWAY_EPHEMERAL).public_key()
    )
    assert shared
    gw_to_lock = bytes.fromhex("43360a36cd8206be96acaaf730bfd49cf1c3286a26e92e6317d7bfe7f5d3a9af")
    lock_to_gw = bytes.fromhex("27ba4d4f0b2caaede613d89486ea81884b2495a23724e3b713274c3191744129")
    ChaCha20Poly1305(gw_to_lock)
    return lock_to_gw, gw_to_lock


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data):
    for take in (handshake().answer, pairing().answer, channel().open, m.read, m.read_info):
        try:
            take(data)
        except (BadFrame, Refused):
            continue
        assert take in (m.read, m.read_info) or take.__func__ in (m.read, m.read_info)


@given(st.binary(max_size=100))
def test_random_bytes_in_place_of_paired(data):
    pair = pairing()
    pair.answer(v.HELLO_ACK)
    with pytest.raises((BadFrame, Refused)):
        pair.paired(data)


# ---- fragments


def test_the_fragments_of_the_vectors():
    assert cut(v.HELLO, 20) == v.FRAGMENTS
    assembler = Assembler()
    assert [assembler.feed(f) for f in v.FRAGMENTS] == [None, None, v.HELLO]


@given(st.binary(min_size=1, max_size=MAX_MESSAGE), st.integers(6, 244))
def test_any_message_comes_together_again(message, size):
    assembler = Assembler()
    *first, last = cut(message, size)
    assert all(len(f) <= size for f in [*first, last])
    assert [assembler.feed(f) for f in first] == [None] * len(first)
    assert assembler.feed(last) == message
    assert assembler.feed(cut(b"next", 20)[0]) == b"next"


@given(st.lists(st.binary(max_size=244), max_size=30))
def test_random_fragments_raise_nothing_else_and_the_next_message_is_understood(fragments):
    assembler = Assembler()
    for fragment in fragments:
        try:
            message = assembler.feed(fragment)
        except BadFrame:
            continue
        assert message is None or 0 < len(message) <= MAX_MESSAGE
    assert [assembler.feed(f) for f in v.FRAGMENTS][-1] == v.HELLO


def test_a_lost_doubled_or_swapped_fragment_is_noticed():
    a, b, c = v.FRAGMENTS
    for order in ((a, c), (a, b, b), (a, a[:1] + b"x", c), (b,), (c,)):
        assembler = Assembler()
        heard = []
        with pytest.raises(BadFrame):
            for fragment in order:
                heard.append(assembler.feed(fragment))
        assert not any(heard)


def test_what_has_no_end_is_given_up_at_512_bytes():
    assembler = Assembler()
    with pytest.raises(BadFrame):
        for index in range(128):
            assembler.feed(bytes((index,)) + bytes(19))
    assert len(assembler._held) == 0


# ---- messages


@given(st.sampled_from([0x04, 0x21, 0x23, 0x24, 0x27, 0x29, 0x2A, 0x2C]), st.binary(max_size=60))
def test_a_message_has_one_length(kind, body):
    try:
        m.read(bytes((kind,)) + body)
    except BadFrame:
        return
    assert len(body) == m._SHAPES[kind].size


def test_a_state_and_its_names():
    assert m.read(bytes.fromhex("27fe035a00052a000000")) == m.State("jammed", "open", 90, 0, 5, 42)
    assert m.read(bytes.fromhex("27770a5a00002a000000")) == m.State("unknown", "unknown", 90, 0, 0, 42)
    assert m.read(b"\x77whatever") == m.Other(0x77)


def test_info():
    data = b"\x01\x01\x0b" + bytes(8) + b"\x06Lintel" + b"\x031.0" + b"later"
    info = m.read_info(data)
    assert (info.pairing_open, info.door_sensor, info.unlatch, info.clock) == (True, True, False, True)
    assert (info.model, info.firmware) == ("Lintel", "1.0")
    for end in range(len(data) - 5):
        with pytest.raises(BadFrame):
            m.read_info(data[:end])


@pytest.mark.parametrize("hold_s", [0, 3.0, 6553.5, 9999.0])
def test_hold_times_fit_their_field(hold_s):
    tenths = int.from_bytes(m.command(bytes(16), Move.UNLOCK, bytes(16), hold_s=hold_s)[18:20], "little")
    assert tenths == min(hold_s * 10, 65535)

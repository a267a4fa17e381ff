"""Nuki's frames, seals and pairing, against the published vectors and a lock's side written here."""

import hashlib
import hmac
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_box_beforenm, crypto_scalarmult
from nacl.secret import SecretBox

from lintel.edge.ble import nuki
from lintel.edge.ble import nuki_messages as m
from lintel.edge.ble.words import Became, Move, NotYet, WrongLock
from lintel.edge.errors import BadFrame, Refused

OWN = bytes.fromhex("8caa54672307bffdf5ea183fc607158d2011d008eca6a1088614ff0853a5aa07")
OWN_PUBLIC = bytes.fromhex("f88127ccf48023b5cbe9101d24baa8a368da94e8c2e3cde2ded29ce96ab50c15")
LOCK_PUBLIC = bytes.fromhex("2fe57da347cd62431528daac5fbb290730fff684afc4cfc2ed90995f58cb3b74")
SHARED = bytes.fromhex("217fcb0f18caf284e9bdea0b94b83b8d10867ed706bfdedbd2381f4cb3b8f730")
AUTH = bytes.fromhex("02000000")
SEALED = bytes.fromhex(
    "404142434445464748494a4b4c4d4e4f5051525354555657020000001a00e339f41f0bfca1432b639adfb3a21e6173817eb969c66028a8bf"
)
STATES = bytes.fromhex("020000000c00020100ea070b16041e00e001c801000200000200e3ae")
LOCK = bytes(range(32))


def test_frames_of_the_vectors():
    assert nuki.frame(1, b"\x03\x00").hex() == "0100030027a7"
    assert nuki.frame(0x0E, b"\0").hex() == "0e00009dd7"
    assert nuki.frame(0x12, b"\x10\x01\x00").hex() == "12001001008721"
    assert nuki.unframe(bytes.fromhex("12001001008721")) == (0x12, b"\x10\x01\x00")


def test_keys_of_the_vectors():
    assert nuki.public_of(OWN) == OWN_PUBLIC
    assert crypto_scalarmult(OWN, LOCK_PUBLIC).hex().startswith("0de40b998e0e")
    assert nuki.shared_key(LOCK_PUBLIC, OWN) == SHARED


def test_the_sealed_request_of_the_vectors():
    sealed = nuki.Sealed(SHARED, AUTH)
    assert sealed.seal(*m.ask(nuki.STATES), nonce=bytes(range(0x40, 0x58))) == SEALED
    assert sealed.open(SEALED) == (1, b"\x0c\x00")


def test_the_states_of_the_vectors():
    command, body = nuki.unframe(STATES, 4)
    assert command == nuki.STATES
    assert m.read(command, body) == m.States("locked", "closed", 100, False, 2, 0)
    short = m.read_states(body[:13])
    assert (short.door, short.last_action, short.completion) == ("none", None, None)


def test_the_third_step_of_the_vectors():
    pairing = nuki.Pairing(OWN, 1, "gw", os.urandom)
    assert pairing.begin().hex() == "0100030027a7"
    assert pairing.take(nuki.frame(3, LOCK_PUBLIC)) == nuki.frame(3, OWN_PUBLIC)
    assert pairing.take(nuki.frame(4, bytes(range(32)))).hex() == (
        "05003674260ff621f32d7351313503143a783db3f0fead2715bf3fa10fa6ec0c2b10951f"
    )


def mac(data):
    return hmac.digest(crypto_box_beforenm(OWN_PUBLIC, LOCK), data, hashlib.sha256)


class Far:
    """The lock's side of a pairing, as the interface describes it; `ultra` with the PIN 123456."""

    def __init__(self, *, ultra=False):
        self.ultra, self.step = ultra, 0

    def answer(self, data):
        command, body = (6, data) if self.ultra and self.step == 3 else nuki.unframe(data)
        self.step += 1
        match command:
            case 1:
                assert body == b"\x03\x00"
                return nuki.frame(3, nuki.public_of(LOCK))
            case 3:
                assert body == OWN_PUBLIC
                return nuki.frame(4, b"\x01" * 32)
            case 5:
                assert body == mac(OWN_PUBLIC + nuki.public_of(LOCK) + b"\x01" * 32)
                return nuki.frame(0x4C, b"\x01") if self.ultra else nuki.frame(4, b"\x02" * 32)
            case 6 if self.ultra:
                return self.last(data)
            case 6:
                proof, said = body[:32], body[32:]
                assert proof == mac(said + b"\x02" * 32)
                kind, app, name = struct.unpack("<BI32s", said[:37])
                assert (kind, app, name.rstrip(b"\0")) == (1, 7, b"gateway")
                self.id = b"\x05\0\0\0" + b"u" * 16 + b"\x03" * 32
                return nuki.frame(7, mac(self.id + said[37:]) + self.id)
            case 0x1E:
                assert body == mac(b"\x05\0\0\0" + b"\x03" * 32) + b"\x05\0\0\0"
                return nuki.frame(0x0E, b"\0")
        raise AssertionError(command)

    def last(self, data):
        assert data[24:28] == bytes.fromhex("7fffffff")
        box = SecretBox(crypto_box_beforenm(OWN_PUBLIC, LOCK))
        command, body = nuki.unframe(box.decrypt(data[30:], data[:24]), 4)
        assert command == 6
        assert struct.unpack("<I32sI", body) == (7, b"gateway".ljust(32, b"\0"), 123456)
        return nuki.Sealed(nuki.shared_key(OWN_PUBLIC, LOCK), bytes.fromhex("7fffffff")).seal(
            7, b"\x05\0\0\0" + b"u" * 16, bytes(24)
        )


@pytest.mark.parametrize("ultra", [False, True])
def test_a_whole_pairing(ultra):
    pairing = nuki.Pairing(OWN, 7, "gateway", os.urandom, ultra, 123456)
    far, step = Far(ultra=ultra), pairing.begin()
    while isinstance(step, bytes):
        step = pairing.take(far.answer(step))
    assert step == nuki.Paired(nuki.public_of(LOCK), b"\x05\0\0\0")


@given(st.integers(0, 87 * 8 + 7))
def test_a_changed_answer_ends_the_pairing(bit):
    pairing, far = nuki.Pairing(OWN, 7, "gateway", os.urandom), Far()
    step = pairing.begin()
    for _ in range(3):
        step = pairing.take(far.answer(step))
    answer = bytearray(far.answer(step))
    answer[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        pairing.take(bytes(answer))
    if bit // 8 >= 86:
        return
    repaired = nuki.frame(int.from_bytes(answer[:2], "little"), bytes(answer[2:-2]))  # with its CRC put right
    with pytest.raises((BadFrame, WrongLock)):
        pairing.take(repaired)


def test_not_in_pairing_mode_is_told_from_other_errors():
    for code, kind in ((0x10, NotYet), (0x13, Refused)):
        pairing = nuki.Pairing(OWN, 7, "gateway", os.urandom)
        pairing.begin()
        with pytest.raises(kind) as caught:
            pairing.take(nuki.frame(0x12, bytes((code, 1, 0))))
        assert type(caught.value) is kind


# ---- everything that is none


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_a_flipped_bit_is_noticed(bit):
    changed = bytearray(SEALED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        nuki.Sealed(SHARED, AUTH).open(bytes(changed))


@given(st.binary(max_size=120), st.integers(0, 0xFFFF))
def test_random_bytes_raise_nothing_else(data, command):
    for take in (
        nuki.Sealed(SHARED, AUTH).open, nuki.unframe, nuki.Assembler(sealed=True).feed, m.read_states,
        nuki.Assembler(sealed=False).feed, nuki.Pairing(OWN, 7, "gateway", os.urandom).take,
        lambda body: m.read(command, body), lambda body: nuki.unframe(body, 4),
    ):  # fmt: skip
        try:
            take(data)
        except (BadFrame, Refused):
            continue


@given(st.binary(max_size=300), st.binary(min_size=24, max_size=24))
def test_round_trip(payload, nonce):
    sealed = nuki.Sealed(SHARED, AUTH)
    message = sealed.seal(0x32, payload, nonce)
    assert sealed.open(message) == (0x32, payload)
    assembler = nuki.Assembler(sealed=True)
    pieces = [assembler.feed(bytes((byte,))) for byte in message]
    assert pieces == [None] * (len(message) - 1) + [message]


def test_an_endless_message_is_given_up():
    assembler = nuki.Assembler(sealed=True)
    with pytest.raises(BadFrame):
        assembler.feed(bytes(28) + b"\xff\xff" + bytes(10))
    assert assembler.feed(SEALED[:30]) is None
    assert assembler.feed(SEALED[30:]) == SEALED


def test_a_crc_of_zero_is_taken_only_inside_a_seal():
    frame = AUTH + b"\x0e\x00\x00\x00\x00"
    assert nuki.unframe(frame, 4) == (0x0E, b"\0")
    with pytest.raises(BadFrame):
        nuki.unframe(frame[4:])


def test_a_key_of_small_order_is_refused():
    with pytest.raises(BadFrame):
        nuki.shared_key(bytes(32), OWN)


# ---- what became of an action


def states(lock, last=2, completion=0):
    return m.States(lock, "closed", 80, False, last, completion)


@pytest.mark.parametrize(
    ("move", "before", "now", "became"),
    [
        (Move.UNLOCK, states("locked"), states("unlocked", 1), Became.DONE),
        (Move.UNLOCK, states("locked", 3), states("locked", 3), Became.NEVER),
        (Move.UNLOCK, states("locked"), states("locked"), Became.UNKNOWN),  # it may have locked again by itself
        (Move.UNLOCK, states("locked", 1), states("locked", 1), Became.UNKNOWN),  # once more, and a hand locked it
        (Move.UNLOCK, states("locked"), states("locked", 1, 1), Became.REFUSED),
        (Move.UNLOCK, states("locked", 1), states("jammed", 1, 1), Became.REFUSED),
        (Move.UNLOCK, states("unlocked", 1), states("unlocked", 1), Became.DONE),
        (Move.UNLOCK, states("locked"), states("unknown"), Became.UNKNOWN),
        (Move.UNLOCK, None, states("locked"), Became.UNKNOWN),
        (Move.UNLOCK, None, states("unlocked"), Became.DONE),
        (Move.LOCK, states("unlocked", 1), states("locked", 2), Became.DONE),
        (Move.LOCK, states("unlocked", 1), states("unlocked", 1), Became.NEVER),
        (Move.LOCK, states("unlocked"), states("unlocked"), Became.UNKNOWN),  # a hand has opened it, once or twice
        (Move.UNLATCH, states("locked"), states("unlatched", 3), Became.DONE),
        (Move.UNLATCH, states("locked"), states("unlocked", 3), Became.DONE),
        (Move.UNLATCH, states("locked", 1), states("locked", 1), Became.NEVER),
        (Move.UNLATCH, states("locked"), states("locked"), Became.UNKNOWN),
        (Move.UNLATCH, states("unlocked", 3), states("unlocked", 3), Became.UNKNOWN),  # once more, or not
        (Move.UNLATCH, states("unlocked", 3), states("unlocked", 3, 0xFF), Became.UNKNOWN),
        (Move.UNLATCH, states("locked", 3), states("unlocked", 3), Became.UNKNOWN),  # a hand may have turned it
        (Move.LOCK_N_GO, states("unlocked", 1), states("unlocked", 1), Became.UNKNOWN),
        (Move.LOCK_N_GO, states("locked"), states("locked", 4), Became.DONE),
        (Move.LOCK_N_GO, states("locked", 4), states("locked", 4), Became.UNKNOWN),  # it went, and locked
    ],
)
def test_what_the_states_prove(move, before, now, became):
    assert m.judge(move, before, now).became is became


@given(
    st.sampled_from(Move), st.sampled_from(["locked", "unlocked", "unlatched"]), st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from(["locked", "unlocked", "unlatched", "unknown", "jammed"]), st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([0, 1, 0xFF]),
)  # fmt: skip
def test_never_is_said_only_where_nothing_has_changed_and_the_last_action_tells(
    move, before, last, now, now_last, completion
):
    was, is_ = states(before, last), states(now, now_last, completion)
    if m.judge(move, was, is_).became is Became.NEVER:
        assert was == is_
        assert (now == "locked") == (move is not Move.LOCK)
        assert last not in (m.ACTIONS[move], m.ACTIONS[Move.LOCK])

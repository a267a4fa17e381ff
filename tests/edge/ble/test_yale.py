"""Yale's frames and channels, against the published vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.ble import yale
from lintel.edge.ble.words import Became, Move, Seen
from lintel.edge.errors import BadFrame

KEY, SLOT = bytes(range(16)), 1
A, B, PROOF = bytes(range(0x10, 0x18)), bytes(range(0x20, 0x28)), bytes(range(0x18, 0x20))
FIRST = bytes.fromhex("8057b7a941466a2eac73547cf56b366e0f01")
SECOND = bytes.fromhex("2d970bb8635a8bc893a0e8a2cf42b6360f01")
THIRD = bytes.fromhex("a983bea66fcd0e67d710046275dab5750f01")


def handshake():
    return yale.Handshake(KEY, SLOT, A, PROOF)


def test_the_handshake_of_the_vectors():
    opening = handshake()
    assert yale.secure_frame(1, A, SLOT).hex() == "010000001011121314151617dbd9d7d50f01"
    assert opening.first == FIRST
    assert opening.second(SECOND) == THIRD


def test_the_orders_of_the_vectors_in_one_chain():
    normal = yale.Normal(A + B)
    assert yale.normal_frame(yale.GET_STATUS, 2).hex() == "ee02000c0200000000000000000000000200"
    assert normal.seal(yale.normal_frame(yale.GET_STATUS, 2)).hex() == "1d3d5219c4d1c9f8e1b7897c0be5e56c0200"
    assert normal.seal(yale.move_frame(Move.UNLOCK)).hex() == "7312174148e23a7d1bf0adf467f9149a0200"
    assert normal.seal(yale.move_frame(Move.LOCK)).hex() == "5a1bd26364bf6795f948d74176accda90200"
    with pytest.raises(ValueError, match="one of"):
        yale.move_frame(Move.LOCK_N_GO)


def lock_side(frames):
    channel = yale._Channel(A + B, chained=True)
    return [channel.seal(frame) for frame in frames]


def answer(opcode, what=0, value=b"", result=0, kind=0xBB):
    frame = bytearray(bytes((kind, opcode, 0, 0, what, 0, 0, 0)) + value.ljust(7, b"\0") + bytes((result, 2, 0)))
    frame[3] = -sum(frame) & 0xFF
    return bytes(frame)


def test_answers_are_read_in_their_chain_and_one_left_out_ends_it():
    first, second, third = lock_side([answer(2, 2, b"\x05"), answer(10, kind=0xAA), answer(10, result=0x1E)])
    normal = yale.Normal(A + B)
    assert normal.open(first) == yale.Answer(0xBB, 2, 2, b"\x05" + bytes(6), 0)
    assert normal.open(second).kind == 0xAA
    assert normal.open(third).why == "mechanical fault 1e"
    normal = yale.Normal(A + B)
    with pytest.raises(BadFrame):
        normal.open(second)  # its first block is missing
    with pytest.raises(BadFrame):
        normal.open(first)


def test_a_frame_of_another_length_never_gets_into_the_chain():
    first, second = lock_side([answer(2, 2, b"\x05"), answer(2, 2, b"\x03")])
    for junk in (b"", first[:17], first + b"\0", first[:1]):
        normal = yale.Normal(A + B)
        with pytest.raises(BadFrame):
            normal.open(junk)
        with pytest.raises(BadFrame):  # and nobody goes on as if nothing had been
            normal.open(first)
    control = yale._Channel(A + B, chained=True)
    control._in.update(first[:8])  # without the check of the length: half a block, and nothing is read any more
    with pytest.raises(BadFrame):
        yale.read(control.clear(second))


@given(st.integers(0, 17 * 8 - 1))
def test_a_flipped_bit_of_the_handshake_is_noticed(bit):
    changed = bytearray(SECOND)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        handshake().second(bytes(changed))


@given(st.binary(max_size=40))
def test_random_bytes_raise_nothing_else(data):
    opening = handshake()
    opening.second(SECOND)
    for take in (handshake().second, opening.done, yale.Normal(A + B).open, yale.read):
        try:
            take(data)
        except BadFrame:
            continue


@pytest.mark.parametrize(
    ("result", "became", "low"),
    [(0, Became.DONE, False), (0x3E, Became.NEVER, False), (0x1E, Became.REFUSED, False), (0x32, Became.REFUSED, True),
     (0x38, Became.REFUSED, False), (0x77, Became.REFUSED, False)],
)  # fmt: skip
def test_results(result, became, low):
    moved = yale.moved(yale.read(answer(10, result=result)))
    assert moved.became is became
    assert (moved.seen is not None and moved.seen.low) == low
    assert bool(moved.why) == bool(result)


@pytest.mark.parametrize(
    ("move", "before", "now", "became"),
    [
        (Move.UNLOCK, "locked", "unlocked", Became.DONE),
        (Move.UNLOCK, "locked", "locked", Became.UNKNOWN),  # its auto lock may have been quicker
        (Move.UNLOCK, None, "locked", Became.UNKNOWN),
        (Move.UNLOCK, "locked", "jammed", Became.REFUSED),
        (Move.UNLOCK, "unlocked", "locked", Became.UNKNOWN),
        (Move.LOCK, "unlocked", "locked", Became.DONE),
        (Move.LOCK, "unlocked", "unlocked", Became.NEVER),
        (Move.UNLATCH, "locked", "unlatched", Became.DONE),
        (Move.UNLATCH, "unlatched", "unlatched", Became.UNKNOWN),
        (Move.UNLATCH, "locked", "unlocked", Became.UNKNOWN),
        (Move.UNLATCH, "locked", "locked", Became.UNKNOWN),
        (Move.UNLATCH, "unlocked", "unlocked", Became.UNKNOWN),
    ],
)
def test_what_the_status_proves(move, before, now, became):
    assert yale.judge(move, Seen(before) if before else None, Seen(now)).became is became

"""Frames of OSDP: the standard's vectors, any cut, any noise, and never more than one frame in memory."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.osdp import frames
from lintel.edge.osdp.frames import MAX_LENGTH, Receiver, check, encode

VECTORS = [
    "537F0D00046E00802500006E38",
    "5300090004610" + "0C066",
    "537F0C00006E008025000" + "00F",
    "530008000061" + "0044",
    "53650800056051A3",
    "5365070001" + "60E0",
    "53E50800054" + "0E3A5",
    "53E508000479A831",
    "53E50900064104FB86",
    "53650C00076800051E00D855",
    "53E51000065000011A00123456406FE7",
    "53E51E000D021850FFF333FF04E6FE1250C1BE9CD9A7271A633A1DA4363D",
    "53E52B000D03120076AABB030178563412A0A1A2A3A4A5A6A7FDE5D2F428EC16312471EA3C02BD77965B12",
]
GOOD = bytes.fromhex("53E51000065000011A00123456406FE7")


def test_the_check_value_of_the_standard():
    assert check(b"123456789") == bytes.fromhex("CCE5")


@pytest.mark.parametrize("vector", VECTORS)
def test_a_vector_is_one_packet(vector):
    receiver = Receiver()
    (packet,) = receiver.feed(b"\xff" + bytes.fromhex(vector))
    assert packet.address == bytes.fromhex(vector)[1] & 0x7F
    assert packet.reply == (vector[2] == "E")
    assert receiver.errors == 0
    assert receiver.cut() == []


@pytest.mark.parametrize("vector", [v for v in VECTORS if v[8] != "0" or v[9] in "4567"])
def test_our_frames_are_the_standards(vector):
    raw = bytes.fromhex(vector)
    (packet,) = Receiver().feed(raw)
    if not packet.mac:
        assert encode(raw[1], packet.sequence, packet.code, packet.data, packet.scb) == raw


@pytest.mark.parametrize("vector", VECTORS)
def test_one_bit_wrong_is_no_packet(vector):
    """A CRC finds every single wrong bit; the old 8-bit sum too."""
    raw = bytes.fromhex(vector)
    for bit in range(8 * len(raw)):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << bit % 8
        receiver = Receiver()
        assert receiver.feed(bytes(broken)) + receiver.cut() == []
        assert receiver.errors


def test_control_without_the_check_a_wrong_bit_gets_through(monkeypatch):
    monkeypatch.setattr(frames, "check", lambda data: GOOD[-2:])
    broken = GOOD[:-3] + bytes((GOOD[-3] ^ 1,)) + GOOD[-2:]
    assert Receiver().feed(broken)


@given(st.lists(st.sampled_from(VECTORS), max_size=6), st.data())
def test_however_it_is_cut_the_packets_are_the_same(vectors, data):
    stream = b"".join(b"\xff" + bytes.fromhex(v) for v in vectors)
    whole = Receiver().feed(stream)
    assert len(whole) == len(vectors)
    receiver, found, at = Receiver(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 12))
        found += receiver.feed(stream[at : at + step])
        at += step
    assert found == whole
    assert receiver.errors == 0


@given(st.binary(max_size=2000), st.binary(max_size=40))
def test_noise_never_raises_and_after_a_silence_a_good_frame_is_understood(noise, more):
    receiver = Receiver()
    for at in range(0, len(noise), 7):
        receiver.feed(noise[at : at + 7])
        assert len(receiver._held) <= MAX_LENGTH
        assert receiver.missing >= 0
    receiver.feed(more)
    receiver.cut()
    assert receiver._held == b""
    (packet,) = receiver.feed(GOOD)
    assert packet.code == 0x50


def sealed(data: bytes) -> bytes:
    return data + check(data)


HOSTILE = {
    "length FFFF": bytes.fromhex("53E5FFFF0553"),
    "right CRC, wrong length": sealed(bytes.fromhex("53E5090005") + b"\x40"),
    "start in start": b"\x53" * 9,
    "block longer than the frame": sealed(bytes.fromhex("53E509000DFF40")),
    "block of one byte": sealed(bytes.fromhex("53E50A000D011640")),
    "no room for a MAC": sealed(bytes.fromhex("53E50B000D02164000")),
    "half a frame": GOOD[:9],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_behind_a_lie_the_next_frame_is_found(name):
    receiver = Receiver()
    found = receiver.feed(HOSTILE[name] + GOOD)
    found += receiver.cut()
    assert [p.code for p in found] == [0x50]
    assert receiver.errors == 1


def test_noise_at_full_speed_is_cheap():
    """24 h at 9600 baud is 83 MB; a hundredth of it here. The time it takes is the measure of the whole."""
    noise = random.Random(1).randbytes(800_000)
    receiver, begin = Receiver(), time.process_time()
    for at in range(0, len(noise), 16):
        receiver.feed(noise[at : at + 16])
    spent = time.process_time() - begin
    assert spent < 0.05 * len(noise) / 960  # under 5 % of the time that the line needs
    assert len(receiver._held) <= MAX_LENGTH
    receiver.cut()
    assert receiver.feed(GOOD)


def test_no_content_in_a_repr():
    (packet,) = Receiver().feed(GOOD)
    assert "1234" not in repr(packet)
    assert "4V@" not in repr(packet)

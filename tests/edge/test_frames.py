"""Framers: the vectors, any cut of the bytes, garbage, and memory."""

import random
import sys
from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.frames import Delimited, Frame, IdleGap, LengthPrefixed, Overflow, seal, zebra_ssi


def data(items) -> list[bytes]:
    return [i.data for i in items if isinstance(i, Frame)]


def h(text: str) -> bytes:
    return bytes.fromhex(text)


MAKERS = {
    "cr-lf": Delimited,
    "short": lambda: Delimited(b"\r\n", 7),
    "nul": lambda: Delimited(b"\x00", 20),
    "gap": lambda: IdleGap(0.02, 16),
    "ssi": zebra_ssi,
    "header": lambda: LengthPrefixed(
        start=b"\x02\x00", length_at=2, length_size=2, extra=5, checksum="xor8", max_length=64
    ),
    "sum8": lambda: LengthPrefixed(length_at=1, byteorder="little", extra=2, checksum="sum8", max_length=40),
    "bare": lambda: LengthPrefixed(start=b"\x55", length_at=1, extra=2, max_length=30),
}
anyone = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


# --- vectors of the protocol reference


@pytest.mark.parametrize(
    ("wire", "frames"),
    [
        ("4C 31 3A 41 42 0D 0A", [b"L1:AB"]),
        ("4C 31 3A 41 0D 4C 31 3A 42 0D", [b"L1:A", b"L1:B"]),
        ("25 25 4E 6F 52 65 61 64 0D", [b"%%NoRead"]),
        ("20 41 42 20 0D", [b" AB "]),
        ("0D 0A 0D 0A", []),
        ("41 0A", [b"A"]),
        ("41", []),
    ],
)
def test_ascii_vectors(wire, frames):
    assert data(Delimited().feed(h(wire), 0.0)) == frames


SSI = ["04 D0 04 00 FF 28", "05 D1 04 00 01 FF 25", "04 E4 04 00 FF 14", "04 E5 04 00 FF 13", "04 E9 04 00 FF 0F",
       "04 EA 04 00 FF 0E", "08 F3 00 00 F1 4C 54 31 FD 43", "08 F3 00 01 F1 4C 54 31 FD 42"]  # fmt: skip


@pytest.mark.parametrize("wire", SSI)
def test_ssi_vectors(wire):
    framer = zebra_ssi()
    assert data(framer.feed(h(wire), 0.0)) == [h(wire)[:-2]]
    assert seal(h(wire)[:-2], "sum16_be_twos") == h(wire)
    assert framer.deadline() is None
    assert (framer.garbage, framer.overflows) == (0, 0)


def test_ssi_stream_with_wake_bytes_and_a_bad_checksum():
    framer = zebra_ssi()
    wire = h("00") + h(SSI[6]) + h("08 F3 00 00 F1 4C 54 31 FD 44") + h(SSI[7]) + h(SSI[0])
    assert data(framer.feed(wire, 0.0)) == [h(SSI[6])[:-2]], "F3 might be the length of a frame still to come"
    assert data(framer.idle(0.1)) == [h(SSI[7])[:-2], h(SSI[0])[:-2]]
    assert framer.garbage == 11


# --- delimited


def test_an_overlong_frame_is_said_once_and_the_next_one_is_understood():
    framer = Delimited(max_length=512)
    seen = []
    for _ in range(1000):
        seen += framer.feed(b"x" * 1000, 0.0)
    assert seen == [Overflow()]
    assert framer.feed(b"tail\r\nL1:AB\r\n", 0.0) == [Frame(b"L1:AB")]
    assert framer.overflows == 1
    assert framer.garbage == 1_000_004


def test_a_terminator_only_every_600_bytes():
    framer = Delimited()
    found = framer.feed((b"y" * 600 + b"\r") * 3 + b"z" * 512 + b"\r", 0.0)
    assert found == [Overflow(), Overflow(), Overflow(), Frame(b"z" * 512)]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_delimited_agrees_with_split(parts):
    wire = b"\r\n".join(parts) + b"\r\n"
    expected = [p for p in wire.replace(b"\n", b"\r").split(b"\r") if p]
    assert data(Delimited(max_length=1000).feed(wire, 0.0)) == expected


# --- gap


def test_a_gap_ends_a_frame_measured_from_the_last_byte():
    framer = IdleGap(0.02)
    assert framer.deadline() is None
    assert framer.idle(5.0) == []
    assert framer.feed(b"AB", 1.0) == []
    assert framer.feed(b"CD", 1.019) == []
    assert framer.idle(1.03) == []
    assert framer.deadline() == pytest.approx(1.039)
    assert framer.idle(framer.deadline()) == [Frame(b"ABCD")]
    assert framer.deadline() is None
    assert framer.feed(b"E", 2.0) == []
    assert framer.feed(b"", 2.01) == []
    assert framer.feed(b"F", 3.0) == [Frame(b"E")]


def test_a_gap_ends_an_overlong_frame():
    framer = IdleGap(0.02, 4)
    assert framer.feed(b"ABC", 1.0) == []
    assert framer.feed(b"DE", 1.0) == [Overflow()]
    assert framer.feed(b"FG", 1.01) == []
    assert framer.idle(1.02) == []
    assert framer.idle(1.03) == []
    assert framer.feed(b"ABCD", 1.03) == []
    assert framer.idle(9.0) == [Frame(b"ABCD")]
    assert (framer.overflows, framer.garbage) == (1, 7)


# --- length


def header_frame(payload: bytes) -> bytes:
    body = b"\x02\x00" + len(payload).to_bytes(2, "big") + payload + b"\x03"
    return body + bytes([reduce(xor, body)])


def test_header_frames_and_resynchronisation():
    framer = MAKERS["header"]()
    good = header_frame(b"hello")
    noise = b"\x02\x00\xff\xff" + b"\x02\x02\x00" + good[:-1] + b"\x00"
    assert data(framer.feed(noise + good, 0.0)) == [good[:-1]]
    assert framer.garbage == len(noise)


def test_half_a_frame_is_given_up_after_a_gap_and_nothing_behind_it_is_lost():
    framer = MAKERS["header"]()
    good = header_frame(b"AB")
    assert framer.feed(b"\x02\x00\x00\x3b" + good, 1.0) == []
    assert framer.deadline() == pytest.approx(1.1)
    assert framer.idle(1.05) == []
    assert data(framer.idle(1.2)) == [good[:-1]]
    assert framer.deadline() is None
    assert framer.feed(good[:3], 2.0) == []
    assert data(framer.feed(good, 3.0)) == [good[:-1]]


def test_without_start_and_checksum_every_length_counts():
    framer = LengthPrefixed(extra=1, max_length=10)
    assert data(framer.feed(b"\x02AB\x00\x01C\xff\x01D", 0.0)) == [b"\x02AB", b"\x00", b"\x01C", b"\x01D"]
    assert framer.garbage == 1


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_checksums_agree_with_the_plain_definition(raw):
    assert seal(raw, "xor8")[-1] == reduce(xor, raw, 0)
    assert seal(raw, "sum8")[-1] == sum(raw) % 256
    assert (int.from_bytes(seal(raw, "sum16_be_twos")[-2:], "big") + sum(raw)) % 65536 == 0
    assert seal(raw, "none") == raw


# --- all of them


def wire_for(seed: int) -> bytes:
    """Noise with whole frames of every kind in it."""
    rng = random.Random(seed)
    parts = []
    for _ in range(rng.randrange(12)):
        parts.append(
            rng.choice(
                [
                    rng.randbytes(rng.randrange(30)),
                    h(rng.choice(SSI)),
                    header_frame(rng.randbytes(rng.randrange(8))),
                    b"\r\n",
                    b"L1:AB\r\n",
                    b"\x55\x03abc",
                    b"\x00" * 3,
                    b"\xff" * rng.randrange(40),
                ]
            )
        )
    return b"".join(parts)


@anyone
@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.integers().map(wire_for)), st.randoms(use_true_random=False))
def test_any_cut_gives_the_same_frames(make, wire, rng):
    whole, single, cut = make(), make(), make()
    expected = whole.feed(wire, 1.0) + whole.idle(9.0)
    assert [f for b in wire for f in single.feed(bytes([b]), 1.0)] + single.idle(9.0) == expected
    found, at = [], 0
    while at < len(wire):
        size = rng.randrange(1, 20)
        found += cut.feed(wire[at : at + size], 1.0)
        at += size
    assert found + cut.idle(9.0) == expected
    assert whole.garbage == single.garbage == cut.garbage
    assert whole.overflows == single.overflows == cut.overflows == expected.count(Overflow())


GOOD = {
    "cr-lf": (b"L1:AB\r\n", b"L1:AB"),
    "short": (b"L1:AB\r", b"L1:AB"),
    "nul": (b"L1:AB\x00", b"L1:AB"),
    "gap": (b"L1:AB", b"L1:AB"),
    "ssi": (h(SSI[6]), h(SSI[6])[:-2]),
    "header": (header_frame(b"A"), header_frame(b"A")[:-1]),
    "sum8": (seal(b"\x07\x02ab", "sum8"), b"\x07\x02ab"),
    "bare": (b"\x55\x02ab", b"\x55\x02ab"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_garbage_is_bounded_in_memory_and_the_next_frame_is_understood(kind):
    framer = MAKERS[kind]()
    wire, frame = GOOD[kind]
    rng = random.Random(7)
    for n in range(100):
        framer.feed(rng.randbytes(1000), n * 1.0)
        assert sys.getsizeof(framer._held) < 3000
    framer.idle(999.0)
    if deadline := framer.deadline():
        framer.idle(deadline)
    framer.feed(wire, 1000.0)  # a delimited line needs one end mark to be in step again
    framer.idle(1001.0)
    assert framer.feed(wire, 1002.0) + framer.idle(1003.0) == [Frame(frame)]
    assert framer.deadline() is None

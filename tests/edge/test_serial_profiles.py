"""The sans-IO half of serial readers: what bytes mean, whatever the pieces they come in."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge import frames
from lintel.edge.model import Method
from lintel.edge.profiles import builtin
from lintel.edge.profiles.serial import (
    Answer,
    Bad,
    Code,
    Command,
    Damage,
    Delimited,
    IdleGap,
    NoRead,
    SerialSpec,
    Strip,
    decode,
)
from lintel.edge.profiles.stream import Listener, compose, understand

SERIAL = [n for n in builtin() if builtin()[n].driver == "serial_qr"]
CR = SerialSpec(framing=Delimited("delimited"))


def codes(heard):
    return [h.text for h in heard if isinstance(h, Code)]


def test_five_readers_of_different_framing_are_documented():
    """How a frame ends, what stands around it, and whether it is answered. A source that is hearsay does not count."""
    documented = [builtin()[n] for n in SERIAL if builtin()[n].vendor != "generic"]
    documented = [p for p in documented if "unconfirmed" not in p.source]
    framings = {(p.spec.framing, p.spec.strip, bool(p.spec.ack)) for p in documented}
    ends = {p.spec.framing.ends if isinstance(p.spec.framing, Delimited) else p.spec.framing.kind for p in documented}
    assert len(framings) >= 6
    assert ends >= {b"\r", b"\r\n", b"\t", b"\x03", "length"}
    assert len({p.spec.framing for p in map(builtin().get, SERIAL)}) >= 6


@pytest.mark.parametrize("name", SERIAL)
@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_samples_mean_the_same_in_pieces(name, piece):
    profile = builtin()[name]
    for sample in profile.samples:
        if sample.direction == "in":
            assert understand(profile.spec, sample.data, piece=piece) == list(sample.means or ())


@pytest.mark.parametrize(
    ("hex_", "means"),
    [
        ("4C313A41420D0A", ["L1:AB"]),
        ("4C313A410D4C313A420D", ["L1:A", "L1:B"]),
        ("25254E6F526561640D", []),
        ("4C313A2041420D", ["L1: AB"]),
        ("4C313A4142200D", ["L1:AB "]),
    ],
)
def test_published_vectors(hex_, means):
    assert [m["code"] for m in understand(CR, bytes.fromhex(hex_))] == means


@pytest.mark.parametrize(
    ("strip", "frame", "text"),
    [
        (Strip(), b"]Q1OK", None),
        (Strip(aim_id=True), b"]Q1OK", b"OK"),
        (Strip(aim_id=True), b"OK", b"OK"),
        (Strip(aim_id=True, code_id=1), b"]Q1sOK", b"OK"),
        (Strip(prefix=b"\x02", suffix=b"\x03"), b"\x02OK\x03", b"OK"),
        (Strip(prefix=b"\x02"), b"OK", b"OK"),
        (Strip(prefix=b"\x02", needed=True), b"\x02OK", b"OK"),
        (Strip(prefix=b"\x02", needed=True), b"OK", None),
        (Strip(prefix=b"L"), b"LL1:A ", b"L1:A "),
    ],
)
def test_strip(strip, frame, text):
    heard = decode(dataclasses.replace(CR, strip=strip), frame)
    assert heard.text == text if text else isinstance(heard, Bad)


def test_kinds_of_code():
    assert decode(CR, b"L1:ABC") == Code(b"L1:ABC", Method.PASS)
    assert decode(CR, b"L2:ABC") == Code(b"L2:ABC", Method.PASS)
    assert decode(CR, b"L3:ABC") == Code(b"L3:ABC", Method.QR)
    assert decode(CR, b"A" * 128) == Code(b"A" * 128, Method.QR)
    assert isinstance(decode(CR, b"A" * 129), Bad)
    assert decode(CR, b"NR") == NoRead()
    assert decode(CR, b"nr") == Code(b"nr", Method.QR)
    assert decode(CR, b"\x11OK\x13") == Code(b"OK", Method.QR)
    assert isinstance(decode(dataclasses.replace(CR, drop_flow_control=False), b"\x11OK"), Bad)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_well_formed_code_or_refused(frame):
    heard = decode(CR, frame)
    if isinstance(heard, Code):
        assert 1 <= len(heard.text) <= 128
        assert all(0x20 <= b < 0x7F for b in heard.text)
    elif isinstance(heard, Bad):
        assert heard.detail.isascii()
        assert len(heard.detail) < 200


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SERIAL), st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=40))
def test_garbage_never_raises_and_a_good_frame_follows(name, junk, cuts):
    spec = builtin()[name].spec
    listener = Listener(spec)
    listener.expect(spec.command, until=0.5)
    now = 0.0
    for cut in [*cuts, 400]:
        listener.feed(junk[:cut], now)
        junk = junk[cut:]
        now += 0.001
    end = spec.framing.ends[:1] if isinstance(spec.framing, Delimited) else b""
    listener.feed(end, now)
    while (at := listener.deadline()) is not None:
        now = max(now, at)
        listener.idle(now)
    good = bytes.fromhex("08F30000F14C5431FD43") if name == "zebra-ssi" else spec.strip.prefix + b"LT1" + end
    heard = listener.feed(good, now + 10)
    while (at := listener.deadline()) is not None:
        heard += listener.idle(at)
    assert codes(heard) == [b"LT1"]


def test_a_held_code_slides_the_window_and_another_does_not_close_it():
    listener = Listener(CR)
    seen = [listener.feed(b"A\r", t)[0].repeat for t in (0, 1.0, 2.0, 3.0, 4.6, 5.0)]
    assert seen == [False, True, True, True, False, True]
    listener = Listener(CR)
    order = [listener.feed(c + b"\r", t / 10)[0].repeat for t, c in enumerate([b"A", b"B", b"A", b"B"])]
    assert order == [False, False, True, True]


def test_what_is_remembered_for_repeats_is_bounded():
    listener = Listener(CR)
    for number in range(1000):
        listener.feed(f"CODE{number}\r".encode(), 0.0)
    assert len(listener._seen) <= 16


def test_an_answer_is_taken_out_only_while_it_is_expected():
    spec = builtin()["newland-serial"].spec
    command = spec.find("start")
    answer = command.accepted
    for cut in range(len(answer) + 1):
        listener = Listener(spec)
        listener.expect((command,), until=1.0)
        heard = listener.feed(b"ONE\r" + answer[:cut], 0.0) + listener.feed(answer[cut:] + b"TWO\r", 0.1)
        assert heard == [Code(b"ONE", Method.QR), Answer(accepted=True), Code(b"TWO", Method.QR)]
    listener = Listener(spec)
    assert [type(h) for h in listener.feed(answer + b"\r", 0.0)] == [Bad]  # nobody asked
    listener.expect((command,), until=1.0)
    assert [type(h) for h in listener.feed(answer + b"\r", 1.5)] == [Bad]  # too late


def test_what_only_began_like_an_answer_is_scan_data_after_all():
    spec = dataclasses.replace(CR, command=(Command("go", b"G", accepted=b"AB9"),))
    listener = Listener(spec)
    listener.expect(spec.command, until=1.0)
    assert listener.feed(b"AB", 0.0) == []
    assert listener.feed(b"C\r", 0.1) == [Code(b"ABC", Method.QR)]
    listener.expect(spec.command, until=1.0)
    assert listener.feed(b"X\rAB", 0.2) == [Code(b"X", Method.QR)]
    assert listener.deadline() == 1.0
    assert listener.idle(1.0) == []
    assert listener.feed(b"\r", 1.1) == [Code(b"AB", Method.QR)]


def test_damage_is_said_once_for_one_stretch_of_noise():
    listener = Listener(builtin()["zebra-ssi"].spec)
    heard, now = [], 0.0
    for byte in bytes.fromhex("08F30000F14C5431FD44") * 3:
        heard += listener.feed(bytes([byte]), now)
    while (at := listener.deadline()) is not None:
        heard += listener.idle(at)
        now = at
    assert heard == [Damage()]
    assert codes(listener.feed(bytes.fromhex("08F30000F14C5431FD43"), now + 1)) == [b"LT1"]


def test_idle_gap_is_four_characters_but_not_under_20_ms():
    slow = Listener(SerialSpec(framing=IdleGap("idle_gap"), baud=1200))
    slow.feed(b"A", 0.0)
    assert slow.deadline() == pytest.approx(4 * 10 / 1200)
    fast = Listener(SerialSpec(framing=IdleGap("idle_gap"), baud=1200), baud=115200)
    fast.feed(b"A", 0.0)
    assert fast.deadline() == pytest.approx(0.020)


def test_commands():
    spec = builtin()["zebra-ssi"].spec
    assert compose(spec, {"command": "ack"}).hex() == "04d00400ff28"
    for order in ({}, {"command": "open"}, {"command": "ack", "also": 1}):
        with pytest.raises(ValueError, match="scan-enable"):
            compose(spec, order)


def ssi(text, status=0):
    frame = bytes((5 + len(text), 0xF3, 0, status, 0xF1)) + text
    return frames.seal(frame, "sum16_be_twos")


def spoken(steps, name="zebra-ssi"):
    """What is presented when these frames arrive at these times."""
    listener = Listener(builtin()[name].spec)
    heard = [h for at, data in steps for h in listener.feed(data, at)]
    return [
        h.text if isinstance(h, Code) else "bad" for h in heard if isinstance(h, Bad) or (codes([h]) and not h.repeat)
    ]


def test_a_lost_ack_is_no_second_presentation():
    """The decoder sends again 2 s after each frame that nobody acknowledged, three times."""
    again = [(2.0 * n, ssi(b"LT1", status=min(n, 1))) for n in range(4)]
    assert spoken([*again, (12.0, ssi(b"LT1"))]) == [b"LT1", b"LT1"]
    again = [(2.0 * n, b"LT1\r") for n in range(4)]
    assert spoken([*again, (12.0, b"LT1\r")], "generic-ack-nak") == [b"LT1", b"LT1"]


def test_a_text_in_two_frames_is_refused_and_its_end_is_no_code():
    """263 characters: 250 and a rest of 13 that looks like an opaque code."""
    first, last, more = b"A" * 250, b"0123456789ABC", 0x02
    assert spoken([(0, ssi(first, more)), (0.1, ssi(last))]) == ["bad"]
    assert spoken([(0, ssi(first, more)), (2, ssi(first, more | 1)), (2.1, ssi(last)), (4.1, ssi(last, 1))]) == ["bad"]
    assert spoken([(0, ssi(first, more)), (0.1, ssi(first, more)), (0.2, ssi(last)), (0.3, ssi(b"OK"))]) == [
        "bad",
        b"OK",
    ]
    assert spoken([(0, ssi(first, more)), (60, ssi(last))]) == ["bad", last], "the rest never came, this is another"
    assert spoken([(0, ssi(first)), (0.1, ssi(last))]) == ["bad", last], "control: without the bit they are two texts"

"""Messages between a camera's driver and its worker: what is sent arrives, and nothing else passes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge import camera_wire as wire
from lintel.edge.drivers.camera_codes import Presentations
from lintel.edge.errors import BadFrame

MESSAGES = [
    wire.Start("rtsp", "rtsp://10.0.0.9/live", "admin", "secret"),
    wire.Opened(),
    wire.Seen(12.5, [b"\x00\xff", b"x" * wire.MAX_CODE] * (wire.MAX_CODES // 2)),
    wire.Alive(3),
    wire.Failed("wrong user name or password", refused=True),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_sent_arrives(message):
    data = wire.encode(message)
    assert wire.size(data[:4]) == len(data) - 4 <= wire.MAX_MESSAGE
    assert wire.decode(data[4:]) == message


@given(st.binary(max_size=300) | st.sampled_from([wire.encode(m)[4:] for m in MESSAGES]).map(lambda b: b[:-1]))
def test_anything_else_is_a_bad_frame(body):
    try:
        wire.decode(body)
    except BadFrame as error:
        assert str(error) == "no message of a camera's worker"


@pytest.mark.parametrize(
    "body",
    [
        {"type": "seen", "at": 1, "codes": []},
        {"type": "seen", "at": 1, "codes": ["QQ=="] * (wire.MAX_CODES + 1)},
        {"type": "seen", "at": 1, "codes": ["QUFB" * wire.MAX_CODE]},
        {"type": "seen", "at": "now", "codes": ["QQ=="]},
        {"type": "alive", "damaged": -1},
        {"type": "failed", "why": "x" * 201},
        {"type": "opened", "more": 1},
        {"type": "else"},
        [],
    ],
)
def test_a_message_out_of_bounds_is_a_bad_frame(body):
    with pytest.raises(BadFrame):
        wire.decode(json.dumps(body).encode())


@pytest.mark.parametrize("head", [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\x40\x01", b"\xff\xff\xff\xff"])
def test_an_impossible_length_is_a_bad_frame(head):
    with pytest.raises(BadFrame):
        wire.size(head)


def test_a_password_is_in_no_repr():
    assert "secret" not in repr(MESSAGES[0])
    assert "secret" in repr(wire.encode(MESSAGES[0]))  # control: it is in the message


# ---- which sightings are presentations


def test_a_code_that_is_held_is_one_presentation_and_two_codes_are_two():
    p = Presentations(3.0, 5, 10)
    assert [p.new(b"a", t / 10) for t in range(100)] == [True] + [False] * 99
    assert p.new(b"b", 10.0)
    assert not p.new(b"a", 12.8)
    assert p.new(b"a", 15.9)
    assert p.dropped == 0


def test_more_than_the_rate_is_dropped_and_comes_when_there_is_room():
    p = Presentations(3.0, rate=2, burst=3)
    assert [p.new(b"%d" % n, 0.0) for n in range(5)] == [True] * 3 + [False] * 2
    assert p.dropped == 2
    assert p.new(b"3", 0.5)


@given(st.lists(st.tuples(st.binary(max_size=2), st.floats(0, 100))), st.floats(0.2, 60))
def test_two_presentations_of_a_code_are_a_window_apart_and_memory_is_bounded(seen, window):
    p, last = Presentations(window, 100, 100), {}
    for key, at in sorted(seen, key=lambda s: s[1]):
        if p.new(key, at) and len(last) < 64:
            assert at - last.get(key, -1e9) >= window
            last[key] = at
        assert len(p._seen) <= 64

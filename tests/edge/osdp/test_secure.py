"""The secure channel: annex E's values, a recorded session of libosdp, and what must not open."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.osdp import messages, secure
from lintel.edge.osdp.frames import Receiver, encode
from lintel.edge.osdp.messages import Command
from lintel.edge.osdp.secure import DEFAULT_KEY, Handshake, patterned

ADDRESS = 0x65
CCRYPT = "53E52B000D03120076AABB030178563412A0A1A2A3A4A5A6A7FDE5D2F428EC16312471EA3C02BD77965B12"
RMAC_I = "53E51B000E03140178B2A30057EB98BA2229EC1F875662B524AA91"


def packet(text: str):
    (found,) = Receiver().feed(bytes.fromhex(text))
    return found


def annex_e():
    handshake = Handshake(DEFAULT_KEY, bytes(range(0xB0, 0xB8)), default=True)
    assert handshake.accept(packet(CCRYPT).data)
    return handshake, handshake.session(packet(RMAC_I).data)


def test_annex_e_and_its_continuation():
    handshake, session = annex_e()
    scrypt = encode(ADDRESS, 2, Command.SCRYPT, handshake.cryptogram, b"\x03\x13\x00")
    assert scrypt.hex() == "53651b000e0313007726d3356e07762d262801fc8e6665a89184ce"
    assert session.seal(ADDRESS, 3, Command.POLL).hex() == "53650e000f0215601699d393f0c8"
    assert session.open(packet("53E50E000F021640928FB344B4D1")) == b""
    out = session.seal(ADDRESS, 1, Command.OUT, messages.output(0, 5, 30))
    assert out.hex() == "53651e000d02176883a06f9fe31d5db9dd015f4ab61e1d05a468184aff7f"
    raw = packet("53E51E000D021850FFF333FF04E6FE1250C1BE9CD9A7271A633A1DA4363D")
    assert session.open(raw).hex() == "00011a0012345640"
    keyset = session.seal(ADDRESS, 2, Command.KEYSET, messages.keyset(bytes(range(16))))
    assert keyset.hex() == (
        "53652e000e0217757fd5d9e9a54993f5b678f3fcd37c67ac6f7c0326b2ae326aabbdf2c5d9bdc16240126a92298b"
    )
    assert session.open(packet("53E50E000E021640C7AAB3474C02")) == b""


def test_a_recorded_session_of_libosdp():
    handshake = Handshake(bytes(range(16)), bytes.fromhex("d764c8cce93255c4"), default=False)
    ccrypt = packet("53e52b000e03120176beba0100afbeadde478d7aa05d83f3ea727246cbdd9235feeea8270b98343cdec85f")
    assert handshake.accept(ccrypt.data)
    assert handshake.cryptogram.hex() == "3e60fde7d55e2cf2a3ba6fa857ea503b"
    session = handshake.session(packet("53e51b000f03140178b29aee4be987f2829c9c90233f391769eddc").data)
    assert session.seal(ADDRESS, 1, Command.POLL).hex() == "53650e000d02156063b14b3c4643"
    assert session.open(packet("53e50e000d021640798ff999303c")) == b""
    assert session.seal(ADDRESS, 2, Command.POLL).hex() == "53650e000e02156095863c028135"
    assert session.open(packet("53e50e000e021640198d6b997ebd")) == b""


def test_another_key_or_answer_is_no_session():
    handshake, _ = annex_e()
    assert not Handshake(bytes(range(16)), handshake.rnd_a, default=False).accept(packet(CCRYPT).data)
    assert not handshake.accept(packet(CCRYPT).data[:-1])
    assert handshake.session(bytes(16)) is None


def after_out():
    """A session that waits for the RAW of the vectors."""
    _, session = annex_e()
    session.seal(ADDRESS, 3, Command.POLL)
    session.open(packet("53E50E000F021640928FB344B4D1"))
    session.seal(ADDRESS, 1, Command.OUT, messages.output(0, 5, 30))
    return session, packet("53E51E000D021850FFF333FF04E6FE1250C1BE9CD9A7271A633A1DA4363D")


LIES = {
    "a wrong MAC": lambda p: replace(p, mac=bytes(4)),
    "one bit of the data": lambda p: replace(p, data=p.data[:-1] + b"\x00", covered=p.covered[:-1] + b"\x00"),
    "the same, with the code of a key press": lambda p: replace(
        p, code=0x53, covered=p.covered[:7] + b"\x53" + p.covered[8:]
    ),
    "a command's block": lambda p: replace(p, scb=b"\x02\x17"),
    "a block without encryption": lambda p: replace(
        p, scb=b"\x02\x16", covered=p.covered.replace(b"\x02\x18", b"\x02\x16")
    ),
    "another session's": lambda p: packet("53e50e000d021640798ff999303c"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_does_not_open_and_spoils_nothing(lie):
    session, raw = after_out()
    assert session.open(LIES[lie](raw)) is None
    assert session.open(raw).hex() == "00011a0012345640"


def test_a_replay_does_not_open():
    session, raw = after_out()
    session.open(raw)
    session.seal(ADDRESS, 2, Command.POLL)
    assert session.open(raw) is None


def test_control_a_session_that_compares_no_mac_opens_a_replay(monkeypatch):
    session, raw = after_out()
    session.open(raw)
    session.seal(ADDRESS, 2, Command.POLL)
    monkeypatch.setattr(secure.hmac, "compare_digest", lambda a, b: True)
    monkeypatch.setattr(secure.Session, "_decrypt", lambda self, data, start: b"x\x80")
    assert session.open(raw) == b"x"


# ---- keys that can be guessed


def test_every_repeated_byte_and_every_constant_step_is_weak():
    for start in range(256):
        for step in range(256):
            assert patterned(bytes((start + step * n) & 0xFF for n in range(16)))


def test_the_default_key_and_wrong_lengths_are_weak():
    assert patterned(DEFAULT_KEY)
    assert patterned(b"")
    assert patterned(bytes(range(7, 22)))


@given(st.binary(min_size=16, max_size=16))
def test_anything_else_is_not(key):
    steps = {(b - a) & 0xFF for a, b in pairwise(key)}
    assert patterned(key) == (len(steps) == 1)


def test_no_key_in_a_repr():
    handshake, session = annex_e()
    text = repr(handshake) + repr(session) + repr(vars(handshake)) + str(handshake)
    assert DEFAULT_KEY.hex() not in text
    assert "0123456789" not in text.replace(handshake.rnd_a.hex(), "")

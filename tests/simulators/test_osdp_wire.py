"""The wire of our OSDP reader against vectors of the standard's Annex E and recorded sessions of libosdp."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.simulators.osdp_pd import Peripheral, Settings
from lintel.simulators.osdp_wire import (
    DEFAULT_KEY,
    MOST,
    Channel,
    Say,
    Splitter,
    build,
    crc16,
    diversified,
    parse,
    whole,
)

A = 0x65


def test_crc():
    assert crc16(b"123456789") == 0xE5CC


@pytest.mark.parametrize(
    ("frame", "want"),
    [
        (build(0x7F, 0, 0x6E, bytes.fromhex("0080250000")), "53 7F 0D 00 04 6E 00 80 25 00 00 6E 38"),
        (build(0, 0, 0x61, b"\0"), "53 00 09 00 04 61 00 C0 66"),
        (build(0x7F, 0, 0x6E, bytes.fromhex("0080250000"), crc=False), "53 7F 0C 00 00 6E 00 80 25 00 00 0F"),
        (build(0, 0, 0x61, b"\0", crc=False), "53 00 08 00 00 61 00 44"),
        (build(A, 1, 0x60), "53 65 08 00 05 60 51 A3"),
        (build(A | 0x80, 1, Say.ACK), "53 E5 08 00 05 40 E3 A5"),
        (build(A | 0x80, 0, Say.BUSY), "53 E5 08 00 04 79 A8 31"),
        (build(A | 0x80, 2, Say.NAK, b"\4"), "53 E5 09 00 06 41 04 FB 86"),
        (build(A | 0x80, 2, Say.RAW, bytes.fromhex("00011a0012345640")),
         "53 E5 10 00 06 50 00 01 1A 00 12 34 56 40 6F E7"),
        (build(A | 0x80, 3, Say.KEYPAD, b"\0\x051234\r"), "53 E5 0F 00 07 53 00 05 31 32 33 34 0D 5D 43"),
        (build(A | 0x80, 2, Say.LSTATR, b"\1\0"), "53 E5 0A 00 06 48 01 00 CA A5"),
    ],
)  # fmt: skip
def test_frames_in_the_clear(frame, want):
    assert frame == bytes.fromhex(want)
    assert whole(frame)


def test_keys_of_annex_e():
    channel = Channel(DEFAULT_KEY, bytes(range(0xB0, 0xB8)))
    assert channel.enc.hex() == "bf8dc2a8329acb8c67c6d0cd9a451682"
    assert channel.mac_1.hex() == "5e86c676603bdee2d8beafe178637332"
    assert channel.mac_2.hex() == "6fda86e857777e81132035758239172e"
    assert diversified(bytes(range(16)), bytes.fromhex("AABB030178563412")).hex() == "05832e388327d3ebc92106c7bee8f276"


SESSION = [
    ("53 65 13 00 0D 03 11 00 76 B0 B1 B2 B3 B4 B5 B6 B7 FB 95",
     "53E52B000D03120076AABB030178563412A0A1A2A3A4A5A6A7FDE5D2F428EC16312471EA3C02BD77965B12"),
    ("53 65 1B 00 0E 03 13 00 77 26 D3 35 6E 07 76 2D 26 28 01 FC 8E 66 65 A8 91 84 CE",
     "53 E5 1B 00 0E 03 14 01 78 B2 A3 00 57 EB 98 BA 22 29 EC 1F 87 56 62 B5 24 AA 91"),
    ("53 65 0E 00 0F 02 15 60 16 99 D3 93 F0 C8", "53 E5 0E 00 0F 02 16 40 92 8F B3 44 B4 D1"),
]  # fmt: skip


class Fixed(Peripheral):
    """A reader whose cUID is that of the vectors."""

    cuid = bytes.fromhex("AABB030178563412")


def vector_reader(told):
    return Fixed(
        Settings(A, install=True), lambda event, **f: told.append((event, f)), lambda n: bytes(range(0xA0, 0xA0 + n))
    )


def test_a_session_byte_by_byte():
    """Handshake with the default key, POLL, OUT, then a card and a new key."""
    told = []
    reader = vector_reader(told)
    assert reader.reply(build(A, 0, 0x61, b"\0"), 0.0) is not None
    for command, reply in SESSION:
        assert reader.reply(bytes.fromhex(command), 0.0).hex() == bytes.fromhex(reply).hex()
    out = "53 65 1E 00 0D 02 17 68 83 A0 6F 9F E3 1D 5D B9 DD 01 5F 4A B6 1E 1D 05 A4 68 18 4A FF 7F"
    reader.reply(bytes.fromhex(out), 0.0)
    assert ("output", {"output": 0, "control": 5, "seconds": 3.0, "on": True}) in told


def test_a_sealed_reply_is_the_vectors():
    """The RAW frame of the reference answers its OUT frame, to exercise the chain."""
    channel = Channel(DEFAULT_KEY, bytes(range(0xB0, 0xB8)))
    channel.begin(bytes.fromhex("26d3356e07762d262801fc8e6665a891"))
    for command, reply in ((SESSION[2]),):
        asked, said = parse(bytes.fromhex(command)), parse(bytes.fromhex(reply))
        channel.c_mac = channel.mac(asked.covered, channel.r_mac)
        channel.r_mac = channel.mac(said.covered, channel.c_mac)
        assert channel.r_mac[:4] == said.mac
    out = parse(bytes.fromhex("5365 1E00 0D 0217 68 83A06F9FE31D5DB9DD015F4AB61E1D05 A468184A FF7F"))
    assert channel.unseal(out.data, channel.r_mac) == bytes.fromhex("00051e00")
    channel.c_mac = channel.mac(out.covered, channel.r_mac)
    assert channel.c_mac[:4] == out.mac
    raw = bytes.fromhex("53E5 1E00 0D 0218 50 FFF333FF04E6FE1250C1BE9CD9A7271A 633A1DA4 363D")
    sealed = channel.seal(bytes.fromhex("00011a0012345640"), channel.c_mac)
    assert build(A | 0x80, 1, Say.RAW, sealed, block=b"\x18", mac=lambda b: channel.mac(b, channel.c_mac)[:4]) == raw


def test_a_repeated_number_gets_the_same_bytes_and_another_starts_no_session():
    reader = vector_reader([])
    reader.reply(build(A, 0, 0x61, b"\0"), 0.0)
    first = reader.reply(bytes.fromhex(SESSION[0][0]), 0.1)
    assert reader.reply(bytes.fromhex(SESSION[0][0]), 0.2) == first
    assert parse(reader.reply(build(A, 3, 0x60), 0.3)).data == b"\4"


def test_after_eight_seconds_of_silence_the_session_is_forgotten():
    reader = vector_reader([])
    reader.reply(build(A, 0, 0x61, b"\0"), 0.0)
    for command, _ in SESSION[:2]:
        reader.reply(bytes.fromhex(command), 0.0)
    assert reader.secure
    assert parse(reader.reply(bytes.fromhex(SESSION[2][0]), 8.1)).code == Say.NAK
    assert not reader.secure


def test_a_key_is_set_only_inside_a_session():
    reader = vector_reader([])
    reader.reply(build(A, 0, 0x61, b"\0"), 0.0)
    refused = parse(reader.reply(build(A, 1, 0x75, b"\1\x10" + bytes(16)), 0.0))
    assert (refused.code, refused.data) == (Say.NAK, b"\6")
    assert reader.settings.key is None


GOOD = build(A, 1, 0x60)


@given(st.lists(st.binary(max_size=40) | st.just(GOOD) | st.just(b"S") | st.just(b"S\xe5\xff\xff\x04"), max_size=30))
def test_the_splitter_is_bounded_and_yields_only_right_frames(parts):
    splitter = Splitter()
    for part in parts:
        assert all(whole(frame) for frame in splitter.feed(part))
        assert len(splitter._buffer) <= MOST + len(part)
    splitter.clear()
    assert list(splitter.feed(GOOD)) == [GOOD]


@given(st.binary(max_size=60).filter(lambda b: b"S" not in b), st.integers(0, 10))
def test_one_byte_at_a_time_behind_noise(noise, cut):
    splitter = Splitter()
    found = [frame for byte in noise + b"S" + GOOD + GOOD for frame in splitter.feed(bytes((byte,)))]
    assert found.count(GOOD) >= 1  # the false start may hide the first, not the second
    assert splitter.passed_over <= len(noise) + 1 + len(GOOD)


@given(st.binary(max_size=80), st.integers(0, 3), st.binary(max_size=3))
def test_no_frame_breaks_the_reader(data, sequence, block):
    reader = Peripheral(Settings(A, secrets.token_bytes(16)))
    for code in (0x60, 0x61, 0x68, 0x69, 0x6B, 0x6E, 0x75, 0x76, 0x77, 0x99):
        frame = build(A, sequence, code, data, block=block)
        reply = reader.reply(frame, 0.0)
        assert reply is None or whole(reply)

"""What replies and commands hold: cards, keys, inputs; and that no length and no byte raises anything but BadFrame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.errors import BadFrame
from lintel.edge.osdp import messages
from lintel.edge.osdp.cards import LAYOUTS, Layout, identity
from lintel.edge.osdp.keypad import Pad
from lintel.edge.osdp.messages import Code, RawCard, TextCard, parse


@given(st.integers(0, 255), st.binary(max_size=80))
def test_parse_never_raises_anything_else(code, data):
    try:
        parse(code, data)
    except BadFrame as error:
        assert not any(f"{byte:02x}" in str(error) for byte in data if byte > 0x9F)


def test_what_the_vectors_say():
    assert parse(Code.LSTATR, b"\x01\x00") == messages.Local(tamper=True, power=False)
    assert parse(Code.ISTATR, b"\x01\x00") == messages.Inputs((1, 0))
    assert parse(Code.NAK, b"\x04") == messages.Nak(4)
    assert parse(Code.FMT, b"\x00\x01\x04" + b"4321") == TextCard(0, b"1234")  # read backwards
    assert parse(Code.PDCAP, bytes.fromhex("090100")).secure
    assert not parse(Code.PDCAP, bytes.fromhex("090000")).secure
    assert not parse(Code.PDCAP, b"").secure
    pdid = parse(Code.PDID, bytes.fromhex("aabb03010278563412030201"))
    assert (pdid.vendor, pdid.model, pdid.serial, pdid.firmware) == ("aabb03", 1, 0x12345678, "3.2.1")


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01\x1a\x00\x12", b"\x00\x01\x00\x00", b"\x00\x01\x1a\x00\x12\x34\x56\x40\x00"]
)
def test_a_card_whose_length_lies_is_a_bad_frame(data):
    with pytest.raises(BadFrame):
        parse(Code.RAW, data)


def bits(text: str) -> RawCard:
    return RawCard(0, len(text), int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8)))


def wiegand(size: int, facility: int, number: int) -> str:
    """Bits by the layouts' definition: even parity over the first half, odd over the second."""
    wide = {26: 8, 34: 16, 37: 16}[size]
    body = f"{facility:0{wide}b}{number:0{size - 2 - wide}b}"
    half = -(-len(body) // 2)
    even = str(body[:half].count("1") % 2)
    odd = str(1 - body[-half:].count("1") % 2)
    return even + body + odd


@pytest.mark.parametrize(
    ("size", "facility", "number"), [(26, 123, 45678), (34, 40000, 65535), (37, 65535, 524287), (26, 0, 1)]
)
def test_a_known_card_is_facility_and_number(size, facility, number):
    assert identity(bits(wiegand(size, facility, number))) == f"{size}:{facility}:{number}"


@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_one_wrong_bit_of_a_known_card_is_noticed(size, data):
    good = wiegand(size, data.draw(st.integers(0, 255)), data.draw(st.integers(0, 65535)))
    at = data.draw(st.integers(0, size - 1))
    broken = good[:at] + ("1" if good[at] == "0" else "0") + good[at + 1 :]
    with pytest.raises(ValueError, match="parity"):
        identity(bits(broken))


def flips(size: int) -> list[str]:
    """Every card that differs from a good one in one bit."""
    good = wiegand(size, 200, 54321)
    return [good[:at] + "10"[int(good[at])] + good[at + 1 :] for at in range(size)]


def read(text: str, layouts=LAYOUTS) -> str:
    try:
        return identity(bits(text), layouts)
    except ValueError:
        return "bad_format"


@pytest.mark.parametrize("size", sorted(LAYOUTS))
def test_a16_every_flipped_bit_is_noticed(size):
    assert {read(card) for card in flips(size)} == {"bad_format"}


@pytest.mark.parametrize("size", sorted(LAYOUTS))
def test_a16_control_without_parity_a_flipped_bit_is_another_card(size):
    bare = {n: Layout(n, layout.facility, layout.number) for n, layout in LAYOUTS.items()}
    assert "bad_format" not in {read(card, bare) for card in flips(size)}
    assert len({read(card, bare) for card in flips(size)}) > size - 2


def test_a16_a_short_card_is_never_a_long_one_with_the_same_low_bits():
    found = {read(wiegand(size, 7, 4711)) for size in LAYOUTS} | {read("1" * 52), read(wiegand(26, 7, 4711) * 2)}
    assert found == {"26:7:4711", "34:7:4711", "37:7:4711", "52:FFFFFFFFFFFFF", read(wiegand(26, 7, 4711) * 2)}
    assert len(found) == 5


def test_a16_a_card_without_bits_is_a_bad_frame():
    with pytest.raises(BadFrame):
        parse(Code.RAW, b"\x00\x01\x00\x00\x00")


def test_the_vector_with_a_wrong_parity():
    with pytest.raises(ValueError, match="parity"):
        identity(RawCard(0, 26, bytes.fromhex("12345640")))


def test_unused_bits_are_not_part_of_the_card():
    assert identity(RawCard(0, 26, bytes.fromhex("bdd9377f"))) == identity(RawCard(0, 26, bytes.fromhex("bdd93740")))
    assert identity(RawCard(0, 33, bytes.fromhex("ffffffffff"))) == "33:1FFFFFFFF"


def test_unknown_lengths_are_bits_and_digits_and_never_meet():
    values = {identity(RawCard(0, n, bytes.fromhex("80000000"))) for n in (25, 27, 28, 29, 30, 31, 32)}
    assert len(values) == 7
    assert "32:80000000" in values


def test_a_profile_can_say_more():
    more = {**LAYOUTS, 32: Layout(32, (0, 0), (0, 32))}
    assert identity(RawCard(0, 32, bytes.fromhex("00000102")), more) == "32:0:258"


def test_a_card_longer_than_any():
    with pytest.raises(ValueError, match="many"):
        identity(RawCard(0, 257, bytes(33)))


# ---- keys


def test_a_pin():
    pad = Pad()
    assert pad.press(b"12", 0.0) == []
    assert pad.press(b"34\x0d", 4.9) == [b"1234"]
    assert pad.press(b"\x0d", 5.0) == []  # nothing was pressed


def test_star_clears_and_a_pause_too():
    pad = Pad()
    assert pad.press(b"99\x7f12\x0d", 0.0) == [b"12"]
    pad.press(b"99", 10.0)
    assert pad.press(b"12\x0d", 15.1) == [b"12"]


def test_a_pin_that_is_too_long_or_has_foreign_keys_is_none():
    assert Pad().press(b"1" * 17 + b"\x0d", 0.0) == [None]
    assert Pad().press(b"12A\x0d34\x0d", 0.0) == [None, b"34"]


def test_keys_and_cards_stand_in_no_repr():
    pad = Pad()
    pad.press(b"7431", 0.0)
    text = repr(pad) + repr(parse(Code.KEYPAD, b"\x00\x047431")) + repr(parse(Code.FMT, b"\x00\x00\x047431"))
    assert "7431" not in text
    assert "7431" not in repr(RawCard(0, 32, b"7431"))


# ---- commands


def test_orders_are_the_vectors_data():
    assert messages.output(0, 5, 30).hex() == "00051e00"
    assert messages.output(0, 5, 10**9).hex() == "0005ffff"
    assert messages.buzzer().hex() == "000202" + "0102"
    assert messages.text("OPEN", 5).hex() == "00030501" + "01044f50454e"
    assert len(messages.light(2, 30)) == 14


@pytest.mark.parametrize("text", ["", "x" * 33, "你好", "a\nb"])
def test_a_text_that_no_display_shows(text):
    with pytest.raises(ValueError, match="ASCII"):
        messages.text(text, 3)

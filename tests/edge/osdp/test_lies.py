"""Attacks and lies (rows B1 to B3), in virtual time: the content is never used, and the reader is left alone.

Played against the panel with a reader of another author that can lie, and with somebody in the middle of the wire. Each
attack has a control: the same attack against a panel without that guard works.
"""

import itertools

import pytest

from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp import keyring, secure
from lintel.edge.osdp.events import Distrusted, Heard, KeyProven, KeyUnused, KeyWanted
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.messages import RawCard
from lintel.edge.osdp.panel import State
from lintel.edge.osdp.secure import DEFAULT_KEY
from lintel.simulators.osdp_pd import Lie
from lintel.simulators.osdp_wire import build
from tests.edge.osdp.test_panel import secure as met
from tests.edge.osdp.wire import KEY, Reader, Wire

CARD = build(0x81, 1, 0x50, bytes.fromhex("00011a00bdd93740"))


def trusted_cards(wire: Wire) -> list:
    return [e.reply for e in wire.of(Heard) if isinstance(e.reply, RawCard) and e.trusted]


def codes(wire: Wire) -> set[int]:
    """Codes of all commands that left: behind the security block, if there is one."""
    return {frame[6 + frame[6]] if frame[5] & 8 else frame[6] for _, frame in wire.said}


# ---- B1: it says that it can not encrypt


@pytest.mark.parametrize("lie", [Lie.NO_ENCRYPTION, Lie.NO_SECURITY_BLOCK, "edited"])
def test_b1_a_provisioned_reader_that_says_it_can_not_encrypt(lie):
    reader = Reader(1, KEY)
    reader.pd.lies = {Lie.NO_CHANNEL, lie} if lie in set(Lie) else set()
    ring = Keyring(KEY)
    wire = Wire(reader, keyrings=[ring])
    if lie == "edited":

        def edit(to_reader, frame):
            if not to_reader and frame[5] == 0x46:
                return build(0x81, frame[4] & 3, 0x46, bytes.fromhex("040101090000"))
            return frame

        wire.tap = edit
    reader.card(1)
    wire.run(30.0)
    outcomes = wire.order(wire.panels[0])
    wire.run(30.0)
    assert set(wire.notices()) == {Notice.LINK_DOWNGRADE}
    assert codes(wire) <= {0x61, 0x62}  # never POLL, never OUT
    assert outcomes == [Outcome.NOT_SENT]
    assert not wire.of(Heard) or not trusted_cards(wire)
    again = Wire(reader, keyrings=[Keyring(ring.current)])  # a restart changes nothing
    again.tap = wire.tap
    again.run(30.0)
    assert set(again.notices()) == {Notice.LINK_DOWNGRADE}
    assert reader.outputs() == []


def test_b1_control_a_panel_that_believes_the_capabilities_takes_its_cards(monkeypatch):
    monkeypatch.setattr(keyring.Keyring, "provisioned", property(lambda self: False))
    reader = Reader(1, KEY)
    reader.pd.lies = {Lie.NO_CHANNEL, Lie.NO_ENCRYPTION}
    wire = Wire(reader, required=False)
    reader.card(1)
    wire.run(5.0)
    assert len(trusted_cards(wire)) == 1


def test_b1_waits_grow_and_an_honest_reader_is_taken_again():
    reader = Reader(1, KEY)
    reader.pd.lies = {Lie.NO_ENCRYPTION}
    wire = Wire(reader)
    wire.run(200.0)
    asked = [at for at, frame in wire.said if frame[6] == 0x62]
    waits = [b - a for a, b in itertools.pairwise(asked)]
    assert waits == sorted(waits)
    assert 55 < waits[-1] < 70
    reader.pd.lies.clear()
    wire.run(70.0, lambda: wire.panels[0].usable)
    assert wire.panels[0].state is State.SECURE


# ---- B2: keys


def test_b2_a_reader_that_only_knows_the_default_key_is_not_given_another():
    reader = Reader(1, KEY)
    wire = met(reader)
    reader.pd.settings.key, reader.pd.settings.install = None, True  # reset by its button
    reader.pd.forget()
    reader.card(1)
    wire.run(120.0)
    assert set(wire.notices()) == {Notice.READER_KEY_LOST}
    assert 0x75 not in codes(wire)
    assert not wire.of(KeyWanted)
    assert not any(b"\x03\x11\x00" in frame for _, frame in wire.said)  # the default key was never offered
    assert not trusted_cards(wire)
    assert wire.keyrings[0].current == KEY


@pytest.mark.parametrize("lie", [Lie.DEFAULT_KEY, Lie.WRONG_CRYPTOGRAM])
def test_b2_a_reader_with_another_key_is_not_met(lie):
    reader = Reader(1, KEY)
    reader.pd.lies = {lie}
    wire = Wire(reader)
    wire.run(60.0)
    assert set(wire.notices()) == {Notice.READER_KEY_LOST}
    assert codes(wire) <= {0x61, 0x62, 0x76}


def test_b2_an_answer_about_the_default_key_to_a_question_about_ours_is_refused():
    """The answer is right, for a key that everybody knows: without a look at its block it would pass."""
    reader = Reader(1, DEFAULT_KEY)
    ring = Keyring(KEY)
    wire = Wire(reader, keyrings=[ring])
    wire.tap = lambda to_reader, frame: frame
    reader.pd.lies = {Lie.OWN_KEY}
    wire.run(30.0)
    assert set(wire.notices()) == {Notice.READER_KEY_LOST}
    assert not wire.panels[0].usable


@pytest.mark.parametrize(
    "key",
    [DEFAULT_KEY, bytes(range(16)), b"\x30" * 16, bytes(range(255, 239, -1)), bytes(16), b"\x07" * 5],
    ids=["default", "counting", "repeated", "down", "zero", "short"],
)
def test_b2_a_weak_key_is_not_used(key):
    reader = Reader(1, key if len(key) == 16 else None)
    wire = Wire(reader, keyrings=[Keyring(key)])
    reader.card(1)
    wire.run(30.0)
    assert set(wire.notices()) == {Notice.WEAK_KEY}
    assert codes(wire) <= {0x61, 0x62}
    assert not trusted_cards(wire)


def test_b2_control_without_the_rule_a_guessed_key_opens_the_channel(monkeypatch):
    monkeypatch.setattr(keyring, "patterned", lambda key: False)
    wire = Wire(Reader(1, bytes(range(16))), keyrings=[Keyring(bytes(range(16)))])
    wire.run(5.0)
    assert wire.panels[0].usable


def test_b2_a_key_is_set_only_while_the_window_is_open():
    reader = Reader(1, None, install=True)
    wire = Wire(reader, key=None)
    wire.run(30.0)
    assert Notice.INSTALL_WINDOW_CLOSED in wire.notices()
    assert 0x76 not in codes(wire)
    assert 0x75 not in codes(wire)
    wire.panels[0].arm(wire.now, 60.0)
    took = wire.run(10.0, lambda: wire.of(KeyProven))
    assert took < 3.0
    wire.run(1.0)
    assert wire.panels[0].usable
    assert reader.pd.settings.key == wire.keyrings[0].current == wire.stored[0]
    assert Notice.KEY_SET in wire.notices()
    assert not wire.keyrings[0].armed(wire.now)  # one key a window
    assert len(wire.stored) == 1


def test_b2_the_window_is_ten_minutes_at_most_and_closes():
    ring = Keyring()
    ring.arm(0.0, 10_000.0)
    assert ring.armed(599.9)
    assert not ring.armed(600.0)
    reader = Reader(1, None, install=True)
    reader.switch(on=False)
    wire = Wire(reader, key=None)
    wire.panels[0].arm(wire.now, 10_000.0)
    wire.run(601.0)
    reader.switch(on=True)
    wire.run(30.0)
    assert 0x76 not in codes(wire)
    assert not wire.of(KeyWanted)


def test_b2_control_with_a_window_that_never_closes_a_reset_reader_is_given_a_key(monkeypatch):
    monkeypatch.setattr(keyring.Keyring, "armed", lambda self, now: True)
    reader = Reader(1, None, install=True)
    wire = Wire(reader, key=KEY)
    wire.run(30.0)
    assert reader.pd.settings.key in wire.stored


def test_b2_before_its_key_is_set_nothing_is_trusted():
    reader = Reader(1, None, install=True)
    wire = Wire(reader, key=None)
    wire.panels[0].install = lambda key, now: None  # the store is slow
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(2.0)
    assert wire.panels[0].state is State.SECURE
    assert not wire.panels[0].usable
    assert wire.order(wire.panels[0]) == [Outcome.NOT_SENT]
    reader.card(1)
    wire.run(70.0)
    assert not trusted_cards(wire)
    assert Notice.INSTALL_WINDOW_CLOSED in wire.notices()
    assert wire.panels[0].state is not State.SECURE


def test_b2_a_key_that_could_not_be_stored_is_not_sent():
    reader = Reader(1, None, install=True)
    wire = Wire(reader, key=None, make_key=lambda: None)
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(10.0)
    assert 0x75 not in codes(wire)
    assert reader.pd.settings.key is None


@pytest.mark.parametrize("lost", ["the command", "the answer"])
def test_b2_a_reader_that_went_while_its_key_was_set_is_met_with_the_one_it_has(lost):
    reader = Reader(1, KEY)
    wire = met(reader)
    old, sealed = KEY, []

    def cut(to_reader, frame):
        if to_reader and len(frame) == 46:  # KEYSET
            sealed.append(frame)
            return None if lost == "the command" else frame
        return None if sealed and not to_reader else frame

    wire.panels[0].arm(wire.now, 60.0)
    wire.tap = cut
    wire.run(5.0)
    assert sealed
    assert wire.keyrings[0].current == old
    assert wire.keyrings[0].fresh == wire.stored[0]
    restarted = Wire(reader, keyrings=[Keyring(wire.keyrings[0].current, wire.keyrings[0].fresh)])
    restarted.run(10.0, lambda: restarted.panels[0].usable)
    assert restarted.panels[0].usable
    assert reader.pd.settings.key == (old if lost == "the command" else wire.stored[0])
    assert bool(restarted.of(KeyProven)) == (lost == "the answer")


def test_b2_a_reader_that_refuses_its_key_keeps_the_old_one():
    reader = Reader(1, KEY)
    wire = met(reader)
    reader.pd._key_set = lambda data, sealed: (0x41, b"\x09")
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(5.0)
    assert wire.of(KeyUnused)
    assert wire.keyrings[0].current == KEY
    assert wire.keyrings[0].fresh is None
    assert wire.panels[0].usable


# ---- B3: inside a session


LIES = {
    Lie.WRONG_MAC: Notice.BAD_MAC,
    Lie.OLD_SEQUENCE: Notice.BAD_MAC,
    Lie.PLAIN_REPLIES: Notice.CLEARTEXT_REFUSED,
    Lie.UNSEALED_DATA: Notice.CLEARTEXT_REFUSED,
}


@pytest.mark.parametrize("lie", LIES)
def test_b3_three_lies_end_the_session_and_the_waits_grow(lie):
    reader = Reader(1, KEY)
    wire = met(reader)
    wire.run(1.0)
    reader.pd.lies = {lie}
    for number in range(200):
        reader.card(number)
    wire.run(300.0)
    assert set(wire.notices()) == {LIES[lie]}
    assert not trusted_cards(wire)
    resets = [at for at, frame in wire.said if frame[6] == 0x61]
    waits = [b - a for a, b in itertools.pairwise(resets)]
    assert max(waits) > 30
    assert len(resets) < 20
    assert reader.outputs() == []


def test_b3_two_lies_and_a_truth_end_nothing():
    reader = Reader(1, KEY)
    wire = met(reader)
    wire.run(1.0)
    count = itertools.count()
    wire.tap = lambda to_reader, frame: CARD if not to_reader and next(count) % 3 != 2 else frame
    wire.run(10.0)
    assert wire.panels[0].usable
    assert set(wire.notices()) == {Notice.CLEARTEXT_REFUSED}
    assert wire.of(Distrusted)
    assert not trusted_cards(wire)


def test_b3_every_frame_of_a_good_session_replayed_is_refused():
    reader = Reader(1, KEY)
    wire = met(reader)
    recorded = []

    def record(to_reader, frame):
        if not to_reader:
            recorded.append(frame)
        return frame

    wire.tap = record
    for number in range(30):
        reader.card(number)
    wire.run(5.0)
    assert len(trusted_cards(wire)) == 30
    wire.events.clear()
    for frame in recorded:
        wire.tap = lambda to_reader, own, frame=frame: own if to_reader else frame
        wire.run(0.1)
        wire.tap = None
        wire.run(3.0, lambda: wire.panels[0].usable and wire.panels[0].exchange.sent is None)
    assert not trusted_cards(wire)
    assert Notice.REPLAYED in wire.notices()
    assert reader.outputs() == []


def test_b3_control_without_the_mac_a_replayed_card_is_taken(monkeypatch):
    monkeypatch.setattr(secure.hmac, "compare_digest", lambda a, b: True)
    monkeypatch.setattr(secure.Session, "_decrypt", lambda self, data, start: bytes.fromhex("00011a00bdd93740800000"))
    reader = Reader(1, KEY)
    wire = met(reader)
    reader.card(1)
    kept = []
    wire.tap = lambda to_reader, frame: kept.append(frame) or frame
    wire.run(1.0)
    (card,) = {f for f in kept if len(f) == 30 and f[7] == 0x50}
    wire.events.clear()
    wire.tap = lambda to_reader, frame: frame if to_reader or frame[4] & 3 != card[4] & 3 else card
    wire.run(1.0)
    assert trusted_cards(wire)


def test_b3_a_forged_end_of_the_session_costs_only_time():
    """NAK 6 in the clear may be a reader that was reset: the session ends, nothing is believed, and it is met anew."""
    reader = Reader(1, KEY)
    wire = met(reader)
    count = itertools.count()
    forged = build(0x81, 1, 0x41, b"\x06")

    def tap(to_reader, frame):
        if to_reader or next(count) % 20:
            return frame
        return forged[:4] + bytes((frame[4] & 3 | 4,)) + b"\x41\x06" + build(0x81, frame[4] & 3, 0x41, b"\x06")[7:]

    wire.tap = tap
    for number in range(5):
        reader.card(number)
    wire.run(60.0)
    assert len(trusted_cards(wire)) <= 5
    assert all(e.trusted for e in wire.of(Heard) if isinstance(e.reply, RawCard))


def test_b3_noise_and_strangers_are_no_lies():
    reader = Reader(1, KEY)
    wire = met(reader)
    for at in range(0, 4000, 10):
        wire.bus.feed(bytes((at * n) & 0xFF for n in range(10)), wire.now)
        wire.bus.feed(build(0xC0, 1, 0x50, bytes(8)), wire.now)
        wire.run(0.05)
    assert wire.panels[0].usable
    assert wire.bus.strangers
    assert not wire.notices()

"""Attacks and lies (rows B1 and B3), in virtual time: the content is never used, and the reader is left alone.

Played against the panel with a reader of another author that can lie, and with somebody in the middle of the wire. Each
attack has a control: the same attack against a panel without that guard works.
"""

import itertools

import pytest

from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp import keyring, secure
from lintel.edge.osdp.events import Distrusted, Heard
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.messages import RawCard
from lintel.edge.osdp.panel import State
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

"""Keys (row B2), in virtual time: who is given one, when, and which are never used."""

import pytest

from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp import keyring
from lintel.edge.osdp.events import KeyProven, KeyUnused, KeyWanted
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.panel import Peripheral, State
from lintel.edge.osdp.secure import DEFAULT_KEY
from lintel.simulators.osdp_pd import Lie
from tests.edge.osdp.test_lies import codes, trusted_cards
from tests.edge.osdp.test_panel import secure as met
from tests.edge.osdp.wire import KEY, Reader, Wire

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


def asked_again():
    """A person opens the window again while a first key is on its way and its answer is lost."""
    reader = Reader(1, KEY)
    wire = met(reader)
    sealed, lost = [], []

    def tap(to_reader, frame):
        if to_reader and len(frame) == 46:  # KEYSET
            sealed.append(frame)
        elif not to_reader and sealed and len(lost) < 2:
            lost.append(frame)
            return None
        return frame

    wire.tap = tap
    wire.panels[0].arm(wire.now, 60.0)
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(5.0, lambda: sealed)
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(5.0)
    return reader, wire, sealed


def test_b2_while_a_key_is_on_its_way_no_other_is_made():
    """The reader took the first; had a second been stored over it, nobody would know the reader's key."""
    reader, wire, sealed = asked_again()
    assert len(sealed) > 1
    assert len(set(sealed)) == len(wire.stored) == len(wire.of(KeyWanted)) == 1
    assert reader.pd.settings.key == wire.keyrings[0].current == wire.stored[0]
    assert wire.panels[0].usable
    wire.panels[0].arm(wire.now, 60.0)  # and afterwards a person may have another
    wire.run(5.0)
    assert reader.pd.settings.key == wire.keyrings[0].current == wire.stored[1]


def test_b2_control_with_two_at_once_the_readers_key_is_lost(monkeypatch):
    monkeypatch.setattr(Peripheral, "_want_key", lambda self: self.events.append(KeyWanted()))
    reader, wire, _ = asked_again()
    assert reader.pd.settings.key not in (wire.keyrings[0].current, wire.keyrings[0].fresh)
    assert not wire.panels[0].usable


def test_b2_a_key_that_is_asked_for_when_the_line_breaks_is_asked_for_again():
    reader = Reader(1, KEY)
    wire = met(reader)
    install, wire.panels[0].install = wire.panels[0].install, lambda key, now: None  # the store is slow
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(1.0)
    wire.bus.close(wire.now)
    wire.bus.open()
    wire.panels[0].install = install
    wire.run(5.0, lambda: wire.of(KeyProven))
    assert reader.pd.settings.key == wire.keyrings[0].current == wire.stored[-1]


@pytest.mark.parametrize("said", [(0x41, b""), (0x48, b"\x00\x00")], ids=["a NAK without a reason", "a status"])
def test_b2_only_an_acknowledged_key_is_tried_first(said):
    """Whether the reader has it is not known: the old key is kept, and both fit."""
    reader = Reader(1, KEY)
    wire = met(reader)
    reader.pd._key_set = lambda data, sealed: said
    wire.panels[0].arm(wire.now, 60.0)
    wire.run(5.0)
    ring = wire.keyrings[0]
    assert (ring.current, ring.fresh, ring.delivered) == (KEY, wire.stored[0], False)
    assert len(wire.stored) == 1
    assert wire.panels[0].usable

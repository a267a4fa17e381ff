"""Rows B1 to B4 for OSDP: readers that lie about themselves, about keys, about frames, and a line full of noise."""

import asyncio
import logging
import random
import time

import pytest

from lintel.edge.drivers.osdp import CURRENT
from lintel.edge.model import Notice
from lintel.edge.osdp.frames import MAX_LENGTH, Receiver, encode
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.secure import patterned
from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Lie, Peripheral, Settings
from lintel.simulators.osdp_wire import Ask, Say, parse
from lintel.simulators.osdp_wire import build as frame
from tests.edge.drivers.contract import until
from tests.osdp_peers import libosdp_cp

from .osdp_stage import CARD, KEY, KNOWN, LIMIT, MEETING, Wire, arm, card, house, in_session, usable
from .stage import decided, told
from .test_osdp_attacks import no_encryption, run, side_by_side


def noticed(rig, notice, count=1):
    """Wait until a notice stands in the journal so often."""

    async def wait():
        while len(await told(rig, notice)) < count:
            await asyncio.sleep(0.02)

    return asyncio.wait_for(wait(), LIMIT)


# ---- B1


def test_b1_once_it_had_a_key_a_reader_is_secured_for_ever_or_refused(tmp_path):
    """Also after a restart: that it must be secure stands in the store. What it presents is not to be trusted."""

    async def work(lie, folder):
        wire = Wire(folder, enforce=False)
        async with house(folder, wire) as (rig, driver):
            await in_session(driver)
            wire.card()
            assert (await decided(rig, 1))[0].reason == "granted"
        wire.pd.forget()
        word = Notice.READER_KEY_LOST if lie is Lie.NO_CHANNEL else Notice.LINK_DOWNGRADE
        if isinstance(lie, Lie):
            wire.pd.lies.add(lie)
        for start in (1, 2):
            wire.ear.log.clear()
            wire.ear.edit = None if isinstance(lie, Lie) else no_encryption
            async with house(folder, wire) as (rig, driver):
                await noticed(rig, word, start)
                wire.instead(Say.RAW)
                decisions = await decided(rig, 1 + start)
                assert decisions[-1].reason == "device_untrusted"
                assert rig.lock.orders == []
                assert not usable(driver)
            assert set(wire.ear.commands()) <= MEETING
        wire.bus.close()

    variants = [Lie.NO_ENCRYPTION, Lie.NO_SECURITY_BLOCK, Lie.NO_CHANNEL, "edited in flight"]
    side_by_side(tmp_path, variants, work)


def test_b1_control_a_reader_of_a_model_without_channel_is_believed(tmp_path):
    """With the rule taken away the same reader opens the door in the clear."""

    async def work():
        wire = Wire(tmp_path, enforce=False)
        wire.pd.lies.add(Lie.NO_ENCRYPTION)
        async with house(tmp_path, wire, keyed=False, changes={"secure_channel": False}) as (rig, driver):
            await in_session(driver)
            wire.card()
            assert (await decided(rig, 1))[0].reason == "granted"
            assert len(rig.lock.orders) == 1
        assert any(CARD[4:] in raw for _, raw in wire.ear.log)
        wire.bus.close()

    run(work)


# ---- B2


def test_b2_a_key_that_can_be_guessed_is_known_by_rule():
    for start in range(256):
        for step in range(256):
            assert patterned(bytes((start + n * step) & 0xFF for n in range(16)))
    assert patterned(bytes(15))
    numbers = random.Random(2)
    assert not any(patterned(numbers.randbytes(16)) for _ in range(10_000))
    assert not patterned(KEY)


def test_b2_an_install_window_ends_after_ten_minutes_whatever_was_asked():
    keyring = Keyring()
    keyring.arm(1000.0, 86_400.0)
    assert keyring.armed(1599.9)
    assert not keyring.armed(1600.1)
    assert keyring.candidates(1600.1) == []


def test_b2_outside_the_window_a_reader_gets_no_key(tmp_path):
    """It begins to ask when the window has closed; and one that asks where nobody armed anything."""

    async def work():
        wire = Wire(tmp_path, key=None)
        async with house(tmp_path, wire, keyed=False) as (rig, driver):
            await arm(driver, 0.5)
            await until(wire.ear.challenges, LIMIT)
            assert all(wire.ear.challenges()), "in the window the default key is tried"
            await asyncio.sleep(0.7)
            wire.ear.log.clear()
            wire.pd.settings.install = True
            await until(wire.ear.commands, LIMIT)
            await asyncio.sleep(0.5)
            assert not wire.ear.challenges()
            assert Ask.KEYSET not in wire.ear.commands()
            await told(rig, Notice.INSTALL_WINDOW_CLOSED)
            assert wire.pd.settings.key is None
            assert rig.store.keys.get("r0", CURRENT) is None
            await arm(driver)
            await told(rig, Notice.KEY_SET)  # the control: the same reader, while a person waits for it
            assert rig.store.keys.get("r0", CURRENT) == wire.pd.settings.key
        wire.bus.close()

    run(work)


def test_b2_no_key_stands_in_a_log_a_notice_or_the_journal(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def work():
        wire = Wire(tmp_path, key=None, install=True)
        async with house(tmp_path, wire, keyed=False) as (rig, driver):
            await arm(driver)
            await told(rig, Notice.KEY_SET)
            made = wire.pd.settings.key
            wire.card()
            await decided(rig, 1)
            text = caplog.text + repr(rig.notices) + repr(driver.bus.peripherals[0].keyring)
            text += repr([e for s in ("access", "alarm", "audit", "telemetry") for e in rig.events(s)])
            for secret in (made, CARD[4:]):
                assert secret.hex() not in text.lower()
                assert repr(secret)[2:-1] not in text
            assert made.hex() in (text + made.hex()), "the control"
        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert made not in files
        assert made.hex().encode() not in files
        wire.bus.close()

    run(work)


# ---- B3

LIES = {
    Lie.WRONG_MAC: {"bad_mac"},
    Lie.OLD_SEQUENCE: {"bad_mac", "replayed"},
    Lie.PLAIN_REPLIES: {"cleartext_refused"},
    Lie.UNSEALED_DATA: {"cleartext_refused"},
}


def test_b3_a_frame_that_is_not_what_it_must_be_is_never_acted_on(tmp_path):
    """Dropped and told; the reader beside it on the line opens its door meanwhile. (How the waits grow: edge/osdp.)"""

    async def work(lie, folder):
        wire = Wire(folder, 2)
        async with house(folder, wire) as (rig, driver):
            await in_session(driver, 0)
            await in_session(driver, 1)
            wire.pd.lies.add(lie)
            for _ in range(8):
                wire.card()
            begun = time.monotonic()
            while not LIES[lie] & {e.reason for e in rig.events("alarm")}:
                assert time.monotonic() < begun + LIMIT
                await rig.flush()
                await asyncio.sleep(0.02)
            wire.card(1)
            await until(lambda: rig.lock.orders, LIMIT)
            await asyncio.sleep(max(0.0, begun + 2.5 - time.monotonic()))
            assert [o.door for o in rig.lock.orders] == ["d1"]
            await rig.flush()
            assert {e.reason for e in rig.decisions()} <= {"granted", "device_untrusted"}
            assert sum(e.reason == "granted" for e in rig.decisions()) == 1
            wire.pd.lies.clear()
            wire.pd.queue.clear()
            await in_session(driver, 0)  # an honest reader is used again
        wire.bus.close()

    side_by_side(tmp_path, LIES, work)


def test_b3_a_recorded_session_opens_nothing(tmp_path):
    """Every frame of a good session once more: into the same session, into the next one, and to the reader."""

    async def work():
        wire = Wire(tmp_path)
        async with house(tmp_path, wire) as (rig, driver):
            await in_session(driver)
            wire.card()
            await decided(rig, 1)
            await asyncio.sleep(0.2)
            log = list(dict.fromkeys(wire.ear.log))
            assert (KEY, Say.RAW, CARD) in wire.ear.read([KEY]), "the card is in it"
            attacker = object()
            for session in (1, 2):
                for from_panel, raw in log:
                    if not from_panel:
                        await in_session(driver)
                        wire.bus.say(attacker, raw)
                        await asyncio.sleep(0.03)
                await told(rig, Notice.REPLAYED)
                await told(rig, Notice.CLEARTEXT_REFUSED)  # its greetings were in the clear
                if session == 1:
                    wire.pd.forget()
                    await in_session(driver)
            for from_panel, raw in log:
                if from_panel:
                    wire.bus.say(attacker, raw)  # the reader forgets its session by some of them: no more than that
                    await asyncio.sleep(0.01)
            await rig.flush()
            assert [e.reason for e in rig.decisions()] == ["granted"]
            assert len(rig.lock.orders) == 1
            assert not [event for event, _ in wire.told if event == "output"]
            await in_session(driver)
            wire.card(data=card(9))
            assert (await decided(rig, 2))[-1].reason == "unknown_credential", "what is new is still heard"
        wire.bus.close()

    run(work)


def test_b3_control_in_the_clear_a_recorded_card_is_a_card(tmp_path):
    """The same recording, with the number of the moment, into a panel that takes the clear: it is read twice."""

    async def work():
        bus = Bus(tmp_path / "theirs", 0)
        pd = Peripheral(Settings(0, None, enforce=False))
        Station(bus, pd)
        recorded = []

        def tap(from_panel, raw):
            f = parse(raw)
            if f.code == Say.RAW:
                recorded.append(f.data)
            elif recorded and not from_panel and f.code == Say.ACK and len(recorded) == 1:
                recorded.append(b"")
                return frame(0x80, f.sequence, Say.RAW, recorded[0])
            return raw

        bus.tap = tap
        bus.plug()
        try:
            async with libosdp_cp(tmp_path / "theirs", {"address": 0, "enforce": False}) as cp:
                await cp.event("state", 10, online=True)
                pd.queue.append((Say.RAW, CARD, lambda: None))
                assert [(await cp.event("card", 10))["data"] for _ in range(2)] == [CARD[4:].hex()] * 2
        finally:
            bus.close()

    run(work)


# ---- B4

GOOD = encode(0x80, 1, 0x50, CARD)
NOISE = {
    "random bytes": random.Random(4).randbytes(4000),
    "half frames": (GOOD[: len(GOOD) // 2]) * 60,
    "length FFFF": b"S\x80\xff\xff\x04" * 200,
    "the longest length": b"S\x80\x00\x02\x04" * 200,
    "right check, wrong length": (GOOD[:2] + bytes((len(GOOD) + 1,)) + GOOD[3:]) * 60,
    "nested start bytes": b"S" * 3000,
    "frames of a reader that is not here": encode(0x85, 1, 0x50, CARD) * 100,
    "commands of another panel": encode(0x00, 1, 0x60) * 100,
}


def test_b4_noise_on_the_line_is_told_once_and_the_next_card_is_read(tmp_path):
    async def work():
        wire = Wire(tmp_path)
        wire.bus.tap = None
        async with house(tmp_path, wire) as (rig, driver):
            await in_session(driver)
            attacker = object()
            for count, noise in enumerate(NOISE.values(), 1):
                for at in range(0, len(noise), 400):
                    wire.bus.say(attacker, noise[at : at + 400])
                    await asyncio.sleep(0.005)
                await in_session(driver)
                wire.card(data=card(KNOWN[count]))
                assert (await decided(rig, count))[-1].reason == "granted"
            told_ = await told(rig, Notice.FRAME_ERROR)
            assert 1 <= len(told_) <= 4, "folded"
            assert len(rig.lock.orders) == len(NOISE)
        wire.bus.close()

    run(work)


@pytest.mark.parametrize("noise", NOISE)
def test_b4_the_receiver_keeps_one_frame_and_costs_little(noise):
    """At 115200 baud 11,520 bytes come in a second: they must cost less than 5 % of it."""
    receiver, data = Receiver(), NOISE[noise] * 10
    begun = time.process_time()
    for at in range(0, len(data), 64):
        receiver.feed(data[at : at + 64])
        assert len(receiver._held) <= MAX_LENGTH + 64
    took = time.process_time() - begun
    assert took < 0.05 * len(data) / 11_520
    receiver.cut()
    assert [p.code for p in receiver.feed(b"\xff" + GOOD)] == [0x50]


def test_b4_control_a_receiver_that_takes_any_length_at_its_word_waits_for_ever(monkeypatch):
    """Without the bound, five bytes make it keep 64 kB and miss what comes behind them."""
    monkeypatch.setattr("lintel.edge.osdp.frames.MAX_LENGTH", 1 << 16)
    receiver = Receiver()
    assert receiver.feed(b"S\x80\xff\xff\x04" + GOOD * 100) == []
    assert len(receiver._held) > 10 * MAX_LENGTH // 4

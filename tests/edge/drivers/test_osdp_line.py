"""What only an OSDP bus has: polled readers, a channel that must be secure, inputs, readers that come and go."""

import asyncio
import time

import pytest

from lintel.edge.drivers import osdp_voice
from lintel.edge.model import Action, Contact, ContactKind, DoorState, Method, Notice, Order, Outcome, Reason
from lintel.edge.profiles.osdp import Input
from lintel.simulators.osdp_wire import Say
from tests.edge.drivers.contract import DIGEST, Recorder, running, until
from tests.edge.drivers.osdp_rig import Readers, notices, on_bus, order


def test_a_card_and_an_order(tmp_path):
    async def scene(rig, driver, inlet):
        value = rig.card(4711)
        await until(lambda: inlet.readings)
        assert [r.digest for r in inlet.readings] == [DIGEST(Method.CARD, value)]
        assert await driver.execute(order(Action.OPEN)) is Outcome.EXECUTED
        assert rig.outputs() == [(0, 5)]
        assert not inlet.facts

    on_bus(tmp_path, scene)


def test_the_right_reader_speaks_for_its_door(tmp_path):
    async def scene(rig, driver, inlet):
        values = [rig.card(100 + n, n) for n in range(8)]
        await until(lambda: len(inlet.readings) == 8)
        found = {(r.device, r.door, r.digest) for r in inlet.readings}
        assert found == {(f"r{n}", f"door-{n}", DIGEST(Method.CARD, v)) for n, v in enumerate(values)}
        for n in range(8):
            assert await driver.execute(order(Action.OPEN, n)) is Outcome.EXECUTED
        assert rig.outputs() == [(n, 5) for n in range(8)]

    on_bus(tmp_path, scene, 8)


def test_every_order_as_the_reader_is_told_it(tmp_path):
    async def scene(rig, driver, inlet):
        for action in (Action.OPEN, Action.HOLD, Action.RELEASE, Action.BEEP):
            assert await driver.execute(order(action, seconds=4.0)) is Outcome.EXECUTED
        assert await driver.execute(order(Action.SHOW, text="COME IN", seconds=5.0)) is Outcome.EXECUTED
        told = [(event, more) for _, event, more in rig.told if event in ("output", "buzzer", "text", "led")]
        assert [(e, m.get("control")) for e, m in told[:4]] == [
            ("output", 5),
            ("led", None),
            ("output", 2),
            ("output", 1),
        ]
        assert told[0][1]["seconds"] == 4.0
        assert told[1][1] == {"reader": 0, "led": 0, "colour": "green", "seconds": 4.0}
        assert [e for e, _ in told[4:]] == ["buzzer", "text"]
        assert told[5][1]["text"] == "COME IN"
        for refused in (
            order(Action.OPEN, channel=1),
            order(Action.SHOW, text="你好"),
            order(Action.SHOW, text=""),
        ):
            assert await driver.execute(refused) is Outcome.REFUSED_BY_DEVICE
        foreign = Order("o", "d", "nobody", Action.OPEN, time.monotonic() + 1)
        assert await driver.execute(foreign) is Outcome.NOT_SENT

    on_bus(tmp_path, scene, changes={"green_on_open": True})


def test_cards_in_every_form(tmp_path):
    async def scene(rig, driver, inlet):
        rig.say(Say.RAW, bytes.fromhex("00011a0012345640"))  # wrong parity
        rig.say(Say.RAW, bytes.fromhex("00002000deadbeef"))  # 32 bits: known to nobody
        rig.say(Say.FMT, b"\x00\x00\x0812345678")
        rig.say(Say.FMT, b"\x00\x00\x04\xe4\xbd\xa0\x21")
        rig.say(Say.RAW, b"\x00\x01\x1a\x00\x12")  # its length lies
        await until(lambda: len(inlet.readings) == 4)
        await until(lambda: Notice.FRAME_ERROR in notices(inlet))
        assert [(r.fault, r.digest) for r in inlet.readings] == [
            (Reason.BAD_FORMAT, b""),
            (None, DIGEST(Method.CARD, "32:DEADBEEF")),
            (None, DIGEST(Method.CARD, "12345678")),
            (Reason.BAD_FORMAT, b""),
        ]
        assert all(r.method is Method.CARD for r in inlet.readings)

    on_bus(tmp_path, scene)


def test_a16_a_reader_takes_the_lengths_of_its_profile(tmp_path):
    async def scene(rig, driver, inlet):
        rig.card(4711)  # 26 bits
        rig.say(Say.RAW, bytes.fromhex("00013400") + bytes(7))  # two cards of 26 run together
        rig.say(Say.RAW, bytes.fromhex("000122000000000040"))  # 34 bits, and right
        await until(lambda: len(inlet.readings) == 3)
        assert [r.fault for r in inlet.readings] == [Reason.BAD_FORMAT, Reason.BAD_FORMAT, None]
        assert inlet.digests() == [DIGEST(Method.CARD, "34:0:0")]

    on_bus(tmp_path, scene, changes={"bits": (34,)})


def test_keys_become_a_pin(tmp_path):
    async def scene(rig, driver, inlet):
        rig.press("12")
        rig.press("34#")
        rig.press("99*56#")
        rig.press("1" * 17 + "#")
        await until(lambda: len(inlet.readings) == 3)
        assert [(r.method, r.digest, r.fault) for r in inlet.readings] == [
            (Method.PIN, DIGEST(Method.PIN, "1234"), None),
            (Method.PIN, DIGEST(Method.PIN, "56"), None),
            (Method.PIN, b"", Reason.BAD_FORMAT),
        ]

    on_bus(tmp_path, scene)


async def held(rig, driver, inlet):
    for _ in range(4):
        rig.card(1)
    rig.card(2)
    await until(lambda: len(inlet.readings) >= 2 and not rig.pds[0].queue)
    assert len(inlet.readings) == 2
    await asyncio.sleep(0.6)
    rig.card(1)
    await until(lambda: len(inlet.readings) == 3)
    assert inlet.readings[0].digest == inlet.readings[2].digest != inlet.readings[1].digest


def test_a_card_that_is_held_is_one_presentation_and_later_another(tmp_path, monkeypatch):
    monkeypatch.setattr(osdp_voice, "AGAIN_S", 0.4)
    on_bus(tmp_path, held)


def test_control_without_that_memory_a_held_card_is_many(tmp_path, monkeypatch):
    monkeypatch.setattr(osdp_voice, "AGAIN_S", 0.0)
    monkeypatch.setattr(osdp_voice, "UNDECIDED_S", 0.0)
    with pytest.raises(AssertionError):
        on_bus(tmp_path, held)


def test_a_full_door_holds_its_own_reader_only(tmp_path):
    async def scene(rig, driver, inlet):
        inlet.gate.clear()
        for number in range(30):
            rig.card(number)
        await until(lambda: driver.bus.peripherals[0].hold)
        await asyncio.sleep(0.3)
        kept = len(rig.pds[0].queue)
        assert kept >= 25  # the reader itself keeps them
        await asyncio.sleep(0.3)
        assert len(rig.pds[0].queue) == kept
        assert await driver.execute(order(Action.OPEN, 1)) is Outcome.EXECUTED
        assert await driver.execute(order(Action.OPEN, 0)) is Outcome.EXECUTED
        inlet.gate.set()
        await until(lambda: len(inlet.readings) == 30, 10.0)
        assert len({r.digest for r in inlet.readings}) == 30
        assert not inlet.facts

    on_bus(tmp_path, scene, 2)


def test_control_a_reader_that_is_not_held_loses_cards(tmp_path, monkeypatch):
    monkeypatch.setattr(osdp_voice.Voice, "_hold", lambda self, on: None)
    with pytest.raises(AssertionError):
        test_a_full_door_holds_its_own_reader_only(tmp_path)


def test_inputs_and_tamper(tmp_path):
    async def scene(rig, driver, inlet):
        await until(lambda: inlet.doors)  # asked when the reader came up
        assert inlet.doors == [DoorState("r0", 1, False)]
        await until(lambda: len(inlet.contacts) == 3)
        assert {(c.kind, c.input) for c in inlet.contacts if c.active is False} == {
            (ContactKind.EXIT, 0), (ContactKind.TAMPER, -1), (ContactKind.POWER, -1),
        }, "at rest is said as well: silence means something else"  # fmt: skip
        inlet.contacts.clear()
        rig.say(Say.ISTATR, b"\x01\x00")
        rig.say(Say.ISTATR, b"\x01\x00")
        rig.say(Say.ISTATR, b"\x00\x01")
        rig.say(Say.LSTATR, b"\x01\x00")
        rig.say(Say.LSTATR, b"\x00\x01")
        await until(lambda: len(inlet.contacts) == 5)
        exit_, tamper, power = ContactKind.EXIT, ContactKind.TAMPER, ContactKind.POWER
        assert inlet.contacts == [
            Contact("r0", exit_, True, "door-0"),
            Contact("r0", exit_, False, "door-0"),
            Contact("r0", tamper, True, "door-0", -1),
            Contact("r0", tamper, False, "door-0", -1),
            Contact("r0", power, True, "door-0", -1),
        ]
        assert inlet.doors[1:] == [DoorState("r0", 1, True)]
        rig.bus.cut()
        await until(lambda: inlet.doors[-1] == DoorState("r0", 1, None))
        assert inlet.contacts[-1] == Contact("r0", exit_, None, "door-0")

    on_bus(tmp_path, scene)


def test_inputs_are_told_apart_and_told_again_after_an_outage(tmp_path):
    """A fire input at rest is heard, and heard again: else no operator could reset what it once released."""
    two = (Input(0, "fire"), Input(1, "fire", inverted=True))

    async def scene(rig, driver, inlet):
        def fire():
            return [(c.input, c.active) for c in inlet.contacts if c.kind is ContactKind.FIRE]

        def tamper():
            return [c.active for c in inlet.contacts if (c.kind, c.input) == (ContactKind.TAMPER, -1)]

        await until(lambda: len(fire()) == 2)
        assert fire() == [(0, False), (1, True)]
        rig.say(Say.ISTATR, b"\x00\x01")
        rig.say(Say.LSTATR, b"\x01\x00")
        await until(lambda: tamper()[-1] and fire()[-1] == (1, False))
        inlet.contacts.clear()
        rig.bus.tap = lambda panel, frame: None
        await until(lambda: fire() == [(0, None), (1, None)], 15.0)
        rig.pds[0].unit.inputs, rig.pds[0].unit.tamper, rig.bus.tap = [0, 1], 0, None
        await until(lambda: fire()[2:] == [(0, False), (1, False)] and tamper(), 15.0)
        assert tamper() == [False], "the cover was closed meanwhile: its next opening is an alarm"

    on_bus(tmp_path, scene, changes={"input": two})


def test_an_exit_button_of_a_reader_that_is_not_trusted_opens_nothing(tmp_path):
    async def scene(rig, driver, inlet):
        await until(lambda: Notice.INSTALL_WINDOW_CLOSED in notices(inlet))
        rig.say(Say.ISTATR, b"\x01\x01")
        rig.say(Say.LSTATR, b"\x01\x00")
        value = rig.card(1)
        await until(lambda: inlet.readings and inlet.contacts)
        await asyncio.sleep(0.2)
        assert {c.kind for c in inlet.contacts} == {ContactKind.TAMPER}  # an alarm may come from anybody
        assert not inlet.doors
        assert [(r.fault, r.digest) for r in inlet.readings] == [(Reason.DEVICE_UNTRUSTED, b"")]
        assert DIGEST(Method.CARD, value) not in inlet.digests()
        assert await driver.execute(order(Action.OPEN)) is Outcome.NOT_SENT
        assert rig.outputs() == []

    on_bus(tmp_path, scene, secure=False, keyed=False, enforce=False)


def test_sixteen_readers_on_two_lines_cost_little(tmp_path):
    """All is in this process, the simulated readers too: the panel's own share is a part of what is measured."""

    async def stage():
        rigs = [Readers(tmp_path / f"bus{n}", 8, baud=115200) for n in range(2)]
        drivers, inlets = [rig.build() for rig in rigs], [Recorder(), Recorder()]
        try:
            async with running(drivers[0], inlets[0]), running(drivers[1], inlets[1]):
                ready = [p for d in drivers for p in d.bus.peripherals.values()]
                await until(lambda: all(p.usable for p in ready), 10.0)
                shares = []
                for _ in range(3):
                    begin, before = time.monotonic(), time.process_time()
                    await asyncio.sleep(0.5)
                    shares.append((time.process_time() - before) / (time.monotonic() - begin))
                assert min(shares) < 0.6
                print("share of one core, readers and line included:", shares)
        finally:
            for rig in rigs:
                rig.bus.close()

    asyncio.run(stage())

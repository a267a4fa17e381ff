"""OSDP readers and lines that come and go: told once, back soon, and no order twice; noise and echo."""

import asyncio
import time

from lintel.edge.drivers import osdp_voice
from lintel.edge.model import Action, ContactKind, Method, Notice, Outcome
from lintel.simulators.osdp_wire import Say
from tests.edge.drivers.contract import DIGEST, Recorder, running, until
from tests.edge.drivers.osdp_rig import Readers, notices, on_bus, order

# ---- readers and lines that come and go


def test_a_reader_that_goes_and_comes_is_told_once_each_and_is_back_soon(tmp_path):
    async def scene(rig, driver, inlet):
        rig.stations[1].power(on=False)
        await until(lambda: inlet.facts, 5.0)
        await asyncio.sleep(1.5)
        assert [(f.notice, f.device) for f in inlet.facts] == [(Notice.COMMS_LOST, "r1")]
        value = rig.card(5, 0)  # the neighbour is none the worse
        await until(lambda: DIGEST(Method.CARD, value) in inlet.digests(), 1.0)
        rig.stations[1].power(on=True)
        begin = time.monotonic()
        await until(lambda: len(inlet.facts) == 2, 5.0)
        assert time.monotonic() - begin < 3.0
        assert [(f.notice, f.device) for f in inlet.facts][1:] == [(Notice.COMMS_RESTORED, "r1")]
        assert await driver.execute(order(Action.OPEN, 1)) is Outcome.EXECUTED

    on_bus(tmp_path, scene, 2)


def test_a_reader_that_comes_and_goes_is_told_once_in_ten_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(osdp_voice, "FOLD_S", 1.5)

    async def scene(rig, driver, inlet):
        panel = driver.bus.peripherals[0]
        for _ in range(3):
            rig.pds[0].forget()  # its supply is loose
            await until(lambda: not panel.usable)
            await until(lambda: panel.usable, 10.0)
        assert notices(inlet).count(Notice.COMMS_LOST) < 3
        rig.stations[0].power(on=False)
        await until(lambda: notices(inlet) and notices(inlet)[-1] is Notice.COMMS_LOST, 8.0)
        lost = [f.count for f in inlet.facts if f.notice is Notice.COMMS_LOST]
        assert sum(lost) == 4
        assert len(lost) < 4
        back = [f for f in inlet.facts if f.notice is Notice.COMMS_RESTORED]
        assert len(back) == len(lost) - 1

    on_bus(tmp_path, scene)


def test_a_reader_that_never_came_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("lintel.edge.drivers.osdp.APPEAR_S", 0.3)

    async def scene(rig, driver, inlet):
        rig.stations[0].power(on=False)
        await until(lambda: inlet.facts)
        assert [(f.notice, f.device) for f in inlet.facts] == [(Notice.COMMS_LOST, "r0")]

    on_bus(tmp_path, scene, secure=False)


def test_b5_unplugged_between_order_and_answer_is_unknown_and_never_repeated(tmp_path):
    async def scene(rig, driver, inlet):
        rig.stations[0].turnaround = 0.1
        asked = asyncio.create_task(driver.execute(order(Action.OPEN)))
        await until(rig.outputs)
        rig.bus.cut()
        assert await asyncio.wait_for(asked, 2) is Outcome.UNKNOWN_OUTCOME
        rig.stations[0].turnaround = 0.002
        rig.bus.plug(tmp_path / "bus")
        begin = time.monotonic()
        await until(lambda: driver.bus.peripherals[0].usable and inlet.ups == 2, 5.0)
        assert time.monotonic() - begin < 5.0
        assert rig.outputs() == [(0, 5)]
        assert notices(inlet) == [Notice.COMMS_LOST, Notice.COMMS_RESTORED]

    on_bus(tmp_path, scene)


def test_b5_a_line_that_is_another_now_is_left_and_a_swapped_reader_is_not_met(tmp_path):
    async def scene(rig, driver, inlet):
        other = Readers(tmp_path / "other", keyed=False)
        other.pds[0].settings.key = bytes.fromhex("00112233445566778899aabbccddee01")
        try:
            rig.link.unlink()
            rig.link.symlink_to((tmp_path / "other").resolve())
            await until(lambda: Notice.READER_KEY_LOST in notices(inlet), 5.0)
            assert Notice.COMMS_LOST in notices(inlet)
            other.card(1)
            assert await driver.execute(order(Action.OPEN)) is Outcome.NOT_SENT
            assert other.outputs() == []
            assert not inlet.readings
        finally:
            other.bus.close()

    on_bus(tmp_path, scene)


def test_what_was_done_at_a_reader_while_it_was_away_is_old_and_opens_nothing(tmp_path):
    async def scene(rig, driver, inlet):
        rig.press("12")
        await asyncio.sleep(0.3)
        rig.bus.tap = lambda panel, frame: None
        rig.card(1)
        rig.say(Say.ISTATR, b"\x01\x00")
        rig.say(Say.ISTATR, b"\x00\x00")
        rig.press("34#")
        await asyncio.sleep(3.0)
        rig.bus.tap = None
        await until(lambda: len(inlet.readings) == 2, 5.0)
        await until(lambda: driver.bus.peripherals[0].fresh)
        assert all(3.0 <= r.age < 8.0 for r in inlet.readings)
        assert not [c for c in inlet.contacts if c.kind is ContactKind.EXIT and c.active]
        rig.card(2)
        rig.say(Say.ISTATR, b"\x01\x00")
        await until(lambda: len(inlet.readings) == 3)
        assert inlet.readings[2].age == 0.0
        await until(lambda: [c.active for c in inlet.contacts if c.kind is ContactKind.EXIT][-1] is True)

    on_bus(tmp_path, scene)


def test_an_echoing_adapter(tmp_path):
    async def scene(rig, driver, inlet):
        value = rig.card(3)
        await until(lambda: inlet.readings)
        assert inlet.digests() == [DIGEST(Method.CARD, value)]
        assert await driver.execute(order(Action.OPEN)) is Outcome.EXECUTED

    async def stage():
        rig, inlet = Readers(tmp_path / "bus"), Recorder()
        rig.bus._echo = True
        driver = rig.build()
        try:
            async with running(driver, inlet):
                await until(lambda: driver.bus.peripherals[0].usable)
                await scene(rig, driver, inlet)
        finally:
            rig.bus.close()

    asyncio.run(stage())


def test_noise_is_said_once_and_costs_little(tmp_path):
    async def scene(rig, driver, inlet):
        noise, shares = bytes(range(256)), []
        for _ in range(3):
            begin, before = time.monotonic(), time.process_time()
            while time.monotonic() < begin + 0.7:
                rig.bus.panel.hear(noise[:64])
                await asyncio.sleep(0.0055)  # the speed of 115200 baud
            shares.append((time.process_time() - before) / (time.monotonic() - begin))
        value = rig.card(9)
        await until(lambda: DIGEST(Method.CARD, value) in inlet.digests(), 5.0)
        assert notices(inlet).count(Notice.FRAME_ERROR) == 1
        assert min(shares) < 0.25  # with the simulated reader in the same process

    on_bus(tmp_path, scene)

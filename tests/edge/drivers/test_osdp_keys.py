"""Keys of OSDP readers: written before they leave, made by the system, in no log; and what the file may say."""

import asyncio
import gc
import logging
from dataclasses import replace

import pytest

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.osdp import CURRENT, FRESH, Osdp, build
from lintel.edge.errors import ConfigError, StoreError
from lintel.edge.model import Direction, Method, Notice, Outcome
from lintel.edge.profiles import builtin
from lintel.simulators.osdp_pd import Lie
from lintel.simulators.osdp_wire import Say
from tests.edge.drivers.contract import DIGEST, Recorder, context, running, until
from tests.edge.drivers.osdp_rig import install, new_reader, notices, on_bus, on_line

# ---- keys


def test_a_key_is_written_before_it_leaves_and_survives_a_restart(tmp_path):
    async def scene(rig, driver, inlet):
        await until(lambda: Notice.INSTALL_WINDOW_CLOSED in notices(inlet))
        assert rig.keys.writes == []
        sent = []
        rig.bus.tap = lambda panel, frame: sent.append((len(frame), list(rig.keys.writes))) or frame
        assert await driver.execute(install()) is Outcome.EXECUTED
        await until(lambda: driver.bus.peripherals[0].usable, 5.0)
        await until(lambda: len(rig.keys.writes) == 3)
        (written,) = [writes for size, writes in sent if size == 46]  # KEYSET
        assert written == [("r0", FRESH, True)]
        assert rig.keys.writes[1:] == [("r0", CURRENT, True), ("r0", FRESH, False)]
        assert rig.keys.kept == {("r0", CURRENT): rig.pds[0].settings.key}
        assert Notice.KEY_SET in notices(inlet)
        value = rig.card(1)
        await until(lambda: DIGEST(Method.CARD, value) in inlet.digests())

    async def again(rig, driver, inlet):
        await until(lambda: driver.bus.peripherals[0].usable, 5.0)
        rig.pds[0].lies = {Lie.NO_ENCRYPTION, Lie.NO_CHANNEL}
        rig.pds[0].forget()
        await until(lambda: Notice.LINK_DOWNGRADE in notices(inlet), 5.0)
        rig.card(2)
        await asyncio.sleep(0.5)
        assert not inlet.readings

    async def both(rig):
        for part in (scene, again):
            driver, inlet = rig.build(), Recorder()
            async with running(driver, inlet):
                await part(rig, driver, inlet)

    on_line(tmp_path / "bus", both, keyed=False, install=True)


def test_a_key_that_can_not_be_written_does_not_leave(tmp_path):
    async def scene(rig, driver, inlet):
        rig.keys.error = StoreError("disk_full", "no")
        await driver.execute(install())
        await until(lambda: Notice.DEVICE_FAULT in notices(inlet), 5.0)
        await asyncio.sleep(0.5)
        assert rig.pds[0].settings.key is None
        assert not driver.bus.peripherals[0].usable

    new_reader(tmp_path, scene)


def test_a_key_that_could_be_guessed_is_neither_written_nor_sent(tmp_path):
    async def scene(rig, driver, inlet):
        driver._make_key = lambda size: bytes(range(size))
        await driver.execute(install())
        await until(lambda: Notice.WEAK_KEY in notices(inlet), 5.0)
        await asyncio.sleep(0.5)
        assert rig.pds[0].settings.key is None
        assert rig.keys.writes == []

    new_reader(tmp_path, scene)


def test_keys_are_the_systems_random_bytes():
    profile = builtin()["osdp-generic"]
    driver = build(Line("b", "osdp", {"path": "/dev/x"}), [Device("r", "0", "d", Direction.IN, profile)], context())
    assert isinstance(driver, Osdp)
    made = {driver._make_key(16) for _ in range(50)}
    assert len(made) == 50


def test_a_window_for_a_model_without_a_channel_is_refused(tmp_path):
    async def scene(rig, driver, inlet):
        await until(lambda: driver.bus.peripherals[0].usable)
        assert await driver.execute(install()) is Outcome.REFUSED_BY_DEVICE
        rig.card(1)
        await until(inlet.digests)  # all the same, such a model is used as it is

    on_bus(tmp_path, scene, secure=False, keyed=False, enforce=False, changes={"secure_channel": False})


def test_no_key_and_no_card_in_any_log_or_repr(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    seen = []

    async def scene(rig, driver, inlet):
        await driver.execute(install())
        await until(lambda: driver.bus.peripherals[0].usable, 5.0)
        rig.say(Say.FMT, b"\x00\x00\x0b7431-CANARY")
        rig.press("74310982#")
        await until(lambda: len(inlet.readings) == 2)
        gc.collect()
        ours = [o for o in gc.get_objects() if str(type(o).__module__).startswith("lintel.edge.")]
        seen.extend(repr(o) for o in ours)
        seen.extend([repr(inlet.facts), repr(inlet.readings)])
        secret = rig.pds[0].settings.key
        text = caplog.text + "".join(seen)
        for word in ("7431-CANARY", "74310982", secret.hex(), secret.hex().upper(), repr(secret)[2:-1]):
            assert word not in text

    new_reader(tmp_path, scene)


# ---- the file


def test_every_mistake_of_the_line_is_named():
    osdp, qr = builtin()["osdp-generic"], builtin()["generic-cr"]
    addresses = ["0", "0", "127", "", "x", "5"]
    devices = [Device(f"r{n}", a, "d", Direction.IN, osdp) for n, a in enumerate(addresses)]
    devices[5] = replace(devices[5], profile=qr)
    with pytest.raises(ConfigError) as caught:
        build(Line("bus", "osdp", {"path": "tty", "baud": 9601, "speed": 1}), devices, context())
    named = {m.where for m in caught.value.mistakes}
    assert named == {
        "line.bus.speed", "line.bus.path", "line.bus.baud", "device.r1.address", "device.r2.address",
        "device.r3.address", "device.r4.address", "device.r5.profile",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="1 to 8 devices"):
        build(Line("bus", "osdp", {"path": "/dev/x"}), [], context())

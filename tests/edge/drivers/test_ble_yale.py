"""A Yale lock on a Bluetooth line, as far as its traffic is known in public."""

import asyncio

import pytest
from bleak.exc import BleakDBusError, BleakGATTProtocolError

from lintel.edge.drivers import ble_session
from lintel.edge.drivers.ble_link import Denied, Gone, Link
from lintel.edge.model import Action, DoorState, Measure, Notice, Outcome
from tests.edge.drivers.ble_rig import (
    ADDRESS,
    YALE_KEY,
    Inlet,
    a_few_at_a_time,
    order,
    play,
    running,
    short_waits,
    until,
    yale_rig,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    short_waits(monkeypatch)


def test_open_release_and_condition():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED
            assert await driver.execute(order(Action.RELEASE, within=10, name="o2")) is Outcome.EXECUTED
            await until(lambda: inlet.doors == [DoorState("lock", 0, False)], 5.0)
            await until(lambda: any(what is Measure.SUPPLY_MV for _, what, _ in inlet.measures), 5.0)
        assert rig.turns() == ["unlock", "lock"]

    play(scene, yale_rig)


def test_the_latch_of_a_lock_that_has_one():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=15)) is Outcome.EXECUTED
        assert rig.turns() == ["unlatch"]

    play(scene, yale_rig, latch=True, spec={"open": "unlatch"})


def test_the_gateway_locks_again():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.3)) is Outcome.EXECUTED
            await until(lambda: rig.turns() == ["unlock", "lock"], 5.0)

    play(scene, yale_rig, spec={"locks_again": "gateway"})


def test_the_key_is_given_in_a_window_and_tried_first():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            wrong = order(Action.INSTALL, seconds=20, text=bytes(17).hex(), name="i1")
            assert await driver.execute(wrong) is Outcome.EXECUTED
            await until(lambda: any("not paired: the lock" in f.detail for f in inlet.facts), 10.0)
            assert rig.keys.kept == {}
            right = order(Action.INSTALL, seconds=20, text=YALE_KEY.hex() + "01", name="i2")
            assert await driver.execute(right) is Outcome.EXECUTED
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED
            short = order(Action.INSTALL, seconds=20, text=YALE_KEY.hex(), name="i3")
            assert await driver.execute(short) is Outcome.REFUSED_BY_DEVICE
        assert rig.turns() == ["unlock"]

    play(scene, yale_rig, paired=False)


def test_a_key_that_was_changed_is_not_tried_for_ever(monkeypatch):
    monkeypatch.setattr(ble_session, "LONGEST_WAIT", 0.05)

    async def scene(rig, driver, inlet):
        rig.keys.kept["lock", "offline_key"] = bytes(16) + b"\x01"
        async with running(driver, inlet):
            await until(lambda: Notice.READER_KEY_LOST in inlet.notices(), 10.0)
            await asyncio.sleep(0.3)
            assert rig.air.adapter.dialled == {ADDRESS: 2}

    play(scene, yale_rig)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BleakGATTProtocolError(0x0E), Denied),
        (BleakGATTProtocolError(0x05), Denied),
        (BleakDBusError("org.bluez.Error.NotPermitted", ["Not paired"]), Denied),  # 05, 0C and 0F by way of BlueZ
        (BleakDBusError("org.bluez.Error.Failed", ["Not connected"]), Gone),
    ],
)
def test_the_lock_s_own_refusal_is_told_apart_from_a_radio_that_fails(error, kind):
    with pytest.raises(Gone) as caught, Link(lambda: None)._no_bleak():
        raise error
    assert type(caught.value) is kind


def test_a_jam_is_refused_and_told():
    async def scene(rig, driver, inlet):
        await rig.lock.do_jam()
        async with running(driver, inlet):
            assert await driver.execute(order(within=10)) is Outcome.REFUSED_BY_DEVICE
        assert "jammed" in [f.detail for f in inlet.facts]

    play(scene, yale_rig)


STEPS = [
    (op, nth, arrives)
    for op, most in (("write", 8), ("write_answer", 8), ("notify", 8))
    for nth in range(1, most + 1)
    for arrives in (False, True)
]


def test_b6_a_cut_at_any_step_turns_the_motor_once_or_is_said_to_be_unknown():
    async def one(step):
        op, nth, arrives = step
        async with yale_rig() as rig:
            driver, inlet = rig.build(), Inlet()
            rig.air.cut(rig.address, op, nth=nth, arrives=arrives)
            async with running(driver, inlet):
                outcome = await driver.execute(order(within=8))
                await until(lambda: not rig.lock.motor.busy, 5.0)
                assert outcome in (Outcome.EXECUTED, Outcome.UNKNOWN_OUTCOME), step
                assert len(rig.turns()) <= 1, step
                if outcome is Outcome.EXECUTED:
                    assert rig.turns() == ["unlock"], step
            return outcome

    outcomes = asyncio.run(a_few_at_a_time(one, STEPS))
    assert outcomes.count(Outcome.EXECUTED) >= len(STEPS) - 2

"""A Lintel lock on a Bluetooth line: opened once, held, let go, watched."""

import asyncio
import gc
import time
from contextlib import suppress

import pytest

from lintel.edge.ble import lintel_lock as core
from lintel.edge.drivers import ble_health, ble_session
from lintel.edge.errors import Lost
from lintel.edge.model import Action, DoorState, Measure, Notice, Outcome
from tests.edge.drivers.ble_rig import order, play, ready, running, until
from tests.edge.drivers.contract import open_files

REST_S = ble_session.REST_S


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)


def test_connect_handshake_unlock():
    async def scene(rig, driver, inlet):
        assert await driver.execute(order()) is Outcome.NOT_SENT  # not running yet
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.EXECUTED
            assert rig.turns() == ["unlock"]
            assert await driver.execute(order(within=-0.001)) is Outcome.ORDER_EXPIRED
            assert rig.turns() == ["unlock"]
            assert await driver.execute(order(Action.BEEP)) is Outcome.REFUSED_BY_DEVICE
        assert inlet.ups == 1
        assert [f for f in inlet.facts if f.notice is not Notice.DEVICE_FAULT] == []

    play(scene)


def test_an_unlock_of_a_connected_lock_is_one_write():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            crossed = []
            rig.air.taps.append(lambda pdu: crossed.append((pdu.op, pdu.uuid)))
            assert await driver.execute(order()) is Outcome.EXECUTED
        writes = [uuid for op, uuid in crossed[: crossed.index(("notify", core.RX))] if op == "write"]
        assert writes == [core.TX]

    play(scene)


def test_the_profile_says_what_opening_is():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(seconds=7)) is Outcome.EXECUTED
        assert rig.turns() == ["unlatch"]

    play(scene, spec={"open": "unlatch"})


def test_hold_and_release():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD)) is Outcome.EXECUTED
            assert await driver.execute(order(Action.RELEASE, name="o2")) is Outcome.EXECUTED
        assert rig.turns() == ["unlock", "lock"]

    play(scene)


def test_the_gateway_locks_again_where_the_lock_does_not():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(seconds=0.3)) is Outcome.EXECUTED
            assert rig.turns() == ["unlock"]
            await until(lambda: rig.turns() == ["unlock", "lock"], 5.0)
            assert await driver.execute(order(seconds=0.3, name="o2")) is Outcome.EXECUTED
            assert await driver.execute(order(Action.HOLD, name="o3")) is Outcome.EXECUTED
            await asyncio.sleep(0.6)  # held open: the earlier order does not lock it
        assert rig.turns() == ["unlock", "lock", "unlock", "unlock"]

    play(scene, spec={"locks_again": "gateway"})


def test_a_lock_that_is_lost_is_locked_again_when_it_is_back():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(seconds=0.2)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            await asyncio.sleep(0.5)
            assert rig.turns() == ["unlock"]
            rig.air.back(rig.address)
            await until(lambda: rig.turns() == ["unlock", "lock"], 10.0)

    play(scene, spec={"locks_again": "gateway"})


def test_a_jam_is_told():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await rig.lock.do_jam()
            assert await driver.execute(order()) is Outcome.REFUSED_BY_DEVICE
        assert rig.turns() == ["unlock"]
        assert [f.detail for f in inlet.facts if f.notice is Notice.DEVICE_FAULT] == ["jammed"]

    play(scene)


def test_condition_is_told():
    async def scene(rig, driver, inlet):
        rig.air.rssi[rig.address] = -71
        async with running(driver, inlet):
            await until(lambda: inlet.doors and inlet.measures)
            assert inlet.doors == [DoorState("lock", 0, False)]
            await until(lambda: ("lock", Measure.BATTERY_PERCENT, 85) in inlet.measures)
            assert ("lock", Measure.SIGNAL_DBM, -71) in inlet.measures
            await rig.lock.do_door("open")  # unasked
            await until(lambda: inlet.doors[-1] == DoorState("lock", 0, True))
            await rig.lock.do_battery(15)
            await until(lambda: inlet.notices() == [Notice.LOW_BATTERY])
            await rig.lock.do_battery(14)
            await rig.lock.do_door("closed")
            await until(lambda: inlet.doors[-1].open is False)
        assert inlet.notices() == [Notice.LOW_BATTERY]

    play(scene)


# ---- there and not there


def test_a_lock_out_of_reach_is_not_waited_for_beyond_the_deadline():
    async def scene(rig, driver, inlet):
        rig.air.leave(rig.address)
        async with running(driver, inlet):
            start = time.monotonic()
            assert await driver.execute(order(within=0.5)) is Outcome.NOT_SENT
            assert time.monotonic() - start < 3
            rig.air.back(rig.address)
            await until(lambda: inlet.measures, 5.0)
            await asyncio.sleep(0.3)
        assert rig.turns() == []  # no late opening

    play(scene)


def test_an_order_waits_for_a_lock_that_comes_back_in_time():
    async def scene(rig, driver, inlet):
        rig.air.leave(rig.address)
        async with running(driver, inlet):
            task = asyncio.create_task(driver.execute(order(within=10)))
            await asyncio.sleep(0.3)
            rig.air.back(rig.address)
            assert await task is Outcome.EXECUTED
        assert rig.turns() == ["unlock"]

    play(scene)


def test_back_within_three_seconds_of_the_first_advertisement(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", REST_S)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            for pause in (0.1, 1.2):  # less and more than the rest after a connection
                rig.air.leave(rig.address)
                await asyncio.sleep(pause)
                rig.air.back(rig.address)
                start = time.monotonic()
                await ready(driver)
                assert time.monotonic() - start < 3.0
        assert inlet.notices() == []

    play(scene)


def test_loss_and_return_are_told_once(monkeypatch):
    monkeypatch.setattr(ble_health, "SILENT_S", 0.4)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            rig.air.leave(rig.address)
            await until(lambda: inlet.notices() == [Notice.COMMS_LOST], 5.0)
            assert inlet.doors[-1] == DoorState("lock", 0, None)
            await asyncio.sleep(0.6)
            rig.air.back(rig.address)
            await until(lambda: inlet.notices() == [Notice.COMMS_LOST, Notice.COMMS_RESTORED], 5.0)
            await until(lambda: inlet.doors[-1].open is False, 5.0)
        assert inlet.notices() == [Notice.COMMS_LOST, Notice.COMMS_RESTORED]

    play(scene)


def test_losing_the_adapter_is_losing_the_line_and_it_comes_back():
    async def scene(rig, driver, inlet):
        for ups in (1, 2):
            task = asyncio.create_task(driver.run(inlet))
            await until(lambda n=ups: inlet.ups == n)
            await ready(driver)
            waiting = asyncio.create_task(driver.execute(order(name=f"o{ups}")))
            assert await waiting is Outcome.EXECUTED
            await ready(driver)
            rig.gone.set()
            with pytest.raises(Lost):
                await asyncio.wait_for(task, 5)
            assert rig.air.adapter.links == 0
            rig.gone.clear()
            assert await driver.execute(order()) is Outcome.NOT_SENT

    play(scene, lifetime=10_000)  # a challenge of before, good for longer than `ready` waits


def test_an_order_that_waits_when_the_line_goes_is_not_sent():
    async def scene(rig, driver, inlet):
        rig.air.leave(rig.address)
        async with running(driver, inlet):
            task = asyncio.create_task(driver.execute(order(within=20)))
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(task, 2) is Outcome.NOT_SENT

    play(scene)


def test_cancel_leaves_nothing_behind():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
        await asyncio.sleep(0.2)
        tasks, files = len(asyncio.all_tasks()), open_files()
        for delay in (0.0, 0.001, 0.01, 0.05, 0.1, 0.3):  # also while it is dialling
            task = asyncio.create_task(driver.run(inlet))
            await asyncio.sleep(delay)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await until(lambda: rig.air.adapter.links == 0)
        await asyncio.sleep(0.2)
        gc.collect()
        assert len(asyncio.all_tasks()) == tasks
        assert open_files() == files

    play(scene)


def test_silence_is_no_reason_to_leave():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            dialled = dict(rig.air.adapter.dialled)
            before = time.process_time()
            await asyncio.sleep(1.0)
            assert time.process_time() - before < 0.5  # bumble, its lock and its advertisements are in it
            assert rig.air.adapter.dialled == dialled

    play(scene)


def test_the_connection_is_kept_beyond_the_patience_of_the_lock():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            await asyncio.sleep(1.5)
            assert rig.air.adapter.dialled == {rig.address: 1}

    play(scene, idle=1, lifetime=60_000)


def test_a_lock_whose_radio_failed_for_long_is_met_at_its_first_advertisement(monkeypatch):
    monkeypatch.setattr(ble_session, "FIRST_WAIT", 50.0)
    monkeypatch.setattr(ble_session, "SILENCE_S", 0.3)

    async def scene(rig, driver, inlet):
        for nth in (1, 2, 3):
            rig.air.cut(rig.address, "write", nth=nth)
        async with running(driver, inlet):
            await until(lambda: rig.air.adapter.dialled.get(rig.address) == 3 and not rig.air.adapter.links, 10.0)
            rig.air.mute(rig.address)
            await asyncio.sleep(0.5)
            assert rig.air.adapter.dialled[rig.address] == 3
            rig.air.back(rig.address)
            start = time.monotonic()
            await ready(driver)
            assert time.monotonic() - start < 3.0

    play(scene)

"""A hold and its end at a Bluetooth lock, and fire: what is released is not locked."""

import asyncio

import pytest

from lintel.edge.ble.words import Move
from lintel.edge.drivers import ble_relock, ble_worker
from lintel.edge.model import Action, Outcome
from tests.edge.drivers.ble_rig import order, play, running, until, yale_rig
from tests.edge.drivers.relock_rig import GATEWAY, MAKERS, Fire, _short, ends_locked  # noqa: F401  _short is autouse

# ---- a hold and its end


@pytest.mark.parametrize("again", ["itself", "gateway"])
def test_a_release_that_is_refused_ends_the_hold_and_the_lock_is_locked(monkeypatch, again):
    monkeypatch.setattr(ble_relock, "HELD_S", 0.3)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD, within=10)) is Outcome.EXECUTED
            await rig.lock.do_jam()
            assert await driver.execute(order(Action.RELEASE, within=10, name="o2")) is Outcome.REFUSED_BY_DEVICE
            before = rig.turns().count("unlock")
            await asyncio.sleep(0.4)  # a renewal would have come
            await rig.lock.do_jam(jammed=False)
            await ends_locked(rig)
            assert rig.turns().count("unlock") == before

    play(scene, weak="rate", spec={"locks_again": again})


def test_a_release_that_is_not_sent_ends_the_hold_and_the_lock_is_locked_when_it_is_back(monkeypatch):
    monkeypatch.setattr(ble_relock, "HELD_S", 0.3)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD, within=10)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            assert await driver.execute(order(Action.RELEASE, within=0.2, name="o2")) is Outcome.NOT_SENT
            before = rig.turns()
            rig.air.back(rig.address)
            await ends_locked(rig)
            await asyncio.sleep(0.4)
            assert rig.turns() == [*before, "lock"]

    play(scene, weak="rate")


def test_control_a_hold_without_a_release_is_renewed(monkeypatch):
    monkeypatch.setattr(ble_relock, "HELD_S", 0.3)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD, within=10)) is Outcome.EXECUTED
            await until(lambda: rig.turns().count("unlock") >= 3, 5.0)
            assert "lock" not in rig.turns()

    play(scene, weak="rate")


def test_an_opening_in_a_hold_does_not_end_it():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD, within=10)) is Outcome.EXECUTED
            assert await driver.execute(order(within=10, seconds=0.1, name="o2")) is Outcome.EXECUTED
            await asyncio.sleep(0.3)
            assert rig.turns() == ["unlock", "unlock"]
            assert rig.lock.motor.bolt == "unlocked"

    play(scene, weak="rate")
    play(scene, yale_rig, spec=GATEWAY)


# ---- fire


@pytest.mark.parametrize("rig", MAKERS)
def test_what_fire_has_released_is_not_locked_again(rig):
    async def scene(rig, driver, inlet):
        fire = Fire(driver)
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.3)) is Outcome.EXECUTED
            fire.on = True
            late = order(Action.RELEASE, within=0.5, name="o2")
            assert await driver.execute(late) in (Outcome.NOT_SENT, Outcome.ORDER_EXPIRED)
            await asyncio.sleep(0.6)
            assert rig.turns() == ["unlock"]
            fire.on = False  # the same lock, the same debt
            await ends_locked(rig)

    play(scene, rig, spec={**GATEWAY, "open": "unlock"})


def test_fire_that_comes_while_a_lock_is_dialled_to_be_locked(monkeypatch):
    async def scene(rig, driver, inlet):
        fire, real = Fire(driver), ble_worker.carry_out
        dialling, go_on = asyncio.Event(), asyncio.Event()

        async def slow(session, command, deadline, **how):
            if command.move is Move.LOCK:
                dialling.set()
                await go_on.wait()
            return await real(session, command, deadline, **how)

        monkeypatch.setattr(ble_worker, "carry_out", slow)
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.1)) is Outcome.EXECUTED
            await asyncio.wait_for(dialling.wait(), 5)
            fire.on = True
            go_on.set()
            await asyncio.sleep(0.4)
            assert rig.turns() == ["unlock"]
            fire.on = False
            await ends_locked(rig)

    play(scene, yale_rig, spec=GATEWAY)

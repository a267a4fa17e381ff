"""Slow connections, few slots: every door that fire holds is reached, and no lock waits for what another is owed."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from lintel.edge.ble.words import Move
from lintel.edge.drivers import ble_relock, ble_session, ble_worker
from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.model import Action, Outcome
from tests.edge.drivers.ble_rig import known_battery, order, play, running, until
from tests.edge.drivers.relock_rig import GATEWAY, _short, connected  # noqa: F401  _short is autouse


class SlowDial:
    """Connecting takes `seconds` before it begins, as far as the time for it goes."""

    def __init__(self, monkeypatch):
        self.seconds, self.dials = 0.0, []
        real = Radio.connect

        async def connect(radio, device, name, gone, within):
            self.dials.append(name)
            async with asyncio.timeout(within):
                await asyncio.sleep(self.seconds)
            return await real(radio, device, name, gone, within)

        monkeypatch.setattr(Radio, "connect", connect)


def held(rig):
    return sum(lock.motor.bolt == "unlocked" for lock in rig.locks.values())


@asynccontextmanager
async def fire(driver, rig, *, within, renew, only=None):
    """Every door, or `only` these, held as fire does it: ordered until it is, and then again. Yields the outcomes."""
    outcomes = {name: [] for name in only or rig.locks}

    async def keep(name):
        while True:
            said = order(Action.HOLD, within, device=name, name=f"{name} {len(outcomes[name])}")
            outcomes[name].append(await driver.execute(said))
            await asyncio.sleep(renew if outcomes[name][-1] is Outcome.EXECUTED else 0.05)

    work = [asyncio.create_task(keep(name)) for name in outcomes]
    try:
        yield outcomes
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


@pytest.mark.parametrize("within", [8.0, 0.4])
def test_locks_that_connect_slowly_are_held_where_an_order_lasts_longer_than_that(monkeypatch, within):
    slow = SlowDial(monkeypatch)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 4, 15.0)
            slow.seconds = 0.6
            async with fire(driver, rig, within=within, renew=0.5):
                if within > slow.seconds:
                    await until(lambda: held(rig) == 4, 20.0)
                else:  # control: what is void before it is connected never gets there
                    await asyncio.sleep(1.5)
                    assert held(rig) < 2  # one may have been connected from the rounds

    play(scene, count=4, slots=1)


def test_a_dial_that_was_cut_says_nothing_of_the_lock(monkeypatch):
    slow = SlowDial(monkeypatch)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await connected(driver)
            session = driver._locks["lock"]._session
            slow.seconds = 0.6
            await session.close()
            tries = [await driver.execute(order(Action.HOLD, 0.3, name=f"o{n}")) for n in range(3)]
            assert set(tries) == {Outcome.NOT_SENT}
            assert session._misses == 0
            await connected(driver)  # in the background, which was not put off
            monkeypatch.setattr(ble_session, "DIAL_S", 0.2)
            await session.close()  # control: one that had its time and failed is counted
            driver._locks["lock"]._stir()
            await until(lambda: session._misses >= 1, 5.0)

    play(scene)


def test_more_held_locks_than_connections_are_all_held_while_the_holds_are_renewed(monkeypatch):
    slow = SlowDial(monkeypatch)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 4, 15.0)
            slow.seconds = 0.4
            slow.dials.clear()
            async with fire(driver, rig, within=8.0, renew=0.1) as outcomes:
                await until(lambda: held(rig) == 4, 20.0)
                await until(lambda: all(done.count(Outcome.EXECUTED) > 5 for done in outcomes.values()), 10.0)
                assert len(slow.dials) < 8  # no renewal has dialled; a slow machine may dial once more

    play(scene, count=4, slots=1)


@pytest.mark.parametrize("seen", [True, False])
def test_a_held_lock_that_was_seen_locked_is_dialled_for_its_next_hold(seen):
    async def scene(rig, driver, inlet):
        worker = driver._locks["lock0"]
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            assert await driver.execute(order(Action.HOLD, 10, device="lock0")) is Outcome.EXECUTED
            await rig.lock.do_hand("locked")
            if seen:
                worker._look_at = 0.0
                worker._stir()
                await until(lambda: not worker._owed.sure(worker._now()), 5.0)
            await worker._session.close()
            worker._stir()
            assert await driver.execute(order(Action.HOLD, 10, device="lock0", name="o2")) is Outcome.EXECUTED
            assert rig.lock.motor.bolt == ("unlocked" if seen else "locked")

    play(scene, count=2, slots=1)


@pytest.mark.parametrize("every", [0.3, 60.0])
def test_a_held_lock_that_somebody_locks_by_hand_is_noticed_in_the_rounds(monkeypatch, every):
    monkeypatch.setattr(ble_worker, "LOOK_S", every)

    async def scene(rig, driver, inlet):
        def apart():
            return [
                name for name, worker in driver._locks.items() if worker._owed.held and worker._session.talk is None
            ]

        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            async with fire(driver, rig, within=8.0, renew=0.2):
                await until(lambda: held(rig) == 2 and apart(), 15.0)
                lock = rig.locks[apart()[0]]
                await lock.do_hand("locked")
                if every < 1.0:
                    await until(lambda: lock.motor.bolt == "unlocked", 15.0)
                else:  # control: for as long as nobody looks it is taken to be held
                    await asyncio.sleep(1.5)
                    assert lock.motor.bolt == "locked"

    play(scene, count=2, slots=1)


@pytest.mark.parametrize("again", ["never", "itself"])
def test_the_hold_of_a_lock_that_is_not_known_to_stand_held_is_an_order_like_others(again):
    async def scene(rig, driver, inlet):
        ticket = driver._locks["lock"]._session.ticket
        async with running(driver, inlet):
            assert await driver.execute(order(Action.HOLD, 10)) is Outcome.EXECUTED
            assert driver._locks["lock"]._owed.held
            doing = asyncio.create_task(driver.execute(order(Action.HOLD, 10, name="o2")))
            await asyncio.sleep(0)
            assert ticket.ordered
            assert ticket.renews == (again == "itself")  # the other may have locked by itself meanwhile
            await doing

    play(scene, spec={"locks_again": again, "keep": True})


# ---- what is owed gives way, not for ever


@pytest.mark.parametrize("patience", [0.3, 1000.0])
def test_a_door_is_locked_again_while_fire_orders_locks_that_can_not_be_connected(monkeypatch, patience):
    monkeypatch.setattr(ble_relock, "PRESS_S", patience)
    monkeypatch.setattr(ble_session, "TRIES", 1000)

    async def scene(rig, driver, inlet):
        worker = driver._locks["lock2"]
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 3, 15.0)
            assert await driver.execute(order(device="lock2", within=10, seconds=60.0)) is Outcome.EXECUTED
            away = ["lock0", "lock1"]
            for name in away:
                rig.air.leave(rig.locks[name].options.address)
            await until(lambda: all(driver._locks[name]._session.talk is None for name in away), 10.0)
            monkeypatch.setattr(ble_session, "DIAL_S", 0.4)
            monkeypatch.setattr(ble_session.Session, "near", property(lambda _: True))
            async with fire(driver, rig, within=20.0, renew=0.05, only=away):
                await until(lambda: worker._session.talk is None, 10.0)
                worker._owed._lock(worker._now())  # its time is over
                worker._stir()
                if patience < 1.0:
                    await until(lambda: rig.turns("lock2") == ["unlock", "lock"], 20.0)
                else:  # control: it waits behind them for as long as they are ordered
                    await asyncio.sleep(2.5)
                    assert rig.turns("lock2") == ["unlock"]

    play(scene, count=3, slots=2, spec=GATEWAY)


def _other(within=3.0):
    return order(device="lock1", within=within, name="other")


def test_a_lock_that_can_not_be_dialled_to_be_locked_holds_up_no_order_of_another(monkeypatch):
    async def scene(rig, driver, inlet):
        worker = driver._locks["lock0"]
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            assert await driver.execute(order(device="lock0", within=10, seconds=0.5)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            await until(lambda: worker._session.talk is None, 5.0)
            monkeypatch.setattr(ble_session.Session, "near", property(lambda _: True))
            await until(lambda: worker._session.ticket.dialling and worker._session.ticket.owes, 10.0)
            assert await driver.execute(_other()) is Outcome.EXECUTED
            assert worker._owed.later.move is Move.LOCK
            rig.air.back(rig.address)
            await ends_locked_first(rig)

    play(scene, count=2, slots=1, spec=GATEWAY)


def test_a_lock_that_fell_silent_while_it_was_locked_again_holds_up_no_order_of_another(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)

    async def scene(rig, driver, inlet):
        worker = driver._locks["lock0"]
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            assert await driver.execute(order(device="lock0", within=10, seconds=0.2)) is Outcome.EXECUTED
            await until(lambda: worker._owed_command is not None and worker._owed_command.handed, 10.0)
            rig.air.leave(rig.address)
            monkeypatch.setattr(ble_session.Session, "near", property(lambda _: True))
            await until(lambda: worker._session.talk is None and worker._session.ticket.dialling, 10.0)
            assert await driver.execute(_other()) is Outcome.EXECUTED
            rig.air.back(rig.address)
            await ends_locked_first(rig)

    play(scene, count=2, slots=1, travel=0.4, spec=GATEWAY)


def test_a_lock_that_turns_to_be_locked_is_heard_to_the_end():
    async def scene(rig, driver, inlet):
        worker = driver._locks["lock0"]
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            assert await driver.execute(order(device="lock0", within=10, seconds=0.2)) is Outcome.EXECUTED
            await until(worker._turning, 10.0)
            assert await driver.execute(_other(10.0)) is Outcome.EXECUTED
            assert rig.turns("lock0") == ["unlock", "lock"]
            assert worker._owed.later is None

    play(scene, count=2, slots=1, travel=0.5, spec=GATEWAY)


def ends_locked_first(rig):
    return until(lambda: rig.turns("lock0")[-1:] == ["lock"] and rig.lock.motor.bolt == "locked", 30.0)

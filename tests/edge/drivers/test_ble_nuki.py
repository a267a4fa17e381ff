"""A Nuki lock on a Bluetooth line: paired, opened, watched, and never told twice."""

import asyncio

import pytest

from lintel.edge.ble.words import Became, Moved
from lintel.edge.drivers import ble_operation, ble_session, ble_worker
from lintel.edge.model import Action, DoorState, Measure, Notice, Outcome
from tests.edge.drivers.ble_rig import (
    ADDRESS,
    Inlet,
    a_few_at_a_time,
    known_battery,
    nuki_rig,
    order,
    play,
    running,
    short_waits,
    until,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    short_waits(monkeypatch)


def test_unlatch_hold_release():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.EXECUTED
            await until(lambda: rig.lock.motor.bolt == "unlocked")
            assert await driver.execute(order(Action.RELEASE, name="o2")) is Outcome.EXECUTED
            assert await driver.execute(order(Action.HOLD, name="o3")) is Outcome.EXECUTED
        assert rig.turns() == ["unlatch", "lock", "unlock"]

    play(scene, nuki_rig, hold=0.05)


def test_condition_is_told_and_the_beacon_calls():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await until(lambda: inlet.doors == [DoorState("lock", 0, False)], 5.0)
            await until(lambda: ("lock", Measure.BATTERY_PERCENT, 84) in inlet.measures)
            await until(lambda: not rig.lock.links, 5.0)  # it is let go: its batteries
            dialled = rig.air.adapter.dialled[ADDRESS]
            await asyncio.sleep(0.3)
            assert rig.air.adapter.dialled[ADDRESS] == dialled
            await rig.lock.do_door("open")
            await until(lambda: inlet.doors[-1] == DoorState("lock", 0, True), 5.0)

    play(scene, nuki_rig)


def test_a_jam_is_refused_and_told_as_a_fault():
    async def scene(rig, driver, inlet):
        await rig.lock.do_jam()
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.REFUSED_BY_DEVICE
        assert rig.turns() == ["unlatch"]
        assert [f.detail for f in inlet.facts if f.notice is Notice.DEVICE_FAULT] == ["jammed"]

    play(scene, nuki_rig)


def test_pairing_waits_for_the_button():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.NOT_SENT
            assert await driver.execute(order(Action.INSTALL, seconds=20, text="1234", name="i1")) is Outcome.EXECUTED
            await until(lambda: rig.air.adapter.dialled.get(ADDRESS, 0) >= 2, 5.0)
            assert rig.lock.memory.users == {}
            assert rig.keys.log == ["own_private", "app_id"]
            await rig.lock.do_button()
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
            assert rig.keys.get("lock", "pin") == b"1234"
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED
        assert rig.turns() == ["unlatch"]
        (user,) = rig.lock.memory.users.values()
        assert user["name"] == "lintel-test"

    play(scene, nuki_rig, paired=False)


def test_a_disabled_authorization_is_not_asked_again_until_somebody_looked(monkeypatch):
    """The lock says so under our common key: it is no impostor."""
    monkeypatch.setattr(ble_session, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(ble_session, "REFUSED_S", 0.05)

    async def scene(rig, driver, inlet):
        rig.lock.memory.users["2"]["enabled"] = False
        async with running(driver, inlet):
            await until(lambda: Notice.READER_KEY_LOST in inlet.notices(), 10.0)
            await asyncio.sleep(0.3)
            assert rig.air.adapter.dialled == {ADDRESS: 2}
            assert [f.detail for f in inlet.facts] == ["the lock refused: authorization disabled"]
            rig.lock.memory.users["2"]["enabled"] = True
            assert await driver.execute(order()) is Outcome.NOT_SENT
            assert await driver.execute(order(Action.INSTALL, seconds=5, name="i1")) is Outcome.EXECUTED
            assert await driver.execute(order(within=10, name="o2")) is Outcome.EXECUTED

    play(scene, nuki_rig)


STEPS = [
    (op, nth, arrives)
    for op, most in (("write", 5), ("write_answer", 6), ("indicate", 6))
    for nth in range(1, most + 1)
    for arrives in (False, True)
]


@pytest.mark.parametrize("move", ["unlatch", pytest.param("unlock", marks=pytest.mark.long)])
def test_b6_a_cut_at_any_step_turns_the_motor_once_or_is_said_to_be_unknown(move):
    async def one(step):
        op, nth, arrives = step
        async with nuki_rig(spec={"open": move}, hold=0.05) as rig:
            driver, inlet = rig.build(), Inlet()
            rig.air.cut(rig.address, op, nth=nth, arrives=arrives)
            async with running(driver, inlet):
                outcome = await driver.execute(order(within=8))
                await until(lambda: not rig.lock.motor.busy, 5.0)
                assert outcome in (Outcome.EXECUTED, Outcome.UNKNOWN_OUTCOME), step
                assert len(rig.turns()) <= 1, step
                if outcome is Outcome.EXECUTED:
                    assert rig.turns() == [move], step
            return outcome

    outcomes = asyncio.run(a_few_at_a_time(one, STEPS))
    assert outcomes.count(Outcome.EXECUTED) >= len(STEPS) - 2


def test_b6_control_who_sends_the_frame_again_opens_twice(monkeypatch):
    async def believe(session, command, until, **how):
        await session.close()
        return Moved(Became.NEVER)

    monkeypatch.setattr(ble_operation, "_read_back", believe)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await until(lambda: known_battery(inlet) and not rig.lock.links, 5.0)
            rig.air.cut(rig.address, "indicate", nth=3)  # "accepted" is lost: after states and challenge
            await driver.execute(order(within=8))
        assert rig.turns() == ["unlatch", "unlatch"]

    monkeypatch.setattr(ble_worker, "IDLE_S", 0.0)
    play(scene, nuki_rig, hold=0.01)


def test_garbage_ends_the_connection_and_the_next_one_works():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            for number, junk in enumerate((bytes(80), b"\x01", bytes(28) + b"\xff\xff" + bytes(40))):
                await driver.execute(order(within=10, name=f"a{number}"))
                link = next(iter(rig.lock.links.values()))
                link.send(rig.lock._user, junk)
                link.send(rig.lock._user, junk * 2)
                await until(lambda one=link: not one.up, 5.0)
                assert await driver.execute(order(within=10, name=f"b{number}")) is Outcome.EXECUTED
        assert rig.turns() == ["unlatch"] * 6

    play(scene, nuki_rig, hold=0.01)

"""A door that the gateway opened is locked again, whatever happens in between; one that fire has released is not."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from lintel.edge.ble.words import Move
from lintel.edge.config import load
from lintel.edge.drivers import ble_orders, ble_relock, ble_session, ble_worker
from lintel.edge.lines import build_line
from lintel.edge.model import Outcome
from tests.edge.drivers.ble_rig import known_battery, order, play, running, until, yale_rig
from tests.edge.drivers.contract import context
from tests.edge.drivers.relock_rig import (
    GATEWAY,
    MAKERS,
    RIGS,
    Fire,
    _short,  # noqa: F401  autouse
    connected,
    ends_locked,
    faults,
    until_line_ends,
)

# ---- a debt outlives what goes wrong


@pytest.mark.parametrize("rig", MAKERS)
def test_the_line_that_ends_in_the_middle_of_an_opening_locks_when_it_is_back(rig):
    async def scene(rig, driver, inlet):
        rig.devices[0] = replace(rig.devices[0], open_s=60.0)  # what is found unlocked would be locked then
        driver, doing = rig.build(), []

        async def first():
            doing.append(asyncio.create_task(driver.execute(order(within=10, seconds=0.3))))
            await until(rig.turns, 5.0)

        await until_line_ends(driver, inlet, first)
        assert await doing[0] is Outcome.UNKNOWN_OUTCOME
        await until(lambda: not rig.lock.motor.busy, 5.0)
        async with running(driver, inlet, ups=2):
            await ends_locked(rig)

    play(scene, rig, travel=0.4, spec={**GATEWAY, "open": "unlock"})


def test_an_error_of_ours_after_the_command_has_left_does_not_leave_the_door_open(monkeypatch):
    async def scene(rig, driver, inlet):
        real, broken = ble_worker.carry_out, []

        async def breaks(*args, **how):
            result = await real(*args, **how)
            if not broken:
                broken.append(True)
                raise RuntimeError("a bug")
            return result

        monkeypatch.setattr(ble_worker, "carry_out", breaks)
        monkeypatch.setattr(ble_worker, "BUG_S", 0.1)
        async with running(driver, inlet):
            await until(lambda: inlet.doors, 5.0)  # it was seen locked
            assert await driver.execute(order(within=10, seconds=0.2)) is Outcome.UNKNOWN_OUTCOME
            await ends_locked(rig)
        assert rig.turns() == ["unlock", "lock"]

    play(scene, yale_rig, spec=GATEWAY)


@pytest.mark.parametrize("how", ["line", "error"])
def test_a_try_to_lock_that_never_ends_leaves_the_next_one_behind(monkeypatch, how):
    async def scene(rig, driver, inlet):
        real, tries = ble_worker.carry_out, []

        async def hangs(session, command, deadline, **how):
            if command.move is Move.LOCK:
                tries.append(True)
                if len(tries) == 1:
                    if how == "error":
                        raise RuntimeError("a bug")
                    await asyncio.Event().wait()
            return await real(session, command, deadline, **how)

        monkeypatch.setattr(ble_worker, "carry_out", hangs)
        monkeypatch.setattr(ble_worker, "BUG_S", 0.1)

        async def first():
            assert await driver.execute(order(within=10, seconds=0.1)) is Outcome.EXECUTED
            await until(lambda: tries, 5.0)

        await until_line_ends(driver, inlet, first)
        async with running(driver, inlet, ups=2):
            await ends_locked(rig)

    play(scene, yale_rig, spec=GATEWAY)


def test_a_radio_that_is_away_when_the_time_is_over_locks_when_it_is_back():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.3)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            rig.gone.set()
            await asyncio.sleep(0.5)
            rig.gone.clear()
            await until(lambda: inlet.ups >= 2, 5.0)
            rig.air.back(rig.address)
            await ends_locked(rig)

    play(scene, yale_rig, spec=GATEWAY)


def test_a_lock_that_jams_is_tried_for_as_long_as_it_takes_and_told_of_once(monkeypatch):
    monkeypatch.setattr(ble_relock, "TELL_S", 0.3)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.1)) is Outcome.EXECUTED
            await rig.lock.do_jam()
            await until(lambda: rig.turns().count("lock") > 5, 15.0)
            told = [f for f in faults(inlet) if f.startswith("not locked again: ")]
            assert len(told) == 1
            assert "locked again" not in faults(inlet)
            await rig.lock.do_jam(jammed=False)
            await ends_locked(rig)
            await until(lambda: "locked again" in faults(inlet), 5.0)
            turns = len(rig.turns())
            await asyncio.sleep(0.3)
            assert len(rig.turns()) == turns

    play(scene, yale_rig, spec=GATEWAY)


def test_a_lock_that_can_not_be_reached_is_told_of_as_well(monkeypatch):
    monkeypatch.setattr(ble_relock, "TELL_S", 0.2)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.1)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            await until(lambda: any(f.startswith("not locked again") for f in faults(inlet)), 10.0)

    play(scene, yale_rig, spec=GATEWAY)


# ---- a start in the seconds in which a door is open


@pytest.mark.parametrize("rig", RIGS)
def test_a_gateway_that_was_restarted_locks_what_it_finds_unlocked(rig):
    async def scene(rig, driver, inlet):
        rig.devices[0] = replace(rig.devices[0], open_s=0.4)
        await rig.lock.do_hand("unlocked")
        async with running(rig.build(), inlet):
            await asyncio.sleep(0.2)
            assert rig.turns() == []
            await ends_locked(rig)
        assert rig.turns() == ["lock"]

    play(scene, rig, spec=GATEWAY)


LOCK = """
[site]
id = 1
timezone = "UTC"

[[line]]
id = "locks"
driver = "ble_lock"

[[device]]
id = "lock"
line = "locks"
address = "C4:64:E3:00:00:01"
profile = "yale-august"
door = "flat"

[[door]]
id = "flat"
lock = "lock"
groups = ["public"]
open_s = 7.5
"""


def test_a_lock_knows_how_long_its_door_stays_open(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(LOCK)
    config, ctx = load(path), context()
    _, _, devices = build_line(config, config.line[0], ctx.clock, ctx.digest, {})
    assert [d.open_s for d in devices] == [7.5]


@pytest.mark.parametrize("why", ["not ours", "fire", "by hand"])
def test_what_is_not_the_gateways_to_lock_stays_as_it_is(why):
    async def scene(rig, driver, inlet):
        rig.devices[0] = replace(rig.devices[0], open_s=0.1)
        driver = rig.build()
        Fire(driver).on = why == "fire"
        if why != "by hand":
            await rig.lock.do_hand("unlocked")
        async with running(driver, inlet):
            await until(lambda: inlet.doors, 5.0)  # it was looked at
            if why == "by hand":
                await rig.lock.do_hand("unlocked")
            await asyncio.sleep(0.6)
        assert rig.turns() == []

    play(scene, yale_rig, spec={} if why == "not ours" else GATEWAY)


# ---- refused, perhaps half way


@pytest.mark.parametrize("rig", MAKERS)
def test_an_opening_that_was_blocked_half_way_is_locked_again(rig):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await rig.lock.do_jam()
            assert await driver.execute(order(within=10, seconds=0.2)) is Outcome.REFUSED_BY_DEVICE
            await rig.lock.do_jam(jammed=False)
            await ends_locked(rig)

    play(scene, rig, spec=GATEWAY)


def test_an_opening_that_certainly_did_not_move_the_lock_plans_nothing():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(within=10, seconds=0.1)) is Outcome.REFUSED_BY_DEVICE
            await asyncio.sleep(0.4)
        assert rig.turns() == []

    play(scene, yale_rig, spec={**GATEWAY, "open": "unlatch"})  # it has no latch to pull


# ---- an order and its time


@pytest.mark.parametrize("rig", MAKERS)
def test_a_slow_motor_is_waited_for_beyond_the_deadline(rig):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await connected(driver)
            started = time.monotonic()
            doing = asyncio.create_task(driver.execute(order(within=1.0)))
            await until(rig.turns, 5.0)
            assert await doing is Outcome.EXECUTED
            assert time.monotonic() - started > 1.1  # not before it had turned

    play(scene, rig, travel=1.2, spec={"open": "unlock", "keep": True})


def test_a_lock_that_falls_silent_in_the_middle_is_answered_in_time_and_locked_all_the_same(monkeypatch):
    monkeypatch.setattr(ble_orders, "LATE_S", 0.4)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await connected(driver)
            started = time.monotonic()
            doing = asyncio.create_task(driver.execute(order(within=1.0, seconds=0.3)))
            await until(rig.turns, 5.0)
            rig.air.leave(rig.address)
            assert await doing is Outcome.UNKNOWN_OUTCOME
            assert time.monotonic() - started < 8  # to ask it is tried for 20 s
            rig.air.back(rig.address)
            await ends_locked(rig)
        assert rig.turns() == ["unlock", "lock"]

    play(scene, yale_rig, travel=0.3, spec={**GATEWAY, "keep": True})


def test_an_order_that_is_given_up_leaves_no_dialling_behind(monkeypatch):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await until(lambda: len(known_battery(inlet)) == 2, 15.0)
            rig.air.leave(rig.address)
            monkeypatch.setattr(ble_session.Session, "near", property(lambda _: True))
            given_up = asyncio.create_task(driver.execute(order(device="lock0", within=60)))
            ticket = driver._locks["lock0"]._session.ticket
            await until(lambda: ticket.held and ticket.pressed, 10.0)
            given_up.cancel()
            with suppress(asyncio.CancelledError):
                await given_up
            await until(lambda: not ticket.urgent and not ticket.held, 1.0)
            assert await driver.execute(order(device="lock1", within=5, name="o2")) is Outcome.EXECUTED
            assert rig.turns("lock0") == []

    play(scene, count=2, slots=1)


@pytest.mark.parametrize("left", [True, False])
def test_an_order_that_has_left_when_the_line_ends_is_not_said_to_be_unsent(left):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await connected(driver)
            if not left:
                rig.air.leave(rig.address)
                await until(lambda: driver._locks["lock"]._session.talk is None, 5.0)
            doing = asyncio.create_task(driver.execute(order(within=5)))
            await (until(rig.turns, 5.0) if left else asyncio.sleep(0.1))
            driver._locks["lock"].detach()  # its worker has not come to its end
            assert await doing is (Outcome.UNKNOWN_OUTCOME if left else Outcome.NOT_SENT)

    play(scene, yale_rig, travel=0.5, spec={**GATEWAY, "keep": True})

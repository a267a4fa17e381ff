"""A door that the gateway opened is locked again, whatever happens in between; one that fire has released is not."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.ble.words import Move
from lintel.edge.config import load
from lintel.edge.drivers import ble_orders, ble_relock, ble_session, ble_worker
from lintel.edge.drivers.ble_relock import Later, Owed
from lintel.edge.errors import Lost
from lintel.edge.lines import build_line
from lintel.edge.model import Action, Notice, Outcome
from lintel.edge.profiles.ble import BleSpec
from tests.edge.drivers.ble_rig import (
    known_battery,
    lintel_locks,
    nuki_rig,
    order,
    play,
    running,
    short_waits,
    until,
    yale_rig,
)  # fmt: skip
from tests.edge.drivers.contract import context

GATEWAY = {"locks_again": "gateway"}
RIGS = [pytest.param(lintel_locks, id="lintel"), pytest.param(nuki_rig, id="nuki"), pytest.param(yale_rig, id="yale")]
MAKERS = [pytest.param(nuki_rig, id="nuki"), pytest.param(yale_rig, id="yale")]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    short_waits(monkeypatch)
    monkeypatch.setattr(ble_relock, "AGAIN_S", 0.05)
    monkeypatch.setattr(ble_relock, "LONGEST_S", 0.1)
    monkeypatch.setattr(ble_relock, "LOOK_S", 0.05)


class Fire:
    """The latch as the driver may ask for it."""

    def __init__(self, driver):
        self.on = False
        for worker in driver._locks.values():
            worker._context = replace(worker._context, released=lambda _: self.on)


def connected(driver, device="lock"):
    return until(lambda: driver._locks[device]._session.talk is not None, 5.0)


def faults(inlet):
    return [f.detail for f in inlet.facts if f.notice is Notice.DEVICE_FAULT]


def ends_locked(rig):
    return until(lambda: rig.turns() and rig.turns()[-1] == "lock" and rig.lock.motor.bolt == "locked", 10.0)


async def until_line_ends(driver, inlet, scene):
    """The line up, `scene`, the line down."""
    ups, task = inlet.ups, asyncio.create_task(driver.run(inlet))
    await until(lambda: inlet.ups > ups, 5.0)
    try:
        await scene()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Lost):
            await task


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

        async def breaks(*args):
            result = await real(*args)
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

        async def hangs(session, command, deadline):
            if command.move is Move.LOCK:
                tries.append(True)
                if len(tries) == 1:
                    if how == "error":
                        raise RuntimeError("a bug")
                    await asyncio.Event().wait()
            return await real(session, command, deadline)

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

        async def slow(session, command, deadline):
            if command.move is Move.LOCK:
                dialling.set()
                await go_on.wait()
            return await real(session, command, deadline)

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


# ---- the rules alone


@st.composite
def steps(draw):
    kind = draw(st.sampled_from(["open", "hold", "release", "try", "fire", "restart", "wait"]))
    return kind, draw(st.sampled_from(["done", "unknown", "refused", "never"])), draw(st.floats(0.0, 50.0))


OUTCOMES = {
    "done": Outcome.EXECUTED, "unknown": Outcome.UNKNOWN_OUTCOME,
    "refused": Outcome.REFUSED_BY_DEVICE, "never": Outcome.NOT_SENT,
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(steps(), max_size=30))
def test_whatever_happens_what_may_be_open_is_owed_a_lock(script):
    """A lock that may be open is held, released by fire, or owed a lock; and fire is never locked out."""
    owed, now, released, perhaps_open, held = (
        Owed(BleSpec("yale", locks_again="gateway"), 3.0),
        0.0,
        False,
        False,
        False,
    )
    for kind, end, pause in script:
        now += pause
        maybe = end != "never"
        match kind:
            case "open" | "hold":
                action = Action.OPEN if kind == "open" else Action.HOLD
                said = order(action, seconds=3.0)
                owed.ended(said, owed.releases, now, OUTCOMES[end], maybe=maybe)
                perhaps_open = perhaps_open or maybe
                held = held or (kind == "hold" and end in ("done", "unknown"))
            case "release":
                owed.release(now)
                held, perhaps_open = False, True
                if not released:
                    owed.ended(order(Action.RELEASE), owed.releases, now, OUTCOMES[end], maybe=maybe)
                    perhaps_open = end != "done"
            case "try":
                due = owed.due(now, released=released)
                if isinstance(due, Later):
                    assert not released
                    assert due.move is Move.LOCK
                    trying = owed.trying(now)
                    if end != "never":  # else it never ended
                        owed.tried(trying, now, done=end == "done")
                    perhaps_open = perhaps_open and end != "done"
            case "fire":
                released = not released
            case "restart":
                owed = Owed(BleSpec("yale", locks_again="gateway"), 3.0)
                owed.begin()
                held = False
                owed.saw("unlocked" if perhaps_open else "locked", now)
        planned = owed.later is not None and owed.later.move is Move.LOCK
        assert owed.held == held
        assert planned or held or not perhaps_open
        if planned and not released:
            due = owed.due(now + 61.0, released=False)
            assert isinstance(due, Later)  # and it is tried before long


def test_a_hold_that_ends_after_its_release_was_ordered_is_no_hold():
    for again in ("itself", "gateway", "never"):
        owed = Owed(BleSpec("lintel-lock", locks_again=again), 3.0)
        before = owed.releases
        owed.release(5.0)
        owed.ended(order(Action.HOLD), before, 6.0, Outcome.EXECUTED, maybe=True)
        assert not owed.held
        assert owed.later == Later(6.0, Move.LOCK, 6.0)


def test_a_renewal_under_way_does_not_undo_a_release():
    owed = Owed(BleSpec("lintel-lock", locks_again="itself"), 3.0)
    owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    renewing = owed.trying(6000.0)
    owed.release(6001.0)
    owed.tried(renewing, 6002.0, done=True)
    assert owed.later.move is Move.LOCK

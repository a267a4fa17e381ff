"""An order that meets a broken connection at any step: the motor turns once or not at all, and the outcome is true."""

import asyncio
import itertools
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from lintel.edge.ble import lintel_lock as core
from lintel.edge.ble.words import Became, Moved
from lintel.edge.drivers import ble_lintel, ble_operation, ble_session
from lintel.edge.errors import Lost
from lintel.edge.model import Action, Outcome
from lintel.simulators import ble_backend
from tests.edge.drivers.ble_rig import (
    Inlet,
    a_few_at_a_time,
    lintel_locks,
    nuki_rig,
    order,
    play,
    ready,
    running,
    until,
    yale_rig,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    monkeypatch.setattr(ble_operation, "PAUSE_S", 0.01)


# what crosses the radio from the first dialling to the result: TX write 1 HELLO, 2 AUTH, then questions, then COMMAND
STEPS = [
    (op, nth, arrives)
    for op, most in (("write", 6), ("write_answer", 8), ("notify", 8))
    for nth in range(1, most + 1)
    for arrives in (False, True)
]


def test_b6_a_cut_at_any_step_turns_the_motor_once():
    async def one(step):
        op, nth, arrives = step
        async with lintel_locks(weak="rate") as rig:
            driver, inlet = rig.build(), Inlet()
            cut = rig.air.cut(rig.address, op, nth=nth, arrives=arrives)
            async with running(driver, inlet):
                outcome = await driver.execute(order(within=8))
                assert rig.turns() == ["unlock"], (step, outcome)
                assert outcome is Outcome.EXECUTED, step
            return cut.done.is_set()

    assert sum(asyncio.run(a_few_at_a_time(one, STEPS))) > 30  # the cuts did fall


@pytest.mark.long
def test_b6_ten_cuts_in_a_row_after_the_command_has_left():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            for number in range(10):
                await ready(driver)
                rig.air.cut(rig.address, "notify", uuid=core.RX)  # ACCEPTED is lost
                assert await driver.execute(order(within=8, name=f"o{number}")) is Outcome.EXECUTED
        assert rig.turns() == ["unlock"] * 10

    play(scene, weak="rate")


@pytest.mark.parametrize("arrives", [True, False])
def test_b6_a_command_that_was_cut_on_its_way_leaves_again_only_when_the_lock_never_saw_it(arrives):
    async def scene(rig, driver, inlet):
        asked = []
        rig.lock.emit = lambda event, **_: asked.append(event) if event == "asked" else None
        async with running(driver, inlet):
            await ready(driver)
            rig.air.cut(rig.address, "write", uuid=core.TX, arrives=arrives)
            assert await driver.execute(order(within=8)) is Outcome.EXECUTED
        assert rig.turns() == ["unlock"]
        assert asked == ["asked"]

    play(scene, weak="rate")


def test_b6_a_lock_that_does_not_come_back_leaves_the_outcome_unknown(monkeypatch):
    monkeypatch.setattr(ble_operation, "READ_BACK_S", 0.5)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            rig.air.cut(rig.address, "write_answer")
            rig.air.mute(rig.address)
            assert await driver.execute(order(within=0.5)) is Outcome.UNKNOWN_OUTCOME
            rig.air.back(rig.address)
            await ready(driver)
            await asyncio.sleep(0.2)
        assert rig.turns() == ["unlock"]  # never repeated

    play(scene)


def test_b6_what_did_not_happen_is_void_when_the_deadline_has_passed():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            rig.air.cut(rig.address, "write", uuid=core.TX)  # COMMAND is lost
            rig.air.mute(rig.address)
            asyncio.get_running_loop().call_later(1.0, rig.air.back, rig.address)
            assert await driver.execute(order(within=0.5)) is Outcome.ORDER_EXPIRED
        assert rig.turns() == []

    play(scene)


def test_b6_control_who_repeats_without_asking_opens_twice(monkeypatch):
    async def believe(session, command, until, **how):
        await session.close()
        command.id = bytes(reversed(command.id))  # as one that does not know its command by name
        return Moved(Became.NEVER)

    monkeypatch.setattr(ble_operation, "_read_back", believe)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            rig.air.cut(rig.address, "notify", uuid=core.RX)
            await driver.execute(order(within=8))
        assert rig.turns() == ["unlock", "unlock"]

    play(scene, weak="rate")


@pytest.mark.parametrize("kind", [nuki_rig, yale_rig])
def test_b6_a_lock_that_has_locked_again_by_itself_is_not_opened_twice(kind):
    """It stands as it stood before, its last action is to have locked, and it did open."""

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(Action.RELEASE, within=10)) is Outcome.EXECUTED
            await until(lambda: driver._locks["lock"]._look_at > time.monotonic(), 5.0)  # nothing else is to be done
            writes = 1 if kind is yale_rig else 2  # a challenge is fetched first
            rig.air.cut(rig.address, "write_answer", nth=writes)
            rig.air.mute(rig.address)
            doing = asyncio.create_task(driver.execute(order(within=10, name="o2")))
            await until(lambda: rig.lock.motor.returns and rig.lock.motor.bolt == "locked", 5.0)
            rig.air.back(rig.address)
            assert await doing is Outcome.UNKNOWN_OUTCOME
        assert rig.turns() == ["lock", "unlock"]

    play(scene, kind, spec={"open": "unlock"}, auto_lock=0.1)


def test_a_command_in_pieces_is_broken_off_when_it_is_too_late(monkeypatch):
    monkeypatch.setattr(ble_backend, "MTU", 23)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            driver._locks["lock"]._session.talk._clock_set = False
            rig.air.slow[rig.address] = 0.2
            pieces = []
            rig.air.taps.append(
                lambda pdu: pieces.append(pdu.value) if (pdu.op, pdu.uuid) == ("write", core.TX) else None
            )
            assert await driver.execute(order(within=0.6, name="late")) is Outcome.NOT_SENT
            await until(lambda: rig.air.adapter.links == 0, 5.0)
            assert 1 <= len(pieces) < 4
            del rig.air.slow[rig.address]
            assert await driver.execute(order(within=10, name="o2")) is Outcome.EXECUTED
        assert rig.turns() == ["unlock"]

    play(scene, lifetime=10_000)


def test_control_a_command_in_pieces_that_is_not_watched_opens_late(monkeypatch):
    monkeypatch.setattr(ble_backend, "MTU", 23)

    async def blind(self, message, command):
        command.handed = True
        await self.say(message)
        return True

    monkeypatch.setattr(ble_lintel._Wire, "order", blind)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            driver._locks["lock"]._session.talk._clock_set = False  # a lock with a clock would refuse it by itself
            rig.air.slow[rig.address] = 0.2
            late = order(within=0.6, name="late")
            await driver.execute(late)
        assert rig.turns() == ["unlock"]
        assert rig.lock.motor.turns[0].t > late.deadline

    play(scene, lifetime=10_000)


@pytest.mark.parametrize(("announced", "believed"), [(0, 1.0), (900, 1.0), (5000, 5.0), (65_000, 10.0)])
def test_a_challenge_lives_one_to_ten_seconds_whatever_the_lock_says(announced, believed):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            asked = []
            rig.air.taps.append(lambda pdu: asked.append(pdu) if (pdu.op, pdu.uuid) == ("write", core.TX) else None)
            await asyncio.sleep(0.3)
            assert len(asked) < 5, "it is asked without pause"
            talk = driver._locks["lock"]._session.talk
            assert await talk.prepare() == believed - ble_lintel.STALE_S

    play(scene, lifetime=announced)


def test_a_repeated_command_moves_nothing_and_tells_its_result():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.EXECUTED
            assert await driver.execute(order()) is Outcome.EXECUTED  # the same order id
        assert rig.turns() == ["unlock"]

    play(scene)


def test_a_motor_slower_than_the_deadline_is_not_asked_twice():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            with pytest.raises(TimeoutError):  # as the gateway gives up waiting
                await asyncio.wait_for(driver.execute(order(within=0.2)), 0.3)
            assert await driver.execute(order(within=5, name="o2")) is Outcome.EXECUTED
        assert rig.turns() == ["unlock", "unlock"]

    play(scene, travel=0.4)


def test_an_order_given_up_before_it_left_never_leaves():
    async def scene(rig, driver, inlet):
        rig.air.mute(rig.address)
        async with running(driver, inlet):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(driver.execute(order(within=0.3)), 0.2)
            rig.air.back(rig.address)
            await ready(driver)
            await asyncio.sleep(0.2)
        assert rig.turns() == []

    play(scene)


def test_a_slow_lock_delays_no_other():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            for name in rig.locks:
                await ready(driver, name)
            rig.air.slow[rig.locks["lock0"].options.address] = 0.5
            slow = asyncio.create_task(driver.execute(order(device="lock0", within=10)))
            start = time.monotonic()
            assert await driver.execute(order(device="lock1", within=10)) is Outcome.EXECUTED
            assert not slow.done()
            assert time.monotonic() - start < 3
            assert await slow is Outcome.EXECUTED

    play(scene, count=2)


def test_orders_at_one_lock_go_one_after_another():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            orders = [driver.execute(order(within=10, name=f"o{n}")) for n in range(4)]
            assert set(await asyncio.gather(*orders)) == {Outcome.EXECUTED}
        assert rig.turns() == ["unlock"] * 4
        times = [turn.t for turn in rig.lock.motor.turns]
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(times))

    play(scene, weak="rate", travel=0.05)


def test_the_line_that_ends_in_the_middle_of_a_command_leaves_it_unknown():
    async def scene(rig, driver, inlet):
        task = asyncio.create_task(driver.run(inlet))
        await until(lambda: inlet.ups)
        await ready(driver)
        doing = asyncio.create_task(driver.execute(order(within=10)))
        await until(rig.turns)
        task.cancel()
        with suppress(asyncio.CancelledError, Lost):
            await task
        assert await doing is Outcome.UNKNOWN_OUTCOME

    play(scene, travel=2.0)


def test_release_is_read_back_as_well():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            rig.air.cut(rig.address, "notify", uuid=core.RX)
            assert await driver.execute(replace(order(within=8), action=Action.RELEASE)) is Outcome.EXECUTED
        assert rig.turns() == ["lock"]

    play(scene)


def test_an_order_behind_a_dialling_that_hangs_is_told_in_time_and_never_leaves(monkeypatch):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver)
            monkeypatch.setattr(ble_session.Session, "near", property(lambda _: True))
            rig.air.leave(rig.address)
            await until(lambda: rig.air.adapter.dialled[rig.address] == 2, 5.0)
            start = time.monotonic()
            assert await driver.execute(order(within=0.3)) is Outcome.NOT_SENT
            assert time.monotonic() - start < 3
            rig.air.back(rig.address)
            await ready(driver)
            await asyncio.sleep(0.2)
        assert rig.turns() == []

    play(scene)


def test_a_failed_order_does_not_keep_the_lock_from_being_locked_again():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order(seconds=0.8)) is Outcome.EXECUTED
            rig.air.leave(rig.address)
            assert await driver.execute(order(within=0.3, seconds=0.8, name="o2")) is Outcome.NOT_SENT
            rig.air.back(rig.address)
            await until(lambda: rig.turns() == ["unlock", "lock"], 10.0)

    play(scene, spec={"locks_again": "gateway"}, weak="rate")

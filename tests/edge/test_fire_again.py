"""A fire while an order is under way: the hold leaves at once, and has the last word."""

import asyncio

import pytest

from lintel.edge import fire
from lintel.edge.fire import Fire
from lintel.edge.model import (
    Action,
    Contact,
    ContactKind,
)
from tests.edge.drivers.contract import until
from tests.edge.test_fire import Lock, on, scene


async def burning_again(rig, slow):
    """A fire, a reset, and the same fire while `slow` is under way at the gate's lock."""
    rig.locks.slow = {slow}
    rig.gate.contact(on(door="gate"))
    await until(lambda: rig.locks.count("gate", Action.HOLD) == 1)
    if slow is Action.RELEASE:
        await until(lambda: rig.locks.held("gate"))
    rig.gate.contact(on(False, door="gate"))
    rig.gate.fire.reset()
    if slow is Action.RELEASE:
        await until(lambda: rig.locks.count("gate", Action.RELEASE) == 1)
    rig.gate.contact(on(door="gate"))


@pytest.mark.parametrize("slow", [Action.RELEASE, Action.HOLD])
def test_a_hold_does_not_wait_for_an_order_that_is_under_way(tmp_path, slow):
    async def body(rig):
        await burning_again(rig, slow)
        await until(lambda: rig.locks.count("gate", Action.HOLD) == 2, 10)
        if slow is Action.RELEASE:
            await until(lambda: rig.locks.held("gate"))
        rig.locks.let_go.set()
        await until(lambda: rig.locks.held("gate"))
        await asyncio.sleep(0.1)
        assert rig.locks.held("gate"), "the release was dropped: nobody waits for it"

    scene(body, tmp_path)


def test_control_a_build_that_waits_for_the_release_first_is_found(tmp_path, monkeypatch):
    real = Fire._keep
    monkeypatch.setattr(Fire, "_keep", lambda self, door, anew=False: real(self, door))

    async def body(rig):
        await burning_again(rig, Action.RELEASE)
        await asyncio.sleep(1.0)
        assert rig.locks.count("gate", Action.HOLD) == 1
        rig.locks.let_go.set()

    scene(body, tmp_path)


def test_a_release_that_lands_after_the_hold_has_not_the_last_word(tmp_path):
    """A driver that can not take it back: once its time is over, the hold is ordered once more."""

    async def body(rig):
        rig.gate.fire.order_s, rig.locks.deaf = 0.5, True
        await burning_again(rig, Action.RELEASE)
        await until(lambda: rig.locks.count("gate", Action.HOLD) == 2, 10)
        await asyncio.sleep(0)
        rig.locks.let_go.set()
        await asyncio.gather(*rig.locks.moving)
        assert rig.locks.open["gate"] is None
        await until(lambda: rig.locks.held("gate"))

    scene(body, tmp_path)


def test_a_driver_whose_own_future_is_cancelled_is_tried_again(tmp_path):
    async def body(rig):
        rig.locks.error = asyncio.CancelledError()
        rig.gate.contact(on())
        rig.gate.contact(Contact("button", ContactKind.EXIT, True, "gate"))  # fire has its door: no order
        await until(lambda: rig.locks.count("gate", Action.HOLD) >= 2)
        rig.locks.error = None
        await until(lambda: rig.locks.held("gate", "back"))

    scene(body, tmp_path)


def test_a_release_that_is_refused_is_believed_only_of_a_lock_that_knows_no_hold(tmp_path, monkeypatch):
    """A relay that answers a release with an error stands open; it is told again until it is not."""
    monkeypatch.setattr(fire, "RENEW_S", 0.1)

    async def body(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.held("gate"))
        rig.locks.knows = {Action.OPEN}
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        await until(lambda: rig.locks.count("gate", Action.RELEASE) >= 2)
        assert rig.locks.held("gate")
        rig.locks.knows = {Action.OPEN, Action.HOLD, Action.RELEASE}
        await until(lambda: not rig.locks.held("gate"))
        await until(lambda: not rig.gate.fire._tasks)

    scene(body, tmp_path)


def test_an_order_of_fire_gives_a_lock_that_is_far_time_to_be_reached(tmp_path):
    async def body(rig):
        rig.gate.fire.far = {"gate-lock"}
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        left = {order.door: order.deadline - rig.time.mono for order in rig.locks.orders}
        assert left == {"gate": fire.REACH_S, "back": rig.gate.order_s}
        assert rig.gate.order_s < fire.REACH_S

    scene(body, tmp_path)


def test_a_lock_that_knows_no_hold_is_not_told_to_release_for_ever_after_a_restart(tmp_path):
    async def first(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.count("gate", Action.OPEN))
        assert await rig.gate.fire.saved(5)
        await until(lambda: not rig.gate.fire.latch.held)

    async def second(rig):
        rig.gate.fire.resume()
        await until(lambda: rig.locks.count("gate", Action.OPEN))
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        await until(lambda: not rig.gate.fire._tasks)
        assert rig.locks.count("gate", Action.RELEASE) == 1

    for body in (first, second):
        scene(body, tmp_path, Lock(knows=[Action.OPEN]))

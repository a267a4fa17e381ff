"""Fire before a real driver of relays: the strike ends as the last word of fire says, not as an older order does."""

import asyncio
import time
from dataclasses import replace

from lintel.edge.fire import Fire
from lintel.edge.model import Action, Contact, ContactKind, Door
from tests.edge.drivers.contract import until
from tests.edge.drivers.gpio_rig import STRIKE, at_work, chip_of
from tests.edge.test_fire import scene

DOORS = {"gate": Door("gate", "gate", frozenset({"public"}), "strike")}


def fire(active=True):
    return Contact("panel", ContactKind.FIRE, active, "gate")


async def fire_again_while_the_release_is_under_way(rig, chip, body):
    """The way to the relay is slow for a release: it gets there when `through` is set, if anybody still waits."""
    async with at_work("strike") as (driver, _, _):
        through, releases = asyncio.Event(), []

        async def execute(order):
            if order.action is Action.RELEASE:
                releases.append(order)
                await through.wait()
            return await driver.execute(replace(order, deadline=time.monotonic() + 5.0))  # the clock of the rig stands

        rig.gate.fire.execute = execute
        rig.gate.contact(fire())
        await until(lambda: chip.high(STRIKE))
        rig.gate.contact(fire(False))
        assert rig.gate.fire.reset().doors == ("gate",)
        await until(lambda: releases)
        chip.put(STRIKE, False)  # somebody's hand: what is high after this was ordered after it
        rig.gate.contact(fire())
        await body(through)
        await rig.gate.close()


def test_a_strike_is_driven_while_a_release_is_under_way_and_stays_so(tmp_path, monkeypatch):
    chip = chip_of(monkeypatch)

    async def body(rig):
        async def then(through):
            await until(lambda: chip.high(STRIKE))
            through.set()
            await asyncio.sleep(0.3)
            assert chip.high(STRIKE)

        await fire_again_while_the_release_is_under_way(rig, chip, then)

    scene(body, tmp_path, doors=DOORS)


def test_control_a_build_that_waits_for_the_release_first_is_found(tmp_path, monkeypatch):
    chip, real = chip_of(monkeypatch), Fire._keep
    monkeypatch.setattr(Fire, "_keep", lambda self, door, anew=False: real(self, door))

    async def body(rig):
        async def then(through):
            await asyncio.sleep(1.0)
            assert not chip.high(STRIKE)

        await fire_again_while_the_release_is_under_way(rig, chip, then)

    scene(body, tmp_path, doors=DOORS)

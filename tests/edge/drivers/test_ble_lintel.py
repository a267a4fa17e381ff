"""A Lintel lock on a Bluetooth line: opened once, held, let go, paired, watched."""

import asyncio
import time

import pytest

from lintel.edge.errors import Lost
from lintel.edge.model import Action, DoorState, Measure, Notice, Outcome
from tests.edge.drivers.ble_rig import Inlet, lintel_locks, order, running, until


def play(scene, **rig):
    async def stage():
        async with lintel_locks(**rig) as made:
            await scene(made, made.build(), Inlet())

    asyncio.run(stage())


def test_connect_handshake_unlock():
    async def scene(rig, driver, inlet):
        assert await driver.execute(order()) is Outcome.NOT_SENT  # not running yet
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.EXECUTED
            assert rig.turns() == ["unlock"]
            assert await driver.execute(order(within=-0.001)) is Outcome.ORDER_EXPIRED
            assert rig.turns() == ["unlock"]

    play(scene)

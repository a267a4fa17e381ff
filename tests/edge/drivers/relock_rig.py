"""What the tests of locking again share: short times, locks that the gateway locks, and a line that ends."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from lintel.edge.drivers import ble_relock
from lintel.edge.errors import Lost
from lintel.edge.model import Notice
from tests.edge.drivers.ble_rig import (
    lintel_locks,
    nuki_rig,
    short_waits,
    until,
    yale_rig,
)  # fmt: skip

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

"""A driver of GPIO lines before a chip in memory, and what is wired to it."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import gpiod

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.gpio import build
from lintel.edge.model import EVERY_DOOR, Action, Direction, Order
from lintel.edge.profiles import builtin
from tests.edge.drivers.contract import Recorder, context, running
from tests.edge.drivers.gpio_chip import Chip

STRIKE, MAGNET, CONTACT, EXIT, FIRE, TAMPER = 2, 3, 4, 5, 6, 7
WIRED = {
    "strike": ("gpio-strike", STRIKE, "gate"), "magnet": ("gpio-magnet", MAGNET, "back"),
    "contact": ("gpio-door-nc", CONTACT, "gate"), "exit": ("gpio-exit", EXIT, "gate"),
    "fire": ("gpio-fire-nc", FIRE, EVERY_DOOR), "tamper": ("gpio-tamper-nc", TAMPER, "gate"),
}  # fmt: skip


def device(name, **changes):
    profile, at, door = WIRED[name]
    profile = builtin()[profile]
    spec = replace(profile.spec, **{k: v for k, v in changes.items() if hasattr(profile.spec, k)})
    return Device(name, changes.get("address", str(at)), door, Direction.IN, replace(profile, spec=spec))


def driver(*names, released=lambda _: False, **changes):
    devices = [device(n, **changes.get(n, {})) for n in names or WIRED]
    return build(Line("gpio", "gpio", {"chip": "/dev/gpiochip0"}), devices, replace(context(), released=released))


def order(name, action=Action.OPEN, seconds=0.3, within=2.0):
    return Order("o1", WIRED[name][2], name, action, time.monotonic() + within, seconds=seconds)


def scene(body):
    asyncio.run(asyncio.wait_for(body, 30))


@asynccontextmanager
async def at_work(*names, **changes):
    inlet = Recorder()
    made = driver(*names, **changes)
    async with running(made, inlet) as task:
        yield made, inlet, task


def chip_of(monkeypatch):
    """A chip in the place of gpiod's, with the contacts that are closed at rest."""
    chip = Chip(names={"RELAY_1": STRIKE})
    for at in (CONTACT, FIRE, TAMPER):
        chip.volts[at] = False
    monkeypatch.setattr(gpiod, "request_lines", chip.request_lines)
    return chip

"""Doors with simulated Bluetooth locks on an emulated radio, under a real gate, store and driver."""

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lintel.edge.drivers import ble_lock
from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.model import Action, Direction, Door, Order, Outcome, Stream
from lintel.edge.profiles import builtin
from lintel.simulators.ble_lintel_lock import RX, lintel_lock
from lintel.simulators.ble_nuki import nuki_lock
from lintel.simulators.ble_nuki_wire import USER_IO
from tests.ble_air import Air
from tests.edge.drivers.contract import until

from .stage import at_work, context, gate, told

LIFE = 3600.0
PIN = "123456"
MAKE = {
    "lintel-lock": lintel_lock,
    "nuki-smart-lock": nuki_lock,
    "nuki-ultra": partial(nuki_lock, ultra=True, pin=int(PIN)),
}
"""Locks by profile."""


class Site:
    """Doors with Bluetooth locks on one adapter, a gate, and people who hold up a code."""

    def __init__(self, rig, air, locks, slots, kind):
        self.rig, self.air, self.locks = rig, air, locks
        self.answers = ("notify", RX) if kind == "lintel-lock" else ("indicate", USER_IO)
        self.outcomes = {}
        radio = Radio("", air.client_backend, air.scanner_backend, asyncio.Event().wait)
        profile = builtin()[kind]
        devices = [Device(name, lock.options.address, name, Direction.IN, profile) for name, lock in locks.items()]
        keys = replace(context(rig), keys=rig.store.keys)
        self.driver = ble_lock.build(Line("locks", "ble_lock", {"slots": slots}), devices, keys, radio)

    @property
    def lock(self):
        return next(iter(self.locks.values()))

    @property
    def address(self):
        return self.lock.options.address

    def turns(self, name=None):
        return len((self.locks[name] if name else self.lock).motor.turns)

    async def execute(self, order):
        outcome = self.outcomes[order.id] = await self.driver.execute(order)
        return outcome

    async def pair(self):
        """As an installer does: a window, the button, the secret on the label."""
        label = await self.lock.do_button()
        ident = self.lock.id
        text = label.get("secret", PIN)
        window = Order("pair", ident, ident, Action.INSTALL, time.monotonic() + 5, 0, 60.0, text)
        assert await self.driver.execute(window) is Outcome.EXECUTED
        await told(self.rig, "key_set")

    async def paired(self):
        """What pairing leaves behind on both sides."""
        for name, lock in self.locks.items():
            key = Ed25519PrivateKey.generate()
            public = key.public_key().public_bytes_raw()
            lock.memory.gateways[hashlib.sha256(public).digest()[:8].hex()] = public.hex()
            await self.rig.store.keys.put(name, {"own_seed": key.private_bytes_raw(), "lock_key": lock.public})

    async def come(self, name, within=None):
        """Somebody holds up the code; (outcome, movements) of the order that follows."""
        door = name or next(iter(self.locks))
        before, known = self.turns(door), set(self.outcomes)
        if within is not None:
            self.rig.gate.order_s = within
        assert await self.rig.present("p-1", door=door) == "granted"
        await until(lambda: set(self.outcomes) > known, 30)
        ident = next(iter(set(self.outcomes) - known))
        return self.outcomes[ident], self.turns(door) - before

    def journaled(self):
        """What the journal says about orders that were not simply executed."""
        return {e.id: e.result for e in self.rig.events(Stream.ACCESS) if e.type == "door.order"}


@asynccontextmanager
async def site(path, count=1, *, kind="lintel-lock", slots=3, interval=0.0, executes=Site.execute, **options):
    """A site whose locks are paired and whose line is up."""
    names = [f"door{n}" for n in range(count)]
    doors = {name: Door(name, name, frozenset({"public"}), name) for name in names}
    async with Air(interval=interval) as air:
        locks = {
            name: MAKE[kind](id=name, address=f"C4:64:E3:00:01:{n:02X}", interval=20.0 * max(1, count / 4), **options)
            for n, name in enumerate(names)
        }
        rig = gate(path, doors=doors)
        made = []

        async def execute(order):
            return await executes(made[0], order)

        rig.lock = execute
        async with rig:
            made.append(place := Site(rig, air, locks, slots, kind))
            await rig.allow("p-1", valid_to=time.time() + LIFE)
            for lock in locks.values():
                await lock.appear(air)
            if count > 1:
                await place.paired()
            async with at_work(rig, place.driver, limit=5):
                if count == 1:
                    await place.pair()
                yield place
        for lock in locks.values():
            await lock.power_off()


def honest(outcome, turns):
    """Whether what is said about an order fits what the lock did."""
    return turns in {Outcome.EXECUTED: (1,), Outcome.UNKNOWN_OUTCOME: (0, 1)}.get(outcome, (0,))

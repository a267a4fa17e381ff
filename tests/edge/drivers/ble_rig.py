"""A Bluetooth line whose far end are simulated locks: GATT servers on an emulated radio, behind unmodified bleak."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from lintel.edge.ble import nuki
from lintel.edge.ble.lintel_lock import key_id, public_of
from lintel.edge.drivers import ble_install, ble_lock, ble_operation, ble_session
from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.model import Action, Contact, Direction, Measure, Order
from lintel.edge.profiles import find
from lintel.simulators.ble_lintel_lock import lintel_lock
from lintel.simulators.ble_nuki import nuki_lock
from lintel.simulators.ble_yale import yale_lock
from tests.ble_air import Air
from tests.edge.drivers.contract import Recorder, context, running, until

SECRET = bytes(range(16))
LOCK_SEED = bytes(range(32))
OWN_SEED = bytes(range(64, 96))
ADDRESS = "C4:64:E3:00:00:01"
YALE_KEY = bytes(range(16))


class Inlet(Recorder):
    """It also keeps measures and contacts."""

    def __init__(self):
        super().__init__()
        self.measures: list[tuple[str, Measure, float]] = []
        self.contacts: list[Contact] = []

    def measure(self, device, what, value):
        self.measures.append((device, what, value))

    def contact(self, contact):
        self.contacts.append(contact)

    def notices(self, device="lock"):
        return [f.notice for f in self.facts if f.device == device]


class MemoryKeys:
    """Keys as the store keeps them; `log` shows in what order they were kept."""

    def __init__(self):
        self.kept: dict[tuple[str, str], bytes] = {}
        self.log: list[str] = []
        self.fault: Exception | None = None

    def get(self, device, name):
        return self.kept.get((device, name))

    async def put(self, device, secrets):
        if self.fault is not None:
            raise self.fault
        for name, secret in secrets.items():
            self.log.append(name)
            if secret is None:
                self.kept.pop((device, name), None)
            else:
                self.kept[device, name] = secret


@dataclass
class Rig:
    """One adapter with locks in reach. `gone` breaks the adapter."""

    air: Air
    locks: dict[str, object]
    devices: list[Device]
    slots: int = 3
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def lock(self):
        return next(iter(self.locks.values()))

    @property
    def address(self):
        return self.lock.options.address

    def build(self):
        ctx = replace(context(), keys=self.keys, gateway="lintel-test")
        radio = Radio("", self.air.client_backend, self.air.scanner_backend, self._watch)
        return ble_lock.build(Line("locks", "ble_lock", {"slots": self.slots}), self.devices, ctx, radio)

    async def _watch(self):
        await self.gone.wait()

    def turns(self, device="lock"):
        return [turn.action for turn in self.locks[device].motor.turns]


def device(name, address, profile="lintel-lock", **changes):
    """A configured lock; `changes` are of its profile's spec."""
    found = find(profile)
    if changes:
        found = replace(found, spec=replace(found.spec, **changes))
    return Device(name, address, f"door-{name}", Direction.IN, found)


def order(action=Action.OPEN, within=5.0, *, device="lock", seconds=3.0, text="", name="o1"):
    return Order(name, f"door-{device}", device, action, time.monotonic() + within, 0, seconds, text)


def pair_in_memory(rig, name, lock):
    """What pairing would have left behind on both sides."""
    own = OWN_SEED[:31] + bytes([len(rig.keys.kept)])
    rig.keys.kept[name, "own_seed"] = own
    rig.keys.kept[name, "lock_key"] = lock.public
    lock.memory.gateways[key_id(public_of(own)).hex()] = public_of(own).hex()


async def a_few_at_a_time(work, items, count=6):
    """What `work` makes of each item, in order. More at once would starve one another on a small machine."""
    room = asyncio.Semaphore(count)

    async def one(item):
        async with room:
            return await work(item)

    return await asyncio.gather(*map(one, items))


async def ready(driver, device="lock"):
    """Connected, with a challenge at hand."""
    worker = driver._locks[device]
    await until(lambda: worker._session.talk is not None and worker._session.talk._nonce is not None, 5.0)


def known_battery(inlet):
    """Which locks have told their battery."""
    return {name for name, what, _ in inlet.measures if what is Measure.BATTERY_PERCENT}


@asynccontextmanager
async def lintel_locks(count=1, *, slots=3, paired=True, spec=None, interval=0.0, **options):
    """A rig with `count` Lintel locks: "lock", or "lock0", "lock1", ..."""
    async with Air(interval=interval) as air:
        locks, devices = {}, []
        for number in range(count):
            name = "lock" if count == 1 else f"lock{number}"
            address = ADDRESS[:-2] + f"{number + 1:02X}"
            chosen = {"secret": SECRET.hex(), "interval": 20.0, "travel": 0.0, **options}
            locks[name] = lintel_lock(id=name, address=address, **chosen)
            devices.append(device(name, address, **(spec or {})))
        rig = Rig(air, locks, devices, slots)
        for name, lock in locks.items():
            if paired:
                pair_in_memory(rig, name, lock)
            await lock.appear(air)
        try:
            yield rig
        finally:
            for lock in locks.values():
                await lock.power_off()


@asynccontextmanager
async def _alone(lock, profile, spec, pair):
    """A rig with one lock; `pair` gives the keys that pairing has left on our side."""
    async with Air() as air:
        rig = Rig(air, {"lock": lock}, [device("lock", ADDRESS, profile, **spec)])
        rig.keys.kept |= {("lock", name): value for name, value in pair(lock).items()}
        await lock.appear(air)
        try:
            yield rig
        finally:
            await lock.power_off()


def nuki_rig(*, paired=True, spec=None, **options):
    """A rig with one Nuki, which knows us as number 2."""

    def pair(lock):
        own = bytes(range(32))
        key = nuki.shared_key(lock.public, own).hex()
        lock.memory.users["2"] = {"type": 1, "app": 7, "name": "gw", "key": key, "enabled": True}
        ours = {"own_private": own, "app_id": b"\x07\0\0\0"}
        return {**ours, "lock_public": lock.public, "auth_id": b"\x02\0\0\0"}

    lock = nuki_lock(id="lock", address=ADDRESS, interval=20.0, **{"travel": 0.02, **options})
    return _alone(lock, "nuki-smart-lock", spec or {}, pair if paired else lambda _: {})


def yale_rig(*, paired=True, spec=None, **options):
    """A rig with one Yale."""
    lock = yale_lock(id="lock", address=ADDRESS, interval=20.0, key=YALE_KEY.hex(), **{"travel": 0.02, **options})
    keys = {"offline_key": YALE_KEY + b"\x01"} if paired else {}
    return _alone(lock, "yale-august", {"locks_again": "never", **(spec or {})}, lambda _: keys)


def play(scene, rig=lintel_locks, **options):
    """One scene with a rig, its driver and an inlet, in an event loop of its own."""

    async def stage():
        async with rig(**options) as made:
            await scene(made, made.build(), Inlet())

    asyncio.run(stage())


def short_waits(monkeypatch):
    """The rests that real locks need are of no use here."""
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    monkeypatch.setattr(ble_operation, "PAUSE_S", 0.01)
    monkeypatch.setattr(ble_install, "AGAIN_S", 0.1)


__all__ = [
    "ADDRESS", "YALE_KEY", "Inlet", "MemoryKeys", "Rig", "a_few_at_a_time", "device", "known_battery", "lintel_locks",
    "nuki_rig", "order", "play", "ready", "running", "short_waits", "until", "yale_rig",
]  # fmt: skip

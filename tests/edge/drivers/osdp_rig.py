"""OSDP readers on a simulated RS-485 line, for the tests of the driver: another author's readers, a pty in between."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.osdp import CURRENT, Osdp, build
from lintel.edge.model import Action, Direction, Notice, Order
from lintel.edge.profiles import builtin
from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Peripheral, Settings
from lintel.simulators.osdp_reader import digits, wiegand26
from lintel.simulators.osdp_wire import Say
from tests.edge.drivers.contract import Recorder, context, running, until

KEY = bytes.fromhex("9f1c7a3e5b0842d6e1f7a90c3b5d2e84")


class Memory:
    """Keys that outlive a driver, as the store's do; `writes` is what was put, in order."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.writes: list[tuple[str, str, bool]] = []
        self.error: Exception | None = None

    def get(self, device: str, name: str) -> bytes | None:
        return self.kept.get((device, name))

    async def put(self, device, secrets) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        for name, secret in secrets.items():
            self.writes.append((device, name, secret is not None))
            if secret is None:
                self.kept.pop((device, name), None)
            else:
                self.kept[device, name] = secret


class Readers:
    """A line with readers r0, r1, ... at addresses 0, 1, ...; `keyed` ones share a key with the panel."""

    def __init__(
        self, link: Path, count: int = 1, *, baud: int = 0, keyed: bool = True, profile: str = "osdp-generic-relay"
    ) -> None:
        self.link, self.baud, self.keys, self.told = link, baud, Memory(), []
        self.bus = Bus(link, baud)
        self.profile = builtin()[profile]
        self.stations: list[Station] = []
        for address in range(count):
            settings = Settings(address, KEY if keyed else None, serial=1000 + address)
            pd = Peripheral(settings, lambda event, address=address, **more: self.told.append((address, event, more)))
            self.stations.append(Station(self.bus, pd, 0.002))
            if keyed:
                self.keys.kept[f"r{address}", CURRENT] = KEY
        self.bus.plug()

    @property
    def pds(self):
        return [station.pd for station in self.stations]

    def build(self, **changes) -> Osdp:
        profile = replace(self.profile, spec=replace(self.profile.spec, **changes))
        devices = [Device(f"r{n}", str(n), f"door-{n}", Direction.IN, profile) for n in range(len(self.stations))]
        ctx = replace(context(), keys=self.keys)
        return build(Line("bus", "osdp", {"path": str(self.link), "baud": self.baud or 115200}), devices, ctx)

    def say(self, code: Say, data: bytes, reader: int = 0) -> None:
        self.pds[reader].queue.append((code, data, lambda: None))

    def card(self, number: int, reader: int = 0) -> str:
        """Hold a card in front of a reader; returns what its digest is made of."""
        self.say(Say.RAW, b"\x00\x01\x1a\x00" + wiegand26(7, number), reader)
        return f"26:7:{number}"

    def press(self, keys: str, reader: int = 0) -> None:
        self.say(Say.KEYPAD, bytes((0, len(keys))) + digits(keys), reader)

    def outputs(self) -> list[tuple[int, int]]:
        """The orders to switch a relay that reached a reader: (address, control)."""
        return [(a, more["control"]) for a, event, more in self.told if event == "output"]


def order(action: Action, reader: int = 0, **more) -> Order:
    return Order("o", f"door-{reader}", f"r{reader}", action, time.monotonic() + 2.5, **more)


def on_line(link: Path, scene, count: int = 1, *, install: bool = False, enforce: bool = True, **options) -> None:
    """One scene with readers on a line, and no driver yet. `install`, `enforce`: see the simulator's `Settings`."""

    async def stage() -> None:
        rig = Readers(link, count, **options)
        for pd in rig.pds:
            pd.settings.install, pd.settings.enforce = install, enforce
        try:
            await scene(rig)
        finally:
            rig.bus.close()

    asyncio.run(stage())


def on_bus(tmp_path: Path, scene, count: int = 1, *, secure: bool = True, changes=None, **options) -> None:
    """The same with a running driver; with `secure`, all its readers are in a session when it begins."""

    async def driven(rig: Readers) -> None:
        driver, inlet = rig.build(**(changes or {})), Recorder()
        async with running(driver, inlet):
            if secure:
                await until(lambda: all(p.fresh for p in driver.bus.peripherals.values()), 5.0)
            await scene(rig, driver, inlet)

    on_line(tmp_path / "bus", driven, count, **options)


def new_reader(tmp_path: Path, scene) -> None:
    """A reader in its install mode, and a driver that has no key of it."""
    on_bus(tmp_path, scene, secure=False, keyed=False, install=True)


def install(seconds: float = 60.0) -> Order:
    return Order("o", "door-0", "r0", Action.INSTALL, time.monotonic() + 2, seconds=seconds)


def notices(inlet: Recorder) -> list[Notice]:
    return [fact.notice for fact in inlet.facts]

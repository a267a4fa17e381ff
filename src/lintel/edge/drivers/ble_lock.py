"""Bluetooth locks: one line is one adapter, shared by up to 30 locks. Which lock speaks how stands in its profile.

The line is up while the adapter scans. That a lock is out of reach, jammed or refuses its key is a fact about that lock
alone; `Lost` is raised only when the adapter or BlueZ itself is gone.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lintel.edge.drivers.base import Context, Device, Driver, Inlet, Line
from lintel.edge.drivers.ble_lintel import LintelDialect
from lintel.edge.drivers.ble_nuki import NukiDialect
from lintel.edge.drivers.ble_radio import Radio, installed
from lintel.edge.drivers.ble_slots import Slots
from lintel.edge.drivers.ble_talk import Dialect
from lintel.edge.drivers.ble_worker import Worker
from lintel.edge.drivers.ble_yale import YaleDialect
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.model import Order, Outcome
from lintel.edge.profiles.ble import BleSpec

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

INSTALL = "expected the package bleak: pip install 'lintel[ble]', or from a clone LINTEL_LEVEL=lines ./lintel ..."
MOST: Final = 30
"""Locks that one adapter is shared by."""
SLOTS: Final = 3

_ADDRESS: Final = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}")
_DIALECTS: Final[dict[str, Dialect]] = {
    "lintel-lock": LintelDialect(),
    "nuki": NukiDialect(),
    "nuki-ultra": NukiDialect(ultra=True),
    "yale": YaleDialect(),
}


def build(line: Line, devices: Sequence[Device], context: Context, radio: Radio | None = None) -> Driver:
    """The driver of one adapter. Raises ConfigError when an address, a profile or a package does not fit.

    `radio` in place of BlueZ is for tests and simulators.
    """
    mistakes = [*_mistakes(line, devices)]
    if mistakes:
        raise ConfigError(f"line {line.id}", mistakes)
    adapter, slots = str(line.options.get("adapter", "")), int(line.options.get("slots", SLOTS))
    return BleLocks(devices, context, Slots(slots, len(devices)), radio or Radio(adapter))


def _mistakes(line: Line, devices: Sequence[Device]) -> list[Mistake]:
    found, taken = [], set()
    if not installed():
        found.append(Mistake(f"line.{line.id}", INSTALL))
    if len(devices) > MOST:
        found.append(Mistake(f"line.{line.id}", f"expected at most {MOST} locks on one adapter"))
    for device in devices:
        address = device.address.upper()
        if not isinstance(device.profile.spec, BleSpec):
            found.append(Mistake(f"device.{device.id}.profile", "expected a profile with driver 'ble_lock'"))
        if not _ADDRESS.fullmatch(address):
            found.append(
                Mistake(f"device.{device.id}.address", "expected a Bluetooth address such as 'C4:7F:51:00:12:AB'")
            )
        elif address in taken:
            found.append(Mistake(f"device.{device.id}.address", "expected an address used once on its line"))
        taken.add(address)
    return found


class BleLocks:
    """The driver; see `Driver`."""

    def __init__(self, devices: Sequence[Device], context: Context, slots: Slots, radio: Radio) -> None:
        self._radio = radio
        self._locks = {d.id: _worker(d, context, slots, radio) for d in devices}
        self._by_address = {w.device.address.upper(): w for w in self._locks.values()}

    async def run(self, inlet: Inlet) -> None:
        """Scan and serve every lock until the adapter is gone: then raise Lost."""
        async with self._radio.scanning(self._heard) as adapter:
            for lock in self._locks.values():
                lock.attach(inlet)
            inlet.up()
            tasks = [asyncio.create_task(self._radio.stay(adapter))]
            tasks += [asyncio.create_task(w.serve(), name=w.device.id) for w in self._locks.values()]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                try:
                    await asyncio.gather(*tasks, return_exceptions=True)
                finally:  # cancelled once more meanwhile: no lock takes an order for a line that is down
                    for lock in self._locks.values():
                        lock.detach()

    async def execute(self, order: Order) -> Outcome:
        """Carry out an order at its lock."""
        return await self._locks[order.device].execute(order)

    def _heard(self, place: "BLEDevice", said: "AdvertisementData") -> None:
        lock = self._by_address.get(place.address.upper())
        if lock is not None:
            lock.hear(place, said)


def _worker(device: Device, context: Context, slots: Slots, radio: Radio) -> Worker:
    spec = device.profile.spec
    assert isinstance(spec, BleSpec)  # noqa: S101  checked before
    return Worker(device, spec, _DIALECTS[spec.dialect], context, slots=slots, radio=radio)

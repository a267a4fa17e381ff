"""A Bluetooth adapter with locks around it, behind a BlueZ of its own: a gateway reaches them through bleak as it is.

Point the gateway's DBUS_SYSTEM_BUS_ADDRESS at `unix:path=FOLDER/bus`.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lintel.simulators.ble_air import Air
from lintel.simulators.ble_lock import BleLock
from lintel.simulators.bluez import BlueZ, bus
from lintel.simulators.host import build
from lintel.simulators.parts import Emit, JsonMap, Part, PartOptions, SimulatorError, opt


@dataclass(frozen=True, slots=True)
class BluetoothOptions(PartOptions):
    """Options of the adapter."""

    id: str = opt("bluetooth", "name in commands and events")
    folder: str = opt(".", "where the socket `bus` of the message bus is made")
    interval: float = opt(0.0, "milliseconds that each message waits, as for a connection event (7.5 to 50)")
    locks: str = opt("[]", 'JSON list of locks, e.g. [{"kind": "ble-lintel", "id": "lock-1"}]')


class Bluetooth(Part):
    """The adapter and its locks. Commands: those of a lock, through `lock`; `leave`, `back`, `drop`, `restart`."""

    kind = "bluetooth"
    options_class = BluetoothOptions

    def __init__(self, options: BluetoothOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._folder = Path(options.folder)
        try:
            specs = json.loads(options.locks)
            self._locks = {lock.id: lock for lock in (cast("BleLock", build(spec, emit)) for spec in specs)}
        except (ValueError, TypeError) as error:
            raise SimulatorError(f"locks is a JSON list of objects: {error}") from None
        self._interval = options.interval / 1000
        self._air: Air | None = None
        self._restart = asyncio.Event()

    async def run(self) -> None:
        """Live until cancelled."""
        async with Air(interval=self._interval) as air, bus(self._folder) as address:
            self._air = air
            for lock in self._locks.values():
                await lock.appear(air)
            try:
                while True:
                    self._restart.clear()
                    async with BlueZ(address, air):
                        self.emit("ready", address=address)
                        await self._restart.wait()
            finally:
                for lock in self._locks.values():
                    await lock.power_off()

    async def do_lock(self, name: str, order: str, **arguments: object) -> JsonMap:
        """Give a lock one of its commands: `{"cmd": "lock", "name": "lock-1", "order": "ledger"}`."""
        return await self._lock(name).command(order, arguments)

    async def do_leave(self, name: str) -> None:
        """The lock is out of range from now on."""
        self._there().leave(self._lock(name).options.address)

    async def do_back(self, name: str) -> None:
        """It is in range again."""
        self._there().back(self._lock(name).options.address)

    async def do_drop(self, name: str) -> None:
        """Its link is lost."""
        self._there().drop(self._lock(name).options.address)

    async def do_restart(self) -> None:
        """BlueZ ends and begins anew at once; the message bus and the locks stay."""
        self._restart.set()

    def _lock(self, name: str) -> BleLock:
        if name not in self._locks:
            raise SimulatorError(f"which lock? name is one of {', '.join(self._locks)}")
        return self._locks[name]

    def _there(self) -> Air:
        if self._air is None:
            raise SimulatorError("the adapter is not on yet")
        return self._air

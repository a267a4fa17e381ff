"""A BlueZ on a D-Bus of its own, over a bumble controller: unmodified bleak reaches simulated locks without a radio.

Source: org.bluez.Adapter and org.bluez.Device in BlueZ's doc/. Only what a client of locks uses is there: scanning,
connections, GATT. `bus` starts a private message bus for it; point DBUS_SYSTEM_BUS_ADDRESS at it.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from dbus_fast import PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusDict, DBusObjectPath, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from lintel.simulators.ble_air import Air, le_address
from lintel.simulators.bluez_device import ADAPTER, RemoteDevice, Strings
from lintel.simulators.parts import SimulatorError

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""
STARTED_S = 10.0
"""How long the bus may take to start on a slow machine (s)."""


@contextlib.asynccontextmanager
async def bus(folder: Path) -> AsyncIterator[str]:
    """A private message bus; yields its address. Raises SimulatorError where dbus-daemon is missing or ends."""
    program = shutil.which("dbus-daemon")
    if program is None:
        raise SimulatorError("dbus-daemon is not installed; run: apt-get install dbus-daemon")
    path, config = folder / "bus", folder / "bus.conf"
    config.write_text(_CONFIG.format(path=path), "utf-8")
    process = await asyncio.create_subprocess_exec(
        program, f"--config-file={config}", "--nofork", "--nopidfile",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(STARTED_S):
            while not await _listens(path):
                if process.returncode is not None:
                    raise SimulatorError(f"dbus-daemon ended with {process.returncode}")
                await asyncio.sleep(0.01)
        yield f"unix:path={path}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listens(path: Path) -> bool:
    """Whether somebody takes connections there: the socket is bound, and seen, before it listens."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class BlueZ:
    """The service, while `async with BlueZ(address, air)` lasts: the adapter of `air`, on the bus."""

    def __init__(self, address: str, air: Air) -> None:
        self.air = air
        self._bus = MessageBus(bus_address=address)
        self._devices: dict[str, RemoteDevice] = {}
        self._adapter = Adapter(self)
        self.scanner = BleakScanner(self._heard, backend=air.scanner_backend)

    async def __aenter__(self) -> Self:
        await self._bus.connect()
        self._bus.export(ADAPTER, self._adapter)
        await self._bus.request_name("org.bluez")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._adapter.close()
        for device in self._devices.values():
            await device.drop()
        self._bus.disconnect()
        with contextlib.suppress(Exception):  # the bus may have gone first
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def export(self, path: str, interface: ServiceInterface) -> None:
        """Put an object on the bus."""
        self._bus.export(path, interface)

    def unexport(self, path: str) -> None:
        """Take an object off the bus."""
        self._bus.unexport(path)

    def forget(self, path: str) -> None:
        """Forget a device until it is heard again."""
        for address, device in list(self._devices.items()):
            if device.path == path:
                del self._devices[address]
                self.unexport(path)

    def _heard(self, found: BLEDevice, data: AdvertisementData) -> None:
        device = self._devices.get(found.address)
        if device is None:
            device = self._devices[found.address] = RemoteDevice(self, found, data)
            self.export(device.path, device)
        else:
            device.heard(data)


class Adapter(ServiceInterface):
    """org.bluez.Adapter1. Several clients may scan at once: the controller does while one of them wants it."""

    def __init__(self, bluez: BlueZ) -> None:
        super().__init__("org.bluez.Adapter1")
        self._bluez = bluez
        self._scans = 0
        self.discovering = False

    @dbus_method(name="StartDiscovery")
    async def start_discovery(self) -> None:
        """Begin to scan."""
        self._scans += 1
        if not self.discovering:
            self.discovering = True
            await self._bluez.scanner.start()
            self.emit_properties_changed({"Discovering": True})

    @dbus_method(name="StopDiscovery")
    async def stop_discovery(self) -> None:
        """End the scan when nobody else wants it."""
        self._scans -= 1
        if self._scans <= 0:
            await self.close()
            self.emit_properties_changed({"Discovering": False})

    async def close(self) -> None:
        """End every scan."""
        if self.discovering:
            self._scans, self.discovering = 0, False
            await self._bluez.scanner.stop()

    @dbus_method(name="SetDiscoveryFilter")
    def set_discovery_filter(self, properties: DBusDict) -> None:
        """Nothing is filtered: clients do it again themselves."""

    @dbus_method(name="RemoveDevice")
    def remove_device(self, device: DBusObjectPath) -> None:
        """Forget a device."""
        self._bluez.forget(device)

    @dbus_property(access=PropertyAccess.READ, name="Address")
    def address(self) -> DBusStr:
        """The adapter's own address."""
        return le_address(self._bluez.air.adapter.device.random_address)

    @dbus_property(access=PropertyAccess.READ, name="Name")
    def adapter_name(self) -> DBusStr:
        """Its name."""
        return "lintel"

    @dbus_property(access=PropertyAccess.READ, name="Alias")
    def alias(self) -> DBusStr:
        """The same."""
        return "lintel"

    @dbus_property(access=PropertyAccess.READ, name="Powered")
    def powered(self) -> DBusBool:
        """Always on."""
        return True

    @dbus_property(access=PropertyAccess.READ, name="Roles")
    def roles(self) -> Strings:
        """It can be the central of a connection."""
        return ["central"]

    @dbus_property(access=PropertyAccess.READ, name="Discovering")
    def is_discovering(self) -> DBusBool:
        """Whether it scans."""
        return self.discovering

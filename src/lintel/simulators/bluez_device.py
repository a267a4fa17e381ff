"""One remote device as BlueZ shows it: org.bluez.Device1, and once connected its GATT services and characteristics."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any, Final, Protocol, TypeVar

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError, BleakGATTProtocolError
from dbus_fast import DBusError, PropertyAccess, Variant
from dbus_fast.annotations import DBusBool, DBusBytes, DBusDict, DBusInt16, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from lintel.simulators.ble_air import Air

T = TypeVar("T")
ADAPTER: Final = "/org/bluez/hci0"
CONNECT_S: Final = 20.0
"""How long BlueZ tries to connect (s)."""
FAILED: Final = "org.bluez.Error.Failed"
_NOT_PAIRED: Final = (0x05, 0x0C, 0x0F)
"""ATT errors: authentication, encryption or a longer key is missing. Source: create_gatt_dbus_error in BlueZ."""

Strings = Annotated[list[str], DBusSignature("as")]
Manufacturers = Annotated[dict[int, Variant], DBusSignature("a{qv}")]


class Bus(Protocol):
    """Where objects are put, and the radio behind them."""

    air: Air

    def export(self, path: str, interface: ServiceInterface) -> None:
        """Put an object on the bus."""

    def unexport(self, path: str) -> None:
        """Take an object off the bus."""


async def _asked(asking: Coroutine[Any, Any, T]) -> T:
    """What BlueZ answers when an operation fails: an ATT error by its name or number, anything else as Failed."""
    try:
        return await asking
    except BleakGATTProtocolError as error:
        if error.code in _NOT_PAIRED:
            raise DBusError("org.bluez.Error.NotPermitted", "Not paired") from None
        raise DBusError(FAILED, f"Operation failed with ATT error: 0x{error.code:02x}") from None
    except (BleakError, TimeoutError, OSError) as error:
        raise DBusError(FAILED, str(error)[:100] or type(error).__name__) from None


class RemoteDevice(ServiceInterface):
    """org.bluez.Device1."""

    def __init__(self, bus: Bus, device: BLEDevice, data: AdvertisementData) -> None:
        super().__init__("org.bluez.Device1")
        self._bus, self._address, self._data = bus, device.address, data
        self.path = f"{ADAPTER}/dev_{device.address.replace(':', '_')}"
        self._client = BleakClient(
            device, disconnected_callback=lambda _: self._lost(), timeout=CONNECT_S, backend=bus.air.client_backend
        )
        self._resolved = False
        self._objects: list[str] = []
        self._turn = asyncio.Lock()

    def heard(self, data: AdvertisementData) -> None:
        """It was heard again: signal strength and data are told anew, as while discovery runs."""
        self._data = data
        changed: dict[str, object] = {"RSSI": data.rssi, "UUIDs": data.service_uuids}
        if found := _manufacturers(data):
            changed["ManufacturerData"] = found
        self.emit_properties_changed(changed)

    async def drop(self) -> None:
        """Break the connection, if any."""
        with contextlib.suppress(BleakError, TimeoutError):
            await self._client.disconnect()

    @dbus_method(name="Connect")
    async def connect(self) -> None:
        """Connect and discover the services; as in BlueZ it fails after a while where the device is away."""
        async with self._turn:
            if self._client.is_connected:
                return
            async with asyncio.timeout(CONNECT_S):
                await _asked(self._client.connect())
            for service in self._client.services:
                path = f"{self.path}/service{service.handle:04x}"
                self._show(path, GattService(service.uuid, self.path))
                for characteristic in service.characteristics:
                    at = f"{path}/char{characteristic.handle:04x}"
                    self._show(at, GattCharacteristic(self._client, characteristic, path))
            self._resolved = True
            self.emit_properties_changed({"Connected": True, "ServicesResolved": True})

    @dbus_method(name="Disconnect")
    async def disconnect(self) -> None:
        """Break the connection."""
        await self.drop()

    def _show(self, path: str, interface: ServiceInterface) -> None:
        self._bus.export(path, interface)
        self._objects.append(path)

    def _lost(self) -> None:
        self._resolved = False
        self.emit_properties_changed({"Connected": False, "ServicesResolved": False})
        for path in reversed(self._objects):
            self._bus.unexport(path)
        self._objects.clear()

    @dbus_property(access=PropertyAccess.READ, name="Address")
    def address(self) -> DBusStr:
        """Its Bluetooth address."""
        return self._address

    @dbus_property(access=PropertyAccess.READ, name="AddressType")
    def address_type(self) -> DBusStr:
        """Random, as most locks."""
        return "random"

    @dbus_property(access=PropertyAccess.READ, name="Alias")
    def alias(self) -> DBusStr:
        """Its name, or its address."""
        return self._data.local_name or self._address

    @dbus_property(access=PropertyAccess.READ, name="Name")
    def device_name(self) -> DBusStr:
        """Its name."""
        return self._data.local_name or self._address

    @dbus_property(access=PropertyAccess.READ, name="Adapter")
    def adapter(self) -> DBusObjectPath:
        """The adapter that sees it."""
        return ADAPTER

    @dbus_property(access=PropertyAccess.READ, name="Paired")
    def paired(self) -> DBusBool:
        """Never: these locks do not bond."""
        return False

    @dbus_property(access=PropertyAccess.READ, name="Connected")
    def connected(self) -> DBusBool:
        """Whether there is a link."""
        return self._client.is_connected

    @dbus_property(access=PropertyAccess.READ, name="ServicesResolved")
    def services_resolved(self) -> DBusBool:
        """Whether its services are known."""
        return self._resolved

    @dbus_property(access=PropertyAccess.READ, name="RSSI")
    def rssi(self) -> DBusInt16:
        """Signal strength of the newest advertisement (dBm)."""
        return self._data.rssi

    @dbus_property(access=PropertyAccess.READ, name="UUIDs")
    def uuids(self) -> Strings:
        """Services that it advertises."""
        return self._data.service_uuids

    @dbus_property(access=PropertyAccess.READ, name="ManufacturerData")
    def manufacturer_data(self) -> Manufacturers:
        """Manufacturer data that it advertises."""
        return _manufacturers(self._data)


class GattService(ServiceInterface):
    """org.bluez.GattService1."""

    def __init__(self, uuid: str, device: str) -> None:
        super().__init__("org.bluez.GattService1")
        self._uuid, self._device = uuid, device

    @dbus_property(access=PropertyAccess.READ, name="UUID")
    def uuid(self) -> DBusStr:
        """The service."""
        return self._uuid

    @dbus_property(access=PropertyAccess.READ, name="Primary")
    def primary(self) -> DBusBool:
        """Always."""
        return True

    @dbus_property(access=PropertyAccess.READ, name="Device")
    def device(self) -> DBusObjectPath:
        """Whose it is."""
        return self._device

    @dbus_property(access=PropertyAccess.READ, name="Includes")
    def includes(self) -> Annotated[list[str], DBusSignature("ao")]:
        """Nothing."""
        return []


class GattCharacteristic(ServiceInterface):
    """org.bluez.GattCharacteristic1."""

    def __init__(self, client: BleakClient, characteristic: BleakGATTCharacteristic, service: str) -> None:
        super().__init__("org.bluez.GattCharacteristic1")
        self._client, self._characteristic, self._service = client, characteristic, service
        self._value = b""
        self._notifying = False

    @dbus_method(name="ReadValue")
    async def read_value(self, options: DBusDict) -> DBusBytes:  # noqa: ARG002  of the interface
        """Read it."""
        self._value = bytes(await _asked(self._client.read_gatt_char(self._characteristic)))
        return self._value

    @dbus_method(name="WriteValue")
    async def write_value(self, value: DBusBytes, options: DBusDict) -> None:
        """Write it, with or without a response."""
        kind = options.get("type")
        response = kind is not None and kind.value == "request"
        await _asked(self._client.write_gatt_char(self._characteristic, value, response=response))

    @dbus_method(name="StartNotify")
    async def start_notify(self) -> None:
        """Subscribe: notifications, else indications."""
        await _asked(self._client.start_notify(self._characteristic, lambda _, value: self._changed(value)))
        self._notifying = True
        self.emit_properties_changed({"Notifying": True})

    @dbus_method(name="StopNotify")
    async def stop_notify(self) -> None:
        """End the subscription."""
        await _asked(self._client.stop_notify(self._characteristic))
        self._notifying = False
        self.emit_properties_changed({"Notifying": False})

    def _changed(self, value: bytearray) -> None:
        self._value = bytes(value)
        self.emit_properties_changed({"Value": self._value})

    @dbus_property(access=PropertyAccess.READ, name="UUID")
    def uuid(self) -> DBusStr:
        """The characteristic."""
        return self._characteristic.uuid

    @dbus_property(access=PropertyAccess.READ, name="Service")
    def service(self) -> DBusObjectPath:
        """Where it belongs."""
        return self._service

    @dbus_property(access=PropertyAccess.READ, name="Value")
    def value(self) -> DBusBytes:
        """What was read or notified last."""
        return self._value

    @dbus_property(access=PropertyAccess.READ, name="Notifying")
    def notifying(self) -> DBusBool:
        """Whether somebody subscribed."""
        return self._notifying

    @dbus_property(access=PropertyAccess.READ, name="Flags")
    def flags(self) -> Strings:
        """What can be done with it."""
        return list(self._characteristic.properties)

    @dbus_property(access=PropertyAccess.READ, name="MTU")
    def mtu(self) -> Annotated[int, DBusSignature("q")]:
        """The ATT MTU of the connection."""
        return self._client.mtu_size


def _manufacturers(data: AdvertisementData) -> dict[int, Variant]:
    return {maker: Variant("ay", value) for maker, value in data.manufacturer_data.items()}

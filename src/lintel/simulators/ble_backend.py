"""bleak's two backends over a bumble central: what is tested is bleak's own client on a whole host stack.

`BleakClient(device, backend=adapter.client_backend)`, `BleakScanner(backend=adapter.scanner_backend)`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args
from uuid import UUID

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att, hci
from bumble.core import AdvertisingData, BaseBumbleError
from bumble.device import Advertisement, Connection, Device, Peer

from lintel.simulators.ble_air import Air, AirController, le_address

if TYPE_CHECKING:
    from bumble.gatt_client import CharacteristicProxy

T = TypeVar("T")
_PROPERTIES: tuple[CharacteristicPropertyName, ...] = get_args(CharacteristicPropertyName)
_BITS: tuple[CharacteristicPropertyName, ...] = (
    "broadcast", "read", "write-without-response", "write", "notify", "indicate",
    "authenticated-signed-writes", "extended-properties",
)  # fmt: skip
MTU = 247


class Adapter:
    """One Bluetooth adapter: scans, holds up to `slots` links, makes one new link at a time as a real one does.

    `links` counts links that are up, `most` is the most there ever were at once, `dialled` the attempts per address.
    """

    def __init__(self, air: Air, address: str, slots: int) -> None:
        self.air = air
        self.slots = slots
        self.links = 0
        self.most = 0
        self.dialled: dict[str, int] = {}
        self.device: Device = air.device("adapter", address)
        self._controller: AirController = air.radios[le_address(address)]
        self._dialling = asyncio.Lock()
        self._scanners: set[Scanner] = set()
        self._known: dict[str, AdvertisementData] = {}
        self.device.on("advertisement", self._heard)
        self.client_backend = type("AirClient", (Client,), {"adapter": self})
        self.scanner_backend = type("AirScanner", (Scanner,), {"adapter": self})

    async def start(self) -> None:
        """Switch on."""
        await self.device.power_on()

    # Links.

    async def dial(self, address: str) -> Connection:
        """Wait for an advertisement and connect. Raises BleakError, TimeoutError; cancelled, leaves no link behind."""
        address = le_address(address)
        if self.links >= self.slots:
            raise BleakError("[org.bluez.Error.Failed] le-connection-abort-by-local: no available connection slot")
        self.dialled[address] = self.dialled.get(address, 0) + 1
        self.links += 1
        self.most = max(self.most, self.links)
        try:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._controller.wanted.setdefault(address, []).append(heard)
            await heard
            work = asyncio.create_task(self._connect(address))
            try:
                connection = await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(_hang_up)
                raise
        except BaseException:
            self.links -= 1
            raise
        connection.on("disconnection", self._hung_up)
        return connection

    async def _connect(self, address: str) -> Connection:
        async with self._dialling:
            try:
                return await self.device.connect(hci.Address(address), timeout=1.5)
            except BaseBumbleError as error:
                raise BleakError(f"[org.bluez.Error.Failed] le-connection-abort-by-local: {error}") from error

    def _hung_up(self, _reason: int) -> None:
        self.links -= 1

    # Scans.

    async def listen(self, scanner: "Scanner") -> None:
        """Hand advertisements to this scanner."""
        self._scanners.add(scanner)
        if len(self._scanners) == 1:
            await self.device.start_scanning()

    async def deafen(self, scanner: "Scanner") -> None:
        """No more."""
        if scanner in self._scanners:
            self._scanners.discard(scanner)
            if not self._scanners:
                await self.device.stop_scanning()

    def _heard(self, advertisement: Advertisement) -> None:
        address = le_address(advertisement.address)
        data = _understand(advertisement, self._known.get(address))
        self._known[address] = data
        for scanner in list(self._scanners):
            scanner.heard(address, data)


def _hang_up(work: "asyncio.Task[Connection]") -> None:
    if not work.cancelled() and work.exception() is None:
        task = asyncio.ensure_future(work.result().disconnect())
        _LEFT.add(task)
        task.add_done_callback(_LEFT.discard)


_LEFT: set["asyncio.Future[None]"] = set()


def _understand(advertisement: Advertisement, before: AdvertisementData | None) -> AdvertisementData:
    # As BlueZ does, what is not in this advertisement stays as it was last told.
    name, makers = (before.local_name, dict(before.manufacturer_data)) if before else (None, {})
    uuids, services = (list(before.service_uuids), dict(before.service_data)) if before else ([], {})
    for kind, value in advertisement.data.ad_structures:
        size = {2: 2, 3: 2, 4: 4, 5: 4, 6: 16, 7: 16}.get(kind)
        if kind in (AdvertisingData.COMPLETE_LOCAL_NAME, AdvertisingData.SHORTENED_LOCAL_NAME):
            name = value.decode("utf-8", "replace")
        elif kind == AdvertisingData.MANUFACTURER_SPECIFIC_DATA:
            makers[int.from_bytes(value[:2], "little")] = bytes(value[2:])
        elif kind == AdvertisingData.SERVICE_DATA_16_BIT_UUID:
            services[_uuid(value[:2])] = bytes(value[2:])
        elif size:
            found = [_uuid(value[i : i + size]) for i in range(0, len(value), size)]
            uuids += [u for u in found if u not in uuids]
    return AdvertisementData(name, makers, services, uuids, None, advertisement.rssi, ())


def _uuid(little: bytes) -> str:
    if len(little) == 16:
        return str(UUID(bytes=little[::-1]))
    return f"{int.from_bytes(little, 'little'):08x}-0000-1000-8000-00805f9b34fb"


class Scanner(BaseBleakScanner):
    """bleak's scanner backend."""

    adapter: ClassVar[Adapter]

    def __init__(
        self,
        detection_callback: Callable[[BLEDevice, AdvertisementData], Any] | None,
        service_uuids: list[str] | None,
        scanning_mode: str = "active",
        **_more: Any,  # noqa: ANN401  options of other platforms
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self.mode = scanning_mode

    async def start(self) -> None:
        """Scan."""
        self.seen_devices = {}
        await self.adapter.listen(self)

    async def stop(self) -> None:
        """Stop."""
        await self.adapter.deafen(self)

    def heard(self, address: str, data: AdvertisementData) -> None:
        """One advertisement."""
        if self.is_allowed_uuid(data.service_uuids):
            device = self.create_or_update_device(address, address, data.local_name, {}, data)
            self.call_detection_callbacks(device, data)


class Client(BaseBleakClient):
    """bleak's client backend. A link that is lost ends what was under way with BleakError, as BlueZ does."""

    adapter: ClassVar[Adapter]

    def __init__(self, address_or_ble_device: BLEDevice | str, **kwargs: Any) -> None:  # noqa: ANN401  see bleak
        known = {k: kwargs[k] for k in ("disconnected_callback", "timeout")}
        super().__init__(address_or_ble_device, **known)
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._gone = asyncio.Event()

    @property
    def name(self) -> str:
        """The address: the name is the scanner's to tell."""
        return self.address

    @property
    def mtu_size(self) -> int:
        """Negotiated ATT MTU."""
        return 23 if self._connection is None else self._connection.att_mtu

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:  # noqa: ANN401, ARG002, FBT001  see bleak
        """Connect, agree on the MTU, read the services. Raises BleakError, TimeoutError."""
        if self._connection is not None:
            raise BleakError("Client is already connected")
        async with asyncio.timeout(kwargs.get("timeout", self._timeout)):
            connection = await self.adapter.dial(self.address)
            self._connection, self._gone = connection, asyncio.Event()
            self._peer = Peer(connection)
            connection.on("disconnection", self._lost)
            try:
                await self._while_up(self._discover(self._peer))
            except BaseException:
                await self.disconnect()
                raise

    async def _discover(self, peer: Peer) -> None:
        await peer.request_mtu(MTU)
        found = BleakGATTServiceCollection()
        for service in await peer.discover_services():
            ours = BleakGATTService(service, service.handle, _uuid(service.uuid.uuid_bytes))
            found.add_service(ours)
            for one in await service.discover_characteristics():
                names = [name for bit, name in enumerate(_BITS) if one.properties >> bit & 1]
                uuid = _uuid(one.uuid.uuid_bytes)
                char = BleakGATTCharacteristic(one, one.handle, uuid, names, lambda: self.mtu_size - 3, ours)
                found.add_characteristic(char)
                for line in await one.discover_descriptors():
                    found.add_descriptor(BleakGATTDescriptor(line, line.handle, _uuid(line.type.uuid_bytes), char))
        self.services = found

    def _lost(self, _reason: int) -> None:
        self._connection = self._peer = self.services = None
        self._gone.set()
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _while_up(self, work: Coroutine[Any, Any, T]) -> T:
        if self._connection is None:
            work.close()
            raise BleakError("Not connected")
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done() or task.cancelled():  # bumble cancels what waits for an answer
                raise BleakError("[org.bluez.Error.Failed] Not connected: the link was lost")
            return task.result()
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error
        except BaseBumbleError as error:
            raise BleakError(str(error)) from error
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def disconnect(self) -> None:
        """Disconnect; returns when the link is down."""
        connection, gone = self._connection, self._gone
        if connection is not None:
            work = asyncio.ensure_future(connection.disconnect())
            await gone.wait()
            await asyncio.gather(work, return_exceptions=True)

    async def pair(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  see bleak
        """Not needed by any lock here."""
        raise NotImplementedError

    async def unpair(self) -> None:
        """Not needed by any lock here."""
        raise NotImplementedError

    async def read_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        *,
        use_cached: bool = False,  # noqa: ARG002  see bleak
        **_more: Any,  # noqa: ANN401
    ) -> bytearray:
        """Read."""
        return bytearray(await self._while_up(characteristic.obj.read_value()))

    async def read_gatt_descriptor(
        self,
        descriptor: BleakGATTDescriptor,
        *,
        use_cached: bool = False,  # noqa: ARG002  see bleak
        **_more: Any,  # noqa: ANN401
    ) -> bytearray:
        """Read."""
        return bytearray(await self._while_up(descriptor.obj.read_value()))

    async def write_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        data: SizedBuffer,
        response: bool,  # noqa: FBT001
    ) -> None:
        """Write; with response it returns when the peripheral has answered."""
        proxy: CharacteristicProxy[bytes] = characteristic.obj
        await self._while_up(proxy.write_value(bytes(data), with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write."""
        await self._while_up(descriptor.obj.write_value(bytes(data), with_response=True))

    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **_more: Any,  # noqa: ANN401  see bleak
    ) -> None:
        """Subscribe to notifications, else to indications."""
        await self._while_up(characteristic.obj.subscribe(lambda value: callback(bytearray(value))))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        await self._while_up(characteristic.obj.unsubscribe())

"""Where the Bluetooth line gets its scanner and its connections: unmodified bleak on BlueZ, or a backend handed in.

bleak is an optional package (`lintel[ble]`): it is imported when a line runs, not before.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from lintel.edge.errors import Lost

if TYPE_CHECKING:
    from bleak import BleakClient
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
    from dbus_fast.aio import MessageBus

LOOK_S: Final = 2.0
"""How often the adapter is looked at (s)."""
DEAF_LOOKS: Final = 5
"""Looks in a row that find it not scanning, after which the line is lost: somebody stopped it."""

_ADAPTER: Final = "org.bluez.Adapter1"
_BUS: Final = "org.freedesktop.DBus"
_OWNER: Final = f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='org.bluez'"


def installed() -> bool:
    """Whether the optional packages are there."""
    return all(find_spec(name) for name in ("bleak", "bleak_retry_connector"))


@dataclass(frozen=True, slots=True)
class Radio:
    """One adapter. `client`, `scanner`: bleak backends in place of BlueZ; `watch` then ends when the radio is gone."""

    adapter: str = ""
    client: "type[BaseBleakClient] | None" = None
    scanner: "type[BaseBleakScanner] | None" = None
    watch: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)

    @contextlib.asynccontextmanager
    async def scanning(self, heard: "Callable[[BLEDevice, AdvertisementData], None]") -> AsyncIterator[str]:
        """Listen to advertisements while entered; yields the adapter's name. Raises Lost when the radio is not there.

        Every advertisement is wanted, also one that says the same as before: it is how a lock tells that it is back.
        """
        from bleak import BleakScanner  # noqa: PLC0415  optional
        from bleak.exc import BleakError  # noqa: PLC0415

        try:
            name = await self._name()
            bluez: Any = {"filters": {"DuplicateData": True}, **({"adapter": name} if name else {})}
            scanner = BleakScanner(heard, bluez=bluez, backend=self.scanner)
            await scanner.start()
        except (BleakError, OSError, EOFError, TimeoutError) as error:
            raise Lost(f"Bluetooth {self.adapter or 'adapter'}: {error or type(error).__name__}") from None
        try:
            yield name
        finally:
            with contextlib.suppress(BleakError, OSError, EOFError, TimeoutError):
                async with asyncio.timeout(5.0):
                    await scanner.stop()

    async def _name(self) -> str:
        if self.adapter or self.scanner is not None:
            return self.adapter
        from bleak.backends.bluezdbus.manager import get_global_bluez_manager  # noqa: PLC0415

        return (await get_global_bluez_manager()).get_default_adapter().rpartition("/")[2]

    async def connect(self, device: "BLEDevice", name: str, gone: Callable[[], None], within: float) -> "BleakClient":
        """A connected client whose services are known. `gone` is called when it ends, whoever ended it.

        Raises bleak's errors, OSError, EOFError or TimeoutError. One attempt: the caller counts.
        """
        from bleak_retry_connector import BleakClientWithServiceCache, establish_connection  # noqa: PLC0415

        async with asyncio.timeout(within):
            return await establish_connection(
                BleakClientWithServiceCache,
                device,
                name,
                lambda _: gone(),
                max_attempts=1,
                backend=self.client,
            )

    async def stay(self, name: str) -> None:
        """Wait until the adapter is gone, switched off or no longer scanning, or BlueZ ended; then raise Lost.

        Never returns. That BlueZ ends, also to begin anew at once, is told by the bus: nothing of before is there then.
        """
        if self.watch is not None:
            await self.watch()
            raise Lost("the radio is gone")
        await _stay(name)


async def _stay(name: str) -> None:
    from dbus_fast import BusType, Message  # noqa: PLC0415  comes with bleak
    from dbus_fast.aio import MessageBus  # noqa: PLC0415
    from dbus_fast.errors import DBusFastError  # noqa: PLC0415

    bus: MessageBus | None = None
    deaf, changed = 0, asyncio.Event()
    ended: asyncio.Future[None] | None = None

    def heard(message: Message) -> None:
        if (message.sender, message.member) == (_BUS, "NameOwnerChanged") and message.body[:1] == ["org.bluez"]:
            changed.set()

    try:
        bus = MessageBus(bus_type=BusType.SYSTEM)  # reads the address
        await bus.connect()
        ended = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        ended.add_done_callback(lambda _: changed.set())
        bus.add_message_handler(heard)
        await _ask(bus, name, (_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch"), _OWNER)
        while True:
            deaf = 0 if await _scans(bus, name) else deaf + 1
            if deaf >= DEAF_LOOKS:
                raise Lost(f"Bluetooth {name}: it does not scan any more")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()
                raise Lost(f"Bluetooth {name}: BlueZ or the message bus ended, or began anew")
    except (OSError, EOFError, TimeoutError, DBusFastError) as error:
        raise Lost(f"Bluetooth {name}: {error or type(error).__name__}") from None
    finally:
        if bus is not None:
            bus.disconnect()
        if ended is not None:
            await asyncio.gather(ended, return_exceptions=True)


async def _ask(bus: "MessageBus", name: str, what: tuple[str, str, str, str], text: str) -> list[Any]:
    """The answer to a method (destination, path, interface, member) with one string. Raises Lost on an error."""
    from dbus_fast import Message, MessageType  # noqa: PLC0415

    destination, path, interface, member = what
    message = Message(destination, path, interface, member, signature="s", body=[text])
    reply = await asyncio.wait_for(bus.call(message), 10.0)
    if reply is None or reply.message_type is MessageType.ERROR:
        raise Lost(f"Bluetooth {name}: {reply.error_name if reply else 'no answer'}")
    return list(reply.body)


async def _scans(bus: "MessageBus", name: str) -> bool:
    """Whether the adapter scans. Raises Lost where it is gone or off."""
    get_all = ("org.bluez", f"/org/bluez/{name}", "org.freedesktop.DBus.Properties", "GetAll")
    says = {key: value.value for key, value in (await _ask(bus, name, get_all, _ADAPTER))[0].items()}
    if not says.get("Powered"):
        raise Lost(f"Bluetooth {name}: switched off")
    return bool(says.get("Discovering"))

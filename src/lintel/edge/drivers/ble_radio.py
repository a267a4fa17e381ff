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

LOOK_S: Final = 2.0
"""How often the adapter is looked at (s)."""
DEAF_LOOKS: Final = 5
"""Looks in a row that find it not scanning, after which the line is lost: somebody stopped it, or BlueZ restarted."""

_ADAPTER: Final = "org.bluez.Adapter1"


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
        """Wait until the adapter is gone, switched off or no longer scanning; then raise Lost. Never returns."""
        if self.watch is not None:
            await self.watch()
            raise Lost("the radio is gone")
        await _stay(name)


async def _stay(name: str) -> None:
    from dbus_fast import BusType, Message, MessageType  # noqa: PLC0415  comes with bleak
    from dbus_fast.aio import MessageBus  # noqa: PLC0415

    bus, deaf = MessageBus(bus_type=BusType.SYSTEM), 0
    ask = ("org.bluez", f"/org/bluez/{name}", "org.freedesktop.DBus.Properties", "GetAll", "s", [_ADAPTER])
    try:
        await bus.connect()
        while True:
            await asyncio.sleep(LOOK_S)
            destination, path, interface, member, signature, body = ask
            message = Message(destination, path, interface, member, signature=signature, body=body)
            reply = await asyncio.wait_for(bus.call(message), 10.0)
            if reply is None or reply.message_type is MessageType.ERROR:
                raise Lost(f"Bluetooth {name}: {reply.error_name if reply else 'no answer'}")
            says = {key: value.value for key, value in reply.body[0].items()}
            if not says.get("Powered"):
                raise Lost(f"Bluetooth {name}: switched off")
            deaf = 0 if says.get("Discovering") else deaf + 1
            if deaf >= DEAF_LOOKS:
                raise Lost(f"Bluetooth {name}: it does not scan any more")
    except (OSError, EOFError, TimeoutError) as error:
        raise Lost(f"Bluetooth {name}: {error or type(error).__name__}") from None
    finally:
        bus.disconnect()

"""One connection with one lock: writes go out, what arrives is kept for whoever waits for it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Self, TypeVar

from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.errors import BadFrame, LintelError, Refused

if TYPE_CHECKING:
    from bleak import BleakClient
    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.device import BLEDevice

T = TypeVar("T")

WRITE_S: Final = 5.0
"""A write that the far end does not answer for so long has failed (s)."""
HANG_UP_S: Final = 5.0
_KEPT: Final = 64
"""Messages kept for whoever waits; a lock that says more is cut off."""


class Gone(LintelError):
    """The connection with one lock ended or did not come about. The lock's own session deals with it."""


class Denied(Gone):
    """The lock answered a write with an error of its own; the connection may still be there."""


_NOT_PAIRED: Final = "org.bluez.Error.NotPermitted"
"""What BlueZ makes of the ATT errors for a missing authentication or encryption; bleak leaves it as it is."""


class Link:
    """An open connection. `over` is set when it has ended, `why` then says why; every call raises that from then on."""

    def __init__(self, on_over: Callable[[], None]) -> None:
        self.over = False
        self.why: LintelError = Gone("the connection ended")
        self._on_over = on_over
        self._client: BleakClient | None = None
        self._kept: deque[object] = deque()
        self._wake = asyncio.Event()

    @classmethod
    async def open(
        cls, radio: Radio, device: "BLEDevice", name: str, within: float, on_over: Callable[[], None]
    ) -> Self:
        """A connection; one attempt. Raises Gone."""
        from bleak.exc import BleakError  # noqa: PLC0415  optional

        link = cls(on_over)
        try:
            link._client = await radio.connect(device, name, link._ended, within)
        except (BleakError, OSError, EOFError, TimeoutError) as error:
            raise Gone(_short(error) or "no connection") from None
        return link

    def _ended(self) -> None:
        self.end(Gone("the lock or the radio ended the connection"))

    def end(self, why: LintelError) -> None:
        """It is over: for whoever waits, and for all that comes. `close` then hangs up."""
        if not self.over:
            self.over, self.why = True, why
            self._wake.set()
            self._on_over()

    async def close(self) -> None:
        """Hang up. Nothing is left behind; also when it is cancelled meanwhile."""
        self.end(Gone("hung up"))
        if self._client is not None:
            client, self._client = self._client, None
            await asyncio.shield(asyncio.ensure_future(_hang_up(client)))

    async def read(self, uuid: str) -> bytes:
        """The value of a characteristic. Raises Gone."""
        with self._no_bleak():
            async with asyncio.timeout(WRITE_S):
                return bytes(await self._live().read_gatt_char(uuid))

    async def subscribe(self, uuid: str, hear: Callable[[bytes], object]) -> None:
        """Have `hear` called with each notification or indication; what it returns, if anything, is kept for `take`.

        BadFrame or Refused raised by it end the connection with that reason.
        """

        def heard(_: "BleakGATTCharacteristic", data: bytearray) -> None:
            if self.over:
                return
            try:
                said = hear(bytes(data))
            except (BadFrame, Refused) as error:
                self.end(error)
                return
            if said is not None:
                self._kept.append(said)
                self._wake.set()
                if len(self._kept) > _KEPT:
                    self.end(BadFrame("the lock talks too much"))

        with self._no_bleak():
            async with asyncio.timeout(WRITE_S):
                await self._live().start_notify(uuid, heard)

    def room(self, uuid: str) -> int:
        """Bytes that one write to a characteristic takes: from the MTU, 20 to 244."""
        found = self._live().services.get_characteristic(uuid)
        if found is None:
            raise Gone("it has not the characteristics of its profile")
        return max(20, min(244, found.max_write_without_response_size))

    async def write(self, uuid: str, data: bytes) -> None:
        """Write with response. Raises why the connection is over, or Gone: the bytes may have arrived all the same."""
        with self._no_bleak():
            async with asyncio.timeout(WRITE_S):
                await self._live().write_gatt_char(uuid, data, response=True)
        if self.over:
            raise self.why

    async def take(self, wanted: Callable[[object], T | None], within: float) -> T:
        """What `wanted` makes of the first kept message that it takes; the others are dropped.

        Raises why the connection is over, or Gone after `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    while self._kept:
                        found = wanted(self._kept.popleft())
                        if found is not None:
                            return found
                    if self.over:
                        raise self.why
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            raise Gone("the lock does not answer") from None

    def forget(self) -> None:
        """Drop what is kept: before a question, so that no older answer is taken for its own."""
        self._kept.clear()

    def _live(self) -> "BleakClient":
        if self.over or self._client is None:
            raise self.why
        return self._client

    @contextlib.contextmanager
    def _no_bleak(self) -> Iterator[None]:
        from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError  # noqa: PLC0415  optional

        try:
            yield
        except (BleakGATTProtocolError, BleakDBusError) as error:
            said = isinstance(error, BleakGATTProtocolError) or error.dbus_error == _NOT_PAIRED
            raise (self.why if self.over else (Denied if said else Gone)(_short(error))) from None
        except (BleakError, OSError, EOFError, TimeoutError) as error:
            raise (self.why if self.over else Gone(_short(error) or "a write was not answered")) from None


async def _hang_up(client: "BleakClient") -> None:
    """Whatever the radio says to it: the connection is no longer ours."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(HANG_UP_S):
            await client.disconnect()


def _short(error: BaseException) -> str:
    """The first line of what bleak says: D-Bus names help an installer, a page of advice does not."""
    return str(error).partition("\n")[0][:120]

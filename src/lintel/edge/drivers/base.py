"""The contract of a driver: it states facts and executes orders. It never decides, retries or reconnects.

A *line* is one connection (a serial port, a broker); one driver runs one line with one or more devices on it.
Entering and leaving `run` is the connection state: the supervisor does everything about coming back.
A driver whose devices keep lists of persons is a `persons.KeepsPersons` as well.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lintel.edge import passes
from lintel.edge.clock import Clock
from lintel.edge.digests import Digester
from lintel.edge.errors import StoreError
from lintel.edge.line_tables import DRIVERS
from lintel.edge.model import (
    Contact,
    Direction,
    DoorState,
    Fact,
    Measure,
    Method,
    Order,
    Outcome,
    Reading,
    Reason,
)
from lintel.edge.profiles import Profile

__all__ = [
    "DRIVERS",
    "Build",
    "Code",
    "Context",
    "Device",
    "Driver",
    "Inlet",
    "Keys",
    "Line",
    "NoKeys",
    "Receipt",
    "qr_code",
]

Receipt = asyncio.Future[None]
"""Done when the reading is committed: acknowledge the device then, and only then.

Fails with StoreError when it could not be stored: do not acknowledge, the device will send it again.
"""


class Inlet(Protocol):
    """What a driver may say to the rest of the gateway."""

    async def present(self, reading: Reading) -> Receipt:
        """Hand over a presentation. Waits while the door's queue is full: waiting is the back-pressure."""
        ...

    def offer(self, reading: Reading) -> Receipt | None:
        """Hand over a presentation at once; None while the door's queue is full, where only `present` can wait."""
        ...

    def report(self, fact: Fact) -> None:
        """State something about a device or the line (online, mismatch, flood, ...)."""
        ...

    def door(self, state: DoorState) -> None:
        """State what a door position switch says."""
        ...

    def contact(self, contact: Contact) -> None:
        """State what an input says. Exit and fire are acted on at once, past every queue, with no look at the store."""
        ...

    def measure(self, device: str, what: Measure, value: float) -> None:
        """State a device's battery, signal or supply: for health only, journaled nowhere."""
        ...

    def up(self) -> None:
        """The line is open and subscribed or configured: call once per `run`, when readings can arrive."""
        ...


class Driver(Protocol):
    """One line. `run` until it breaks, then raise `Lost` or `Refused`; cancelled, leave nothing behind."""

    async def run(self, inlet: Inlet) -> None:
        """Open the line and state facts until it breaks. Never returns normally."""
        ...

    async def execute(self, order: Order) -> Outcome:
        """Carry out an order before its deadline, or say why not. Never repeats it."""
        ...


@dataclass(frozen=True, slots=True)
class Device:
    """One configured device on a line: who it is, which door its reader stands at, which profile it speaks.

    `address` is its name on the line: the MQTT device id or serial number; "" where the line has one device.
    `door` is `EVERY_DOOR` for a fire input of the whole site. `open_s`: how long a door that it unlocks
    stays open (s).
    """

    id: str
    address: str
    door: str
    direction: Direction
    profile: Profile
    open_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """One configured line. `options` are the keys that the driver itself checks (path, host, port, TLS files, ...)."""

    id: str
    driver: str
    options: Mapping[str, str | int | float | bool]


class Keys(Protocol):
    """The keys that were agreed with devices, sealed in the store. One secret for each device and name."""

    def get(self, device: str, name: str) -> bytes | None:
        """The secret, or None."""
        ...

    async def put(self, device: str, secrets: Mapping[str, bytes | None]) -> None:
        """Keep secrets of a device, or forget those that are None, in one commit; durable when this returns.

        Raises StoreError: then nothing was changed, and no key may be sent to the device.
        """
        ...


class NoKeys:
    """The keys of a gateway without a store, as for `lintel check`."""

    def get(self, device: str, name: str) -> bytes | None:  # noqa: ARG002  see Keys
        """None."""
        return None

    async def put(self, device: str, secrets: Mapping[str, bytes | None]) -> None:  # noqa: ARG002  see Keys
        """Refuse."""
        raise StoreError("storage_read_only", "there is no store to keep a device's key in")


@dataclass(frozen=True, slots=True)
class Context:
    """What every driver gets besides its line: time, digests, ids and its passwords. Secrets stay out of `repr`.

    `released(device)`: whether fire has released the door of this lock. A driver that sets a lock's state when it opens
    its line leaves such a one unlocked, as after the order to hold it.
    """

    clock: Clock
    digest: Digester = field(repr=False)
    new_id: Callable[[], str]
    timezone: str = "UTC"
    gateway: str = "lintel"
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    keys: Keys = field(default_factory=NoKeys, repr=False)
    released: Callable[[str], bool] = field(default=lambda _: False, repr=False)


@dataclass(frozen=True, slots=True)
class Code:
    """A QR code as a `Reading` carries it: method, digest, token, or the fault and an escaped detail of 64 bytes."""

    method: Method
    digest: bytes
    token: str = field(default="", repr=False)
    fault: Reason | None = None
    detail: str = ""


def qr_code(digest: Digester, text: str) -> Code:
    """What a reader or terminal saw, told apart by its first characters: a signed visitor pass, or an opaque code."""
    method = Method.PASS if text.startswith((passes.STATIC, passes.ROTATING)) else Method.QR
    try:
        return Code(method, digest(method, text), text if method is Method.PASS else "")
    except ValueError:
        detail = ascii(text)[1:-1][:64]
        return Code(method, b"", fault=Reason.BAD_FORMAT, detail=detail)


Build = Callable[[Line, Sequence[Device], Context], Driver]
"""The signature of each driver module's `build`; raises ConfigError when an option or profile does not fit."""

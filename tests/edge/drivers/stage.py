"""What the contract suite stands on: a rig's shape, an inlet that keeps what it is told, a driver kept running."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from lintel.edge.clock import Clock, always_synced
from lintel.edge.digests import Digester
from lintel.edge.drivers.base import Context, Driver, Receipt
from lintel.edge.errors import Lost
from lintel.edge.model import Contact, DoorState, Fact, Measure, Method, Order, Reading

DIGEST = Digester(b"k" * 32)
SECRET = "CANARY-7431-CREDENTIAL"


class Rig(Protocol):
    """One device on one line. `device` and `door` are the ids it is configured with."""

    device: str
    door: str
    order: Order | None
    """An order the device carries out, or None where it can do nothing; its deadline is set by the suite."""

    def build(self) -> Driver:
        """A fresh driver for this device."""
        ...

    async def ordered(self) -> int:
        """How many orders have reached the device so far."""
        ...

    async def unplug(self) -> None:
        """Break the line."""
        ...

    async def plug(self) -> None:
        """Mend it: same name, same device."""
        ...


class ReaderRig(Rig, Protocol):
    """The same for a device that states readings."""

    method: Method
    """What kind of credential it shows."""

    def frame(self, text: str) -> bytes:
        """What the device sends when the credential `text` is presented. Each call may have a new record id."""
        ...

    async def write(self, data: bytes) -> None:
        """The device sends these bytes: on a stream as they are, on a broker as one message."""
        ...

    async def trickle(self, data: bytes) -> None:
        """The same bytes in the smallest pieces that the wire allows."""
        ...

    async def flood(self, seconds: float) -> int:
        """Send good frames, all different, as fast as the wire takes them; returns how many."""
        ...


class Recorder:
    """An inlet that keeps what it is told. With `gate` cleared it takes nothing: back-pressure."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.facts: list[Fact] = []
        self.doors: list[DoorState] = []
        self.contacts: list[Contact] = []
        self.measures: dict[tuple[str, Measure], float] = {}
        self.ups = 0
        self.receipt_error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def present(self, reading: Reading) -> Receipt:
        await self.gate.wait()
        self.readings.append(reading)
        receipt: Receipt = asyncio.get_running_loop().create_future()
        if self.receipt_error is None:
            receipt.set_result(None)
        else:
            receipt.set_exception(self.receipt_error)
        return receipt

    def offer(self, reading: Reading) -> Receipt | None:
        return None  # every reading takes the way that can wait

    def report(self, fact: Fact) -> None:
        self.facts.append(fact)

    def door(self, state: DoorState) -> None:
        self.doors.append(state)

    def contact(self, contact: Contact) -> None:
        self.contacts.append(contact)

    def measure(self, device: str, what: Measure, value: float) -> None:
        self.measures[device, what] = value

    def up(self) -> None:
        self.ups += 1

    def digests(self) -> list[bytes]:
        return [r.digest for r in self.readings if r.fault is None]


async def until(what: Callable[[], object], seconds: float = 2.0) -> None:
    """Wait until `what()` is true; a failure after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def context() -> Context:
    """A context with a real clock and ids that count."""
    numbers = iter(range(10**9))
    return Context(Clock(synced=always_synced), DIGEST, lambda: f"id{next(numbers)}")


@asynccontextmanager
async def running(driver: Driver, inlet: Recorder, ups: int = 1):
    """The driver under the simplest supervisor: run, and again 0.1 s after Lost. Entered when the line is up."""

    async def keep() -> None:
        while True:
            with suppress(Lost):
                await driver.run(inlet)
                raise AssertionError("run returned")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(keep())
    try:
        await until(lambda: inlet.ups >= ups or task.done(), 5.0)
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

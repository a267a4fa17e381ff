"""A real driver under the real keeper before a real gate and store, in this process and real time; the lock a ledger.

What a device says on the wire, and the reason word that stands in the journal for it.
"""

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from functools import partial

from lintel.edge.daemon import Inlet
from lintel.edge.drivers.base import Context
from lintel.edge.ids import new_id
from lintel.edge.model import Stream
from lintel.edge.supervisor import Keeper, State
from tests.edge.drivers.contract import until
from tests.edge.rig import Rig

LIMIT = 30.0
"""Seconds that anything may take on a busy machine: paid only for what does not happen."""


class Now:
    """Real time in the shape of the rig's time."""

    def __init__(self, shift=0.0):
        self.shift = shift

    @property
    def wall(self):
        return time.time() + self.shift

    @property
    def mono(self):
        return time.monotonic()


def gate(path, shift=0.0, **options):
    """A gate in real time, its wall clock shifted by so many seconds; `async with gate(path) as rig`."""
    return Rig(path, time=Now(shift), **options)


def context(rig, **passwords):
    return Context(rig.clock, rig.digest, new_id, "UTC", "gw1", passwords)


@asynccontextmanager
async def at_work(rig, driver, limit=0.5, name="line"):
    """The driver under the keeper, speaking into the gate; entered when the line is up. Gives the keeper."""
    keeper = Keeper(name, rig.gate.ledger.report, limit)
    task = asyncio.create_task(keeper.keep(partial(driver.run, Inlet(rig.gate, keeper))))
    try:
        await until(lambda: keeper.state is State.UP, LIMIT)
        yield keeper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def decided(rig, count, seconds=LIMIT):
    """Wait until so many decisions are in the journal; all of them, oldest first."""
    end = time.monotonic() + seconds
    while True:
        await rig.flush()
        found = rig.decisions()
        if len(found) >= count:
            return found
        assert time.monotonic() < end, f"{len(found)} of {count} decisions"
        await asyncio.sleep(0.01)


async def told(rig, notice, seconds=LIMIT):
    """Wait until a notice is in the journal; all rows of it."""
    end = time.monotonic() + seconds
    while True:
        await rig.flush()
        found = [e for s in (Stream.ALARM, Stream.TELEMETRY) for e in rig.events(s) if e.reason == notice]
        if found:
            return found
        assert time.monotonic() < end, f"{notice} was not told"
        await asyncio.sleep(0.01)

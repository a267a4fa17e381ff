"""What every driver must do, whatever its wire: subclass a contract and give it a rig for that wire.

A rig is one device on one line in software, with real sockets, brokers or ptys. The suite speaks to it in the device's
own bytes; what it checks are the driver's promises of `lintel.edge.drivers.base`. `DriverContract` holds what a driver
of any device promises, seen in the orders that the device carries out; `ReaderContract` that and the rest for a device
that states readings.
"""

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace

import pytest

from lintel.edge.drivers.base import Driver
from lintel.edge.errors import Lost
from lintel.edge.model import Action, Order, Outcome

from .stage import DIGEST, SECRET, ReaderRig, Recorder, Rig, context, open_files, running, until

__all__ = [
    "DIGEST", "SECRET", "DriverContract", "ReaderContract", "ReaderRig", "Recorder", "Rig", "context", "open_files",
    "running", "until",
]  # fmt: skip


class DriverContract:
    """The promises of every driver. A subclass gives `rig`."""

    back_s = 2.0
    """How long after the line is mended the driver may take to be up again (s)."""

    order_s = 2.0
    """How long an order is good for (s)."""

    idle_cpu_s = 0.2
    """What a second of silence may cost of the processor, with all that the rig itself does (s)."""

    async def settled(self, driver: Driver) -> None:
        """Wait until the device itself can be told something, where that is later than the line's `up`."""

    def rig(self) -> AbstractAsyncContextManager[Rig]:
        """A device that is plugged in."""
        raise AssertionError("the subclass gives a rig")

    def order(self, rig: Rig, name: str = "o1") -> Order:
        """An order that the device carries out, good from now on."""
        assert rig.order is not None, "a device that does nothing needs another sign that it works"
        return replace(rig.order, id=name, deadline=time.monotonic() + self.order_s)

    async def works(self, rig: Rig, driver: Driver, inlet: Recorder, name: str) -> None:
        """See that line, driver and device work together; `name` is another one each time."""
        await self.settled(driver)
        before = await rig.ordered()
        assert await driver.execute(self.order(rig, name)) is Outcome.EXECUTED
        assert await rig.ordered() == before + 1

    async def begin(self, rig: Rig, driver: Driver, name: str) -> Awaitable[object]:
        """Begin what `works` does; what is returned ends by itself, also when the driver is cancelled meanwhile."""
        await self.settled(driver)
        under_way = asyncio.create_task(driver.execute(self.order(rig, name)))
        await asyncio.sleep(0)
        return under_way

    async def rest(self, rig: Rig) -> None:
        """Wait until the rig itself has nothing under way any more, after the driver has ended."""
        await asyncio.sleep(0.1)

    def held(self, rig: Rig, inlet: Recorder, names: Sequence[str]) -> None:
        """What the inlet was told while these worked: nothing else, and each of them."""

    def run(self, scene: Callable[[Rig, Driver, Recorder], Awaitable[None]]) -> None:
        """One scene with a rig, a driver and a recorder, in an event loop of its own."""

        async def stage() -> None:
            async with self.rig() as rig:
                await scene(rig, rig.build(), Recorder())

        asyncio.run(stage())

    def test_orders_in(self):
        async def scene(rig, driver, inlet):
            if rig.order is None:
                order = Order("o1", rig.door, rig.device, Action.SHOW, time.monotonic() + 2)
                async with running(driver, inlet):
                    assert await driver.execute(order) is Outcome.REFUSED_BY_DEVICE
                return
            assert await driver.execute(self.order(rig)) is Outcome.NOT_SENT  # not running yet
            async with running(driver, inlet):
                await self.settled(driver)
                assert await driver.execute(self.order(rig)) is Outcome.EXECUTED
                assert await rig.ordered() == 1
                late = replace(rig.order, deadline=time.monotonic() - 0.001)
                assert await driver.execute(late) is Outcome.ORDER_EXPIRED
                assert await rig.ordered() == 1

        self.run(scene)

    def test_unplug_and_replug(self):
        async def scene(rig, driver, inlet):
            names = [f"ROUND{number}" for number in range(4)]
            async with running(driver, inlet):
                for number, name in enumerate(names[:-1]):
                    await self.works(rig, driver, inlet, name)
                    await rig.unplug()
                    await asyncio.sleep(0.3)
                    await rig.plug()
                    start = time.monotonic()
                    await until(lambda n=number: inlet.ups == n + 2, self.back_s)
                    assert time.monotonic() - start < self.back_s
                await self.works(rig, driver, inlet, names[-1])
            self.held(rig, inlet, names)

        self.run(scene)

    def test_losing_the_line_is_said_at_once(self):
        async def scene(rig, driver, inlet):
            task = asyncio.create_task(driver.run(inlet))
            await until(lambda: inlet.ups)
            await rig.unplug()
            with pytest.raises(Lost):
                await asyncio.wait_for(task, 1.5)

        self.run(scene)

    def test_silence_is_no_reason_to_leave(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                before = time.process_time()
                await asyncio.sleep(1.0)
                assert time.process_time() - before < self.idle_cpu_s
                await self.works(rig, driver, inlet, "AFTER")
            assert inlet.ups == 1

        self.run(scene)

    def test_cancel_leaves_nothing_behind(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):  # once, so that thread pools and the like exist
                await self.works(rig, driver, inlet, "WARM")
            await self.rest(rig)
            tasks, files = len(asyncio.all_tasks()), open_files()
            for ups in range(2, 5):
                async with running(driver, inlet, ups):
                    under_way = await self.begin(rig, driver, f"AGAIN{ups}")
                await asyncio.wait_for(under_way, self.order_s + 1)
            for delay in (0.0, 0.001, 0.005, 0.02):  # also while it is still opening
                task = asyncio.create_task(driver.run(inlet))
                await asyncio.sleep(delay)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self.rest(rig)
            assert len(asyncio.all_tasks()) == tasks
            assert open_files() == files

        self.run(scene)


class ReaderContract(DriverContract):
    """A driver whose device states readings. `flood_growth`: what a second of flood may cost while nothing is taken."""

    flood_growth = 100_000

    async def works(self, rig: ReaderRig, driver: Driver, inlet: Recorder, name: str) -> None:
        """A credential that is shown is read."""
        await rig.write(rig.frame(name))
        await until(lambda: DIGEST(rig.method, name) in inlet.digests())

    async def begin(self, rig: ReaderRig, driver: Driver, name: str) -> Awaitable[object]:
        """A credential is shown."""
        await rig.write(rig.frame(name))
        return asyncio.sleep(0)

    def held(self, rig: ReaderRig, inlet: Recorder, names: Sequence[str]) -> None:
        """Readings of these; what was acknowledged just before a cut may have come again."""
        assert set(inlet.digests()) == {DIGEST(rig.method, name) for name in names}

    def test_facts_out(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await self.settled(driver)
                await rig.write(rig.frame("HELLO1"))
                await until(lambda: inlet.readings)
            (reading,) = inlet.readings
            assert (reading.door, reading.device, reading.method) == (rig.door, rig.device, rig.method)
            assert reading.digest == DIGEST(rig.method, "HELLO1")
            assert reading.fault is None
            assert abs(reading.at - time.time()) < 5
            assert reading.age < 1
            assert inlet.ups == 1

        self.run(scene)

    def test_half_a_frame_dies_with_the_line(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                whole = rig.frame("HALFHALF")
                await rig.write(whole[: len(whole) // 2])
                await rig.unplug()
                await asyncio.sleep(0.3)
                await rig.plug()
                await until(lambda: inlet.ups == 2, self.back_s)
                await rig.write(rig.frame("WHOLE"))
                await until(lambda: DIGEST(rig.method, "WHOLE") in inlet.digests())
            assert inlet.digests() == [DIGEST(rig.method, "WHOLE")]

        self.run(scene)

    def test_garbage_is_survived(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                for junk in (b"\x00\xff" * 40, bytes(range(256)) * 4, b"\xc0\xaf\r\n", b"A" * 3000, b"\r\n\r\n", b"{"):
                    await rig.write(junk)
                    await asyncio.sleep(0.02)
                await rig.write(b"\r")  # where frames end with a mark: the end of the last junk
                await asyncio.sleep(0.3)  # where they end with silence
                await rig.write(rig.frame("GOOD"))
                await until(lambda: DIGEST(rig.method, "GOOD") in inlet.digests())
            assert inlet.ups == 1
            assert len(inlet.readings) < 20

        self.run(scene)

    def test_the_smallest_pieces(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await rig.trickle(rig.frame("PIECES"))
                await until(lambda: inlet.readings)
            assert inlet.digests() == [DIGEST(rig.method, "PIECES")]

        self.run(scene)

    def test_a_flood_before_a_closed_gate_costs_no_memory(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                inlet.gate.clear()
                await rig.flood(0.3)
                gc.collect()
                tracemalloc.start()
                try:
                    await rig.flood(1.0)
                    gc.collect()
                    now, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                assert now < self.flood_growth
                inlet.gate.set()
                await until(lambda: len(inlet.readings) > 10)

        self.run(scene)

    def test_a_failed_receipt_raises_nothing(self):
        async def scene(rig, driver, inlet):
            complaints: list[str] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(str(c["message"])))
            inlet.receipt_error = RuntimeError("not stored")
            async with running(driver, inlet):
                await rig.write(rig.frame("LOST1"))
                await until(lambda: inlet.readings)
            gc.collect()
            await asyncio.sleep(0)
            assert not complaints

        self.run(scene)

    def test_no_secret_in_logs(self, caplog):
        caplog.set_level(logging.DEBUG)

        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await rig.write(rig.frame(SECRET))
                await until(lambda: inlet.readings)
                await rig.write(rig.frame(SECRET)[:-3] + b"\x81" + rig.frame(SECRET)[-3:])
                await asyncio.sleep(0.1)
                await rig.unplug()
                await asyncio.sleep(0.2)
                await rig.plug()
            assert SECRET not in repr(inlet.readings)
            assert SECRET not in repr(inlet.facts)

        self.run(scene)
        assert SECRET not in caplog.text

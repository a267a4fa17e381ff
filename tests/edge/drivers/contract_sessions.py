"""What a driver promises whose devices are spoken to in sessions under a key, and stand at doors of their own."""

import asyncio
import gc
import logging
import time
import tracemalloc
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from lintel.edge.model import Notice, Order, Outcome

from .contract import DriverContract, Rig, running, until

KEY_NOTICES = (Notice.READER_KEY_LOST, Notice.IDENTITY_MISMATCH)


class SessionRig(Rig, Protocol):
    """Two devices on one line: `order` is carried out by the first, to which all faults happen."""

    neighbour: Order
    """An order for the other one."""
    secrets: list[str]
    """What may stand in no log, as hex."""

    async def ordered(self, device: str = "") -> int:
        """How many orders have reached a device so far; "" is the first."""
        ...

    async def junk(self, data: bytes) -> None:
        """The device says these bytes in the middle of its session."""
        ...

    async def flood(self, seconds: float) -> int:
        """It says well-formed things that nobody asked for, as fast as the wire takes them; returns how many."""
        ...

    def slow(self, seconds: float) -> None:
        """From now on everything it hears and says takes so long; 0: no longer."""
        ...

    async def forget(self) -> None:
        """It no longer knows our key, and the session of before is over."""
        ...

    async def remember(self) -> None:
        """It does again."""
        ...


class SessionContract(DriverContract):
    """A subclass gives the rig."""

    flood_growth = 1_000_000
    """What a second of flood may cost in memory, with all that the rig itself holds (bytes)."""

    back_again_s = 10.0
    """How long the device may take to be told something again after a fault has ended (s)."""

    def rig(self) -> AbstractAsyncContextManager[SessionRig]:
        """Two devices that are plugged in."""
        raise AssertionError("the subclass gives a rig")

    async def neighbour_works(self, rig, driver, name, within=4.0):
        """The other device is told something, and does it in time."""
        order = replace(rig.neighbour, id=name, deadline=time.monotonic() + self.order_s)
        before, start = await rig.ordered(order.device), time.monotonic()
        assert await driver.execute(order) is Outcome.EXECUTED
        assert time.monotonic() - start < within
        assert await rig.ordered(order.device) == before + 1

    async def works_again(self, rig, driver, name):
        """The device is told something, and does it, though perhaps not at the first asking."""
        end, number = time.monotonic() + self.back_again_s, 0
        before = await rig.ordered()
        while await driver.execute(self.order(rig, f"{name}-{number}")) is not Outcome.EXECUTED:
            assert time.monotonic() < end, "it does not come back"
            number += 1
            await asyncio.sleep(0.1)
        assert await rig.ordered() == before + 1

    def test_garbage_is_survived(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                for number, junk in enumerate((b"", b"\x00\xff" * 40, bytes(range(240)), b"\x80", b"A" * 200)):
                    await self.settled(driver)
                    await rig.junk(junk)
                    await self.works_again(rig, driver, f"G{number}")
                await self.neighbour_works(rig, driver, "N")
            assert inlet.ups == 1

        self.run(scene)

    def test_a_flood_harms_no_other_and_costs_no_memory(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await self.works(rig, driver, inlet, "WARM")
                await rig.flood(0.3)
                gc.collect()
                tracemalloc.start()
                try:
                    flood = asyncio.create_task(rig.flood(1.0))
                    for number in range(3):
                        await self.neighbour_works(rig, driver, f"N{number}")
                    assert await flood > 100
                    gc.collect()
                    now, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                assert now < self.flood_growth
                await self.works_again(rig, driver, "AFTER")
            assert inlet.ups == 1
            assert len(inlet.facts) < 20

        self.run(scene)

    def test_a_wrong_key_opens_nothing_is_told_once_and_harms_no_other(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await self.works(rig, driver, inlet, "BEFORE")
                before = await rig.ordered()
                await rig.forget()
                assert await driver.execute(self.order(rig, "WRONG")) is Outcome.NOT_SENT
                await until(lambda: any(f.notice in KEY_NOTICES for f in inlet.facts), 5.0)
                await self.neighbour_works(rig, driver, "N")
                await asyncio.sleep(0.5)
                assert await rig.ordered() == before
                assert [f.device for f in inlet.facts if f.notice in KEY_NOTICES] == [rig.device]
                await rig.remember()
                await self.works_again(rig, driver, "AFTER")
            assert inlet.ups == 1

        self.run(scene)

    def test_a_slow_peer_delays_no_other_and_is_asked_once(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await self.works(rig, driver, inlet, "BEFORE")
                before = await rig.ordered()
                await self.settled(driver)
                rig.slow(0.4)
                waits = asyncio.create_task(driver.execute(self.order(rig, "SLOW")))
                await asyncio.sleep(0)
                await self.neighbour_works(rig, driver, "N")
                assert not waits.done()
                outcome = await asyncio.wait_for(waits, self.order_s + 25)
                rig.slow(0)
                turned = await rig.ordered() - before
                assert turned == 1 if outcome is Outcome.EXECUTED else turned <= 1

        self.run(scene)

    def test_no_secret_in_logs(self, caplog):
        caplog.set_level(logging.DEBUG)

        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                await self.works(rig, driver, inlet, "ONE")
                await rig.junk(b"\x80\x81")
                await self.works_again(rig, driver, "TWO")
            said = f"{inlet.facts!r} {driver!r} {caplog.text}"
            assert rig.secrets
            for secret in rig.secrets:
                assert secret not in said
                assert repr(bytes.fromhex(secret))[2:-1] not in said

        self.run(scene)

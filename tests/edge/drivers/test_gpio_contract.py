"""The GPIO driver under the contract of every driver, and its own of inputs: a chip that goes, floods, what is left.

A line has two levels, so there is no garbage and no half frame, and the kernel answers at once, so there is no slow
peer: what is late is our own loop (`test_gpio_inputs.py`), and what is too much is a contact that chatters.
"""

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from lintel.edge.drivers import gpio_bank
from lintel.edge.drivers.gpio_input import BURST, PER_S, Input
from lintel.edge.model import Action, Contact, ContactKind, DoorState, Notice, Outcome
from tests.edge.drivers.contract import DriverContract, running, until
from tests.edge.drivers.gpio_rig import CONTACT, EXIT, FIRE, MAGNET, STRIKE, chip_of, driver, order


class GpioRig:
    """All lines of one chip; the strike is what carries orders out."""

    device, door = "strike", "gate"

    def __init__(self, chip) -> None:
        self.chip, self.order = chip, order("strike", seconds=0.2)

    def build(self):
        return driver(contact={"debounce": "software", "debounce_ms": 5})

    async def ordered(self) -> int:
        return self.chip.seen.count((STRIKE, True))

    async def unplug(self) -> None:
        self.chip.unplug()

    async def plug(self) -> None:
        self.chip.plug()


class TestGpio(DriverContract):
    @pytest.fixture(autouse=True)
    def _chip(self, monkeypatch):
        self.chip = chip_of(monkeypatch)

    @asynccontextmanager
    async def rig(self):
        yield GpioRig(self.chip)
        assert self.chip.requests == [], "a request is left open"
        left = [at for at in (STRIKE, MAGNET) if self.chip.high(at)]
        assert not (left and self.chip.there), "relays have not fallen off"  # one that is away can be told nothing

    def test_facts_out(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                rig.chip.wire(EXIT, False)
                await until(lambda: Contact("exit", ContactKind.EXIT, True, "gate") in inlet.contacts)
                rig.chip.wire(CONTACT, True)
                await until(lambda: inlet.doors[-1] == DoorState("contact", 0, True, "gate"))

        self.run(scene)

    def test_what_its_inputs_say_is_unknown_while_the_chip_is_away(self):
        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                rig.chip.wire(FIRE, True)
                await until(lambda: inlet.contacts[-1].active)
                rig.chip.wire(EXIT, False)
                await rig.unplug()
                await until(lambda: inlet.doors[-1].open is None)
                assert {c.device: c.active for c in inlet.contacts} == dict.fromkeys(("exit", "fire", "tamper"))
                rig.chip.volts[EXIT] = True  # let go meanwhile: nothing is told of it afterwards
                await rig.plug()
                await until(lambda: inlet.ups == 2)
                assert {c.device: c.active for c in inlet.contacts} == {"exit": False, "fire": True, "tamper": False}

        self.run(scene)

    def flooded(self):
        """A contact that chatters for a second, as fast as this machine can."""

        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                tracemalloc.start()
                try:
                    for n in range(200):
                        for _ in range(20):
                            rig.chip.wire(EXIT, not rig.chip.high(EXIT))
                        await asyncio.sleep(0.005)
                        if n == 100:
                            gc.collect()
                            before, _ = tracemalloc.get_traced_memory()
                            told, begun = len(inlet.contacts), asyncio.get_running_loop().time()
                            rig.chip.seen.clear()
                            assert await driver.execute(order("magnet", Action.HOLD)) is Outcome.EXECUTED
                            rig.chip.wire(FIRE, True)
                            await until(lambda: any(c.active for c in inlet.contacts if c.device == "fire"))
                    gc.collect()
                    now, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                took = asyncio.get_running_loop().time() - begun
                assert now - before < 100_000
                assert len(inlet.contacts) - told <= BURST + PER_S * took + 2
                assert Notice.FLOOD in [f.notice for f in inlet.facts if f.device == "exit"]
                assert len(inlet.facts) == 1
                rig.chip.wire(EXIT, False)
                await until(lambda: [c for c in inlet.contacts if c.device == "exit"][-1].active, 5.0)
                assert await driver.execute(order("magnet", Action.RELEASE)) is Outcome.EXECUTED
            assert inlet.ups == 1

        self.run(scene)

    def test_a_flood_is_told_in_part_and_costs_no_memory_and_no_other_line(self):
        self.flooded()

    def test_control_without_the_bound_a_flood_is_told_in_full(self, monkeypatch):
        monkeypatch.setattr(Input, "_take", lambda self, now: True)
        with pytest.raises(AssertionError):
            self.flooded()

    def test_a_cancel_in_the_middle_of_everything_lets_the_relays_fall_off(self):
        """A strike locks, a magnet opens: as without power. See the rig for the look at the end."""

        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                assert rig.chip.high(MAGNET)
                await driver.execute(order("strike", seconds=60.0))
                assert rig.chip.high(STRIKE)

        self.run(scene)

    def test_control_the_contract_sees_a_relay_that_is_left_on(self, monkeypatch):
        monkeypatch.setattr(gpio_bank.Bank, "close", lambda self: (self._request.release(), self.lost.cancel()))
        with pytest.raises(AssertionError, match="fallen off"):
            self.test_a_cancel_in_the_middle_of_everything_lets_the_relays_fall_off()


def test_control_the_contract_sees_a_chip_that_is_not_known_to_be_gone(monkeypatch):
    monkeypatch.setattr(gpio_bank.Bank, "_lose", lambda self, error: None)
    contract = TestGpio()
    contract.chip = chip_of(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError)):
        contract.test_losing_the_line_is_said_at_once()

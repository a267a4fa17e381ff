"""Inputs of a GPIO chip: start levels, polarity, debounce, lost edges and storms."""

import asyncio

import pytest

from lintel.edge.model import EVERY_DOOR, Contact, ContactKind, DoorState
from tests.edge.drivers.contract import until
from tests.edge.drivers.gpio_rig import CONTACT, EXIT, FIRE, TAMPER, WIRED, at_work, chip_of, scene


@pytest.fixture
def chip(monkeypatch):
    return chip_of(monkeypatch)


def test_the_start_level_is_said_once(chip):
    chip.volts[CONTACT] = chip.volts[FIRE] = True

    async def body():
        async with at_work() as (_, inlet, _):
            assert inlet.doors == [DoorState("contact", 0, True, "gate")]
            assert inlet.contacts == [
                Contact("exit", ContactKind.EXIT, False, "gate"), Contact("fire", ContactKind.FIRE, True, EVERY_DOOR),
                Contact("tamper", ContactKind.TAMPER, False, "gate"),
            ]  # fmt: skip
            await asyncio.sleep(1.1)  # two looks
            assert (len(inlet.doors), len(inlet.contacts)) == (1, 3)

    scene(body())


@pytest.mark.parametrize(
    ("name", "at", "active"), [("exit", EXIT, False), ("fire", FIRE, True), ("tamper", TAMPER, True)]
)
def test_an_edge_is_said_with_the_polarity_of_the_profile(chip, name, at, active):
    async def body():
        async with at_work(name) as (_, inlet, _):
            chip.wire(at, active)
            chip.wire(at, not active)
            await until(lambda: len(inlet.contacts) == 3)
            assert [c.active for c in inlet.contacts] == [False, True, False]
            assert {(c.device, c.kind, c.door) for c in inlet.contacts} == {(name, name, WIRED[name][2])}

    scene(body())


def test_debounce_is_the_kernels_or_ours_and_never_both(chip):
    async def body():
        async with at_work("exit", "contact", contact={"debounce": "software"}):
            (request,) = chip.requests
            assert request.settings[EXIT].debounce_period.total_seconds() == 0.03
            assert request.settings[CONTACT].debounce_period.total_seconds() == 0

    scene(body())


def test_software_debounce_tells_no_bounce(chip):
    async def body():
        async with at_work("contact", contact={"debounce": "software", "debounce_ms": 60}) as (_, inlet, _):
            for n in range(7):
                chip.wire(CONTACT, n % 2 == 0)
                await asyncio.sleep(0)
            await until(lambda: len(inlet.doors) == 2)
            chip.wire(CONTACT, False)
            await asyncio.sleep(0)
            chip.wire(CONTACT, True)
            await asyncio.sleep(0.15)
            assert [d.open for d in inlet.doors] == [False, True]

    scene(body())


def test_after_lost_edges_the_level_of_now_counts(chip):
    """The buffer drops the oldest; here the newest that is left lies, as after a bounce that nobody saw."""

    async def body():
        async with at_work("contact") as (_, inlet, _):
            (request,) = chip.requests
            chip.wire(CONTACT, True)
            chip.wire(CONTACT, False)
            chip.wire(CONTACT, True)
            del request.events[1:]  # number 1 is left: open. 2 and 3 are lost
            request.number, request.numbers[CONTACT] = 3, 3
            await until(lambda: inlet.doors[-1].open is True)
            chip.volts[CONTACT] = False  # 4 is lost
            request.numbers[CONTACT] = 4
            request.chip.volts[CONTACT] = True
            request.edge(CONTACT)  # 5 says open
            chip.volts[CONTACT] = False  # and by now it is closed
            await until(lambda: inlet.doors[-1].open is False, 0.4)  # at once: before the next look

    scene(body())


def test_a_level_without_any_edge_is_found_by_looking(chip):
    async def body():
        async with at_work("fire") as (_, inlet, _):
            chip.volts[FIRE] = True
            await until(lambda: inlet.contacts[-1].active is True)

    scene(body())


def test_a_storm_of_edges_is_survived_and_the_last_level_counts(chip):
    async def body():
        async with at_work("exit", "fire") as (_, inlet, _):
            for n in range(5001):
                chip.wire(EXIT, n % 2 == 1)
                if n % 500 == 0:
                    await asyncio.sleep(0)
            chip.wire(FIRE, True)
            await until(lambda: Contact("fire", ContactKind.FIRE, True, EVERY_DOOR) in inlet.contacts)
            await until(lambda: [c for c in inlet.contacts if c.device == "exit"][-1].active)
            assert inlet.ups == 1

    scene(body())

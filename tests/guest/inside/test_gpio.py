"""The GPIO driver on a chip of the kernel: libgpiod, the character device, interrupts, the kernel's debounce."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import gpiod
import pytest
from gpiod.line import Direction as Way

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.gpio import build
from lintel.edge.errors import Lost
from lintel.edge.model import EVERY_DOOR, Action, Contact, ContactKind, Direction, DoorState, Order, Outcome
from lintel.edge.profiles import builtin
from tests.edge.drivers.contract import Recorder, context, running, until
from tests.guest.inside.gpio_sim import SimChip

STRIKE, MAGNET, CONTACT, EXIT, FIRE, LOW = 0, 1, 2, 3, 4, 5
NAMES = {STRIKE: "RELAY_1", MAGNET: "RELAY_2", CONTACT: "DOOR_1", EXIT: "EXIT_1", FIRE: "FIRE", LOW: "RELAY_3"}
WIRED = {
    "strike": ("gpio-strike", "RELAY_1", "gate"),
    "magnet": ("gpio-magnet", "RELAY_2", "back"),
    "contact": ("gpio-door-nc", "DOOR_1", "gate"),
    "exit": ("gpio-exit", "EXIT_1", "gate"),
    "fire": ("gpio-fire-nc", "FIRE", EVERY_DOOR),
    "low": ("gpio-strike-low", str(LOW), "yard"),
}


@pytest.fixture
def chip():
    with SimChip(8, NAMES) as made:
        yield made


def driver(chip, *names, **changes):
    profiles = {n: builtin()[WIRED[n][0]] for n in names or WIRED}
    profiles = {n: replace(p, spec=replace(p.spec, **changes)) for n, p in profiles.items()}
    devices = [Device(n, WIRED[n][1], WIRED[n][2], Direction.IN, p) for n, p in profiles.items()]
    return build(Line("gpio", "gpio", {"chip": str(chip.path)}), devices, context())


def order(name, action=Action.OPEN, seconds=0.3):
    return Order("o1", WIRED[name][2], name, action, time.monotonic() + 5.0, seconds=seconds)


@asynccontextmanager
async def at_work(chip, *names, **changes):
    inlet = Recorder()
    made = driver(chip, *names, **changes)
    async with running(made, inlet) as task:
        yield made, inlet, task


def scene(body):
    asyncio.run(asyncio.wait_for(body, 60))


def consumers(chip):
    """Who uses which line, as the kernel says."""
    with gpiod.Chip(str(chip.path)) as opened:
        lines = [opened.get_line_info(at) for at in range(8)]
    return {line.name or line.offset: line.consumer for line in lines if line.used}


def test_the_lines_are_found_by_name_and_are_ours_while_it_runs(chip):
    async def body():
        async with at_work(chip):
            assert consumers(chip) == dict.fromkeys(NAMES.values(), "lintel")
        assert consumers(chip) == {}

    scene(body())


def test_locks_are_locked_from_the_first_moment_and_fall_off_at_the_end(chip):
    async def body():
        async with at_work(chip):
            assert (chip.high(STRIKE), chip.high(MAGNET), chip.high(LOW)) == (False, True, True)
        assert not chip.high(MAGNET)

    scene(body())


@pytest.mark.parametrize(
    ("name", "at", "unlocked"), [("strike", STRIKE, True), ("magnet", MAGNET, False), ("low", LOW, False)]
)
def test_an_order_is_a_level_on_the_wire(chip, name, at, unlocked):
    async def body():
        async with at_work(chip) as (made, _, _):
            begun = time.monotonic()
            assert await made.execute(order(name)) is Outcome.EXECUTED
            assert chip.high(at) is unlocked
            await until(lambda: chip.high(at) is not unlocked, 5.0)
            assert time.monotonic() - begun >= 0.3
            assert await made.execute(order(name, Action.HOLD)) is Outcome.EXECUTED
            await asyncio.sleep(0.5)
            assert chip.high(at) is unlocked
            assert await made.execute(order(name, Action.RELEASE)) is Outcome.EXECUTED
            assert chip.high(at) is not unlocked

    scene(body())


def test_control_a_driver_of_other_lines_moves_nothing(chip):
    async def body():
        async with at_work(chip, "strike") as (made, _, _):
            assert await made.execute(order("magnet")) is Outcome.REFUSED_BY_DEVICE
            assert not chip.high(MAGNET)

    scene(body())


def test_the_edges_of_a_contact_are_told_at_once(chip):
    """By the interrupt, not by the look twice a second; the kernel's debounce and its 100 Hz tick lie between."""
    waits = []

    async def body():
        async with at_work(chip) as (_, inlet, _):
            chip.wire(CONTACT, high=False)
            await until(lambda: inlet.doors[-1:] == [DoorState("contact", 0, False, "gate")], 5.0)
            for n in range(10):
                begun = time.monotonic()
                chip.wire(CONTACT, high=n % 2 == 0)
                await until(lambda n=n: inlet.doors[-1].open is (n % 2 == 0), 5.0)
                waits.append(time.monotonic() - begun)
                await asyncio.sleep(0.1)

    scene(body())
    waits.sort()
    print(f"contact edge to the gateway: median {waits[5] * 1000:.0f} ms, worst {waits[-1] * 1000:.0f} ms")
    assert waits[5] < 0.25, waits


def test_a_glitch_is_not_told(chip):
    async def body():
        async with at_work(chip) as (_, inlet, _):
            chip.wire(CONTACT, high=False)
            await until(lambda: inlet.doors[-1].open is False, 5.0)
            told = len(inlet.doors)
            chip.wire(CONTACT, high=True)
            chip.wire(CONTACT, high=False)
            await asyncio.sleep(1.2)
            assert len(inlet.doors) == told

    scene(body())


def test_fire_and_the_exit_button(chip):
    async def body():
        async with at_work(chip) as (_, inlet, _):
            chip.wire(FIRE, high=False)  # the loop is closed
            quiet = Contact("fire", ContactKind.FIRE, active=False, door=EVERY_DOOR)
            await until(lambda: quiet in inlet.contacts, 5.0)
            told = len(inlet.contacts)
            chip.wire(FIRE, high=True)  # and now it is open: an alarm, or a cut wire
            alarm = Contact("fire", ContactKind.FIRE, active=True, door=EVERY_DOOR)
            await until(lambda: alarm in inlet.contacts[told:], 5.0)
            chip.wire(EXIT, high=False)
            await until(lambda: Contact("exit", ContactKind.EXIT, active=True, door="gate") in inlet.contacts, 5.0)

    scene(body())


@pytest.mark.parametrize("debounce", ["kernel", "software"])
def test_a_press_that_is_over_before_a_busy_loop_reads_it_counts(chip, debounce):
    """By the kernel's own times of its edges, and a bounce in that time does not."""

    def busy(hold, wait):
        chip.wire(EXIT, high=False)
        time.sleep(hold)
        chip.wire(EXIT, high=True)
        time.sleep(wait)

    async def body():
        async with at_work(chip, "exit", debounce=debounce) as (_, inlet, _):
            busy(0.2, 0.3)
            await until(lambda: [c.active for c in inlet.contacts] == [False, True, False], 5.0)
            busy(0.0, 0.3)
            await asyncio.sleep(0.3)
            assert len(inlet.contacts) == 3

    scene(body())


def test_a_storm_of_edges_is_survived(chip):
    async def body():
        async with at_work(chip) as (_, inlet, _):
            for n in range(2001):
                chip.wire(EXIT, high=n % 2 == 1)
            chip.wire(FIRE, high=False)
            await until(lambda: [c.active for c in inlet.contacts if c.device == "exit"][-1], 10.0)
            await until(lambda: not [c.active for c in inlet.contacts if c.device == "fire"][-1], 10.0)
            assert inlet.ups == 1

    scene(body())


def test_a_board_that_is_unplugged_is_lost_and_comes_back(chip):
    async def body():
        async with at_work(chip) as (made, inlet, _):
            chip.unplug()
            assert await made.execute(order("strike")) is not Outcome.EXECUTED
            await until(lambda: inlet.doors[-1].open is None, 10.0)
            chip.plug()
            await until(lambda: inlet.ups == 2, 10.0)
            assert await made.execute(order("strike")) is Outcome.EXECUTED
            assert chip.high(STRIKE)

    scene(body())


def test_a_line_that_another_program_has_is_named(chip):
    settings = gpiod.LineSettings(direction=Way.OUTPUT)
    with (
        gpiod.request_lines(str(chip.path), config={STRIKE: settings}, consumer="other"),
        pytest.raises(Lost, match="in use by another program"),
    ):
        asyncio.run(driver(chip).run(Recorder()))

"""Inputs of a GPIO chip: start levels, polarity, debounce, lost edges and storms."""

import asyncio
import time

import pytest

from lintel.edge.drivers import gpio_bank
from lintel.edge.drivers.gpio_input import Input
from lintel.edge.model import EVERY_DOOR, Contact, ContactKind, DoorState
from tests.edge.drivers.contract import Recorder, until
from tests.edge.drivers.gpio_rig import CONTACT, EXIT, FIRE, TAMPER, WIRED, at_work, chip_of, driver, scene


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


# ---- an edge counts from when it happened


def played(chip, at, *edges):
    """Edges of a moment ago, as (ms from now, high): the loop was busy, and reads them all at once."""
    now = time.monotonic_ns()
    for ms, high in edges:
        chip.now = now + ms * 1_000_000
        chip.wire(at, high)
    chip.now = 0


SOFT = {"debounce": "software", "debounce_ms": 30}


@pytest.mark.parametrize("name", ["exit", "fire", "tamper", "contact"])
def test_what_was_over_before_it_was_read_is_told_where_it_held_long_enough(chip, name):
    at, rest = WIRED[name][1], name == "exit"

    async def body():
        async with at_work(name, **{name: SOFT}) as (_, inlet, _):
            told = inlet.doors if name == "contact" else inlet.contacts
            before = len(told)
            played(chip, at, (-400, not rest), (-320, rest))
            await until(lambda: len(told) == before + 2)
            assert [t.open if name == "contact" else t.active for t in told[before:]] == [True, False]

    scene(body())


def test_a_bounce_of_a_moment_ago_is_none_however_late_it_is_read(chip):
    async def body():
        async with at_work("exit", exit=SOFT) as (_, inlet, _):
            played(chip, EXIT, (-400, False), (-380, True), (-370, False), (-345, True))
            await asyncio.sleep(0.2)
            assert [c.active for c in inlet.contacts] == [False]

    scene(body())


def test_a_busy_loop_does_not_tell_a_level_that_has_changed_since(chip):
    """The edge back lies in the kernel's buffer when the time of the first is over."""

    async def body():
        async with at_work("exit", exit=SOFT) as (_, inlet, _):
            chip.wire(EXIT, False)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            pressed = time.monotonic_ns()
            chip.now = pressed + 10_000_000
            chip.wire(EXIT, True)
            chip.now = 0
            asyncio.get_running_loop().remove_reader(chip.requests[0].fd)  # the loop comes to its timers first
            await asyncio.sleep(0.1)
            assert [c.active for c in inlet.contacts] == [False]

    scene(body())


def test_control_by_the_time_of_reading_that_press_is_lost(chip, monkeypatch):
    edge = Input.edge
    monkeypatch.setattr(Input, "edge", lambda self, level, at, now: edge(self, level, now, now))
    with pytest.raises(AssertionError):
        test_what_was_over_before_it_was_read_is_told_where_it_held_long_enough(chip, "exit")


@pytest.mark.parametrize(("held", "told"), [(False, [False]), (True, [False, True])])
def test_a_press_of_long_ago_opens_nothing_unless_it_lasts(chip, held, told):
    """As after the process was stopped for a while: who pressed then has gone."""

    async def body():
        async with at_work("exit", exit=SOFT) as (_, inlet, _):
            played(chip, EXIT, (-9000, False), *([] if held else [(-8000, True)]))
            await asyncio.sleep(0.2)
            assert [c.active for c in inlet.contacts] == told
            assert not inlet.facts

    scene(body())


def test_a_fire_of_long_ago_counts(chip):
    async def body():
        async with at_work("fire") as (_, inlet, _):
            played(chip, FIRE, (-9000, True), (-8000, False))
            await until(lambda: [c.active for c in inlet.contacts] == [False, True, False])

    scene(body())


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_of_lost_edges_that_the_kernel_debounced_a_press_is_known(chip, lost):
    """They alternate: where one was lost or more before this one, the input was active meanwhile."""

    async def body():
        async with at_work("fire") as (_, inlet, _):
            (request,) = chip.requests
            for n in range(lost):
                chip.wire(FIRE, n % 2 == 0)
            request.events.clear()
            chip.wire(FIRE, lost % 2 == 0)
            await until(lambda: any(c.active for c in inlet.contacts))
            await until(lambda: inlet.contacts[-1].active is (lost % 2 == 0))

    scene(body())


def test_edges_that_another_line_lost_make_all_levels_be_read(chip, monkeypatch):
    monkeypatch.setattr(gpio_bank, "LOOK_S", 60.0)

    async def body():
        async with at_work("exit", "fire") as (_, inlet, _):
            (request,) = chip.requests
            chip.wire(FIRE, True)
            request.events.clear()
            chip.wire(EXIT, False)
            await until(lambda: Contact("fire", ContactKind.FIRE, True, EVERY_DOOR) in inlet.contacts)

    scene(body())


# ---- mistakes of our own


@pytest.mark.parametrize("at", ["an edge", "the time of a bounce", "a look"])
def test_a_mistake_with_one_input_takes_no_other_with_it(chip, at, caplog):
    async def body():
        async with at_work("exit", "fire", exit=SOFT if "bounce" in at else {}) as (_, inlet, _):
            contact = inlet.contact

            def broken(one):
                if one.device == "exit" and one.active:
                    raise RuntimeError("a mistake")
                contact(one)

            inlet.contact = broken
            if at == "a look":
                chip.volts[EXIT], chip.volts[FIRE] = False, True
            else:
                chip.wire(EXIT, False)
                chip.wire(FIRE, True)
            await until(lambda: Contact("fire", ContactKind.FIRE, True, EVERY_DOOR) in inlet.contacts)
            await until(lambda: "a mistake" in caplog.text)
            chip.wire(FIRE, False)
            await until(lambda: inlet.contacts[-1].active is False)
            assert inlet.ups == 1

    scene(body())


def test_any_other_mistake_ends_the_line_and_leaves_no_deaf_one(chip, monkeypatch):
    async def body():
        inlet, made = Recorder(), driver("exit")
        task = asyncio.create_task(made.run(inlet))
        await until(lambda: inlet.contacts)
        monkeypatch.setattr(Input, "edge", None)
        chip.wire(EXIT, False)
        with pytest.raises(TypeError):
            await asyncio.wait_for(task, 2.0)
        assert inlet.contacts[-1].active is None
        assert chip.requests == []

    scene(body())

"""The driver of GPIO lines before a chip in memory: levels out, contacts in, and what is left when it ends."""

import asyncio
import errno
import gc
import inspect
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import gpiod
import pytest
from gpiod.line import Value

from lintel.edge.drivers import gpio_bank
from lintel.edge.drivers.base import Line
from lintel.edge.drivers.gpio import build
from lintel.edge.errors import ConfigError, Lost
from lintel.edge.model import Action, DoorState, Outcome
from lintel.edge.profiles import builtin
from tests.edge.drivers.contract import Recorder, context, open_files, running, until
from tests.edge.drivers.gpio_chip import Chip, Request
from tests.edge.drivers.gpio_rig import CONTACT, FIRE, MAGNET, STRIKE, at_work, chip_of, device, driver, order, scene


@pytest.fixture
def chip(monkeypatch):
    return chip_of(monkeypatch)


# ---- the fake is as the real thing


@pytest.mark.parametrize("name", [n for n in vars(Request) if not n.startswith("_")])
def test_a_request_of_the_tests_is_called_as_one_of_gpiod(name):
    if name in ("wake", "edge"):
        return
    real, own = (inspect.getattr_static(c, name) for c in (gpiod.LineRequest, Request))
    assert type(real) is type(own)
    if not isinstance(real, property):
        assert list(inspect.signature(real).parameters) == list(inspect.signature(own).parameters)


def test_lines_are_requested_as_gpiod_does():
    own = inspect.signature(Chip.request_lines).parameters
    assert list(own)[1:] == list(inspect.signature(gpiod.request_lines).parameters)


def test_the_real_gpiod_without_a_chip_is_lost_in_words(tmp_path):
    """No chip, as in a container; something that is none."""
    for path, said in ((tmp_path / "none", "no chip"), (Path("/dev/null"), "")):
        made = build(Line("gpio", "gpio", {"chip": str(path)}), [device("strike")], context())
        with pytest.raises(Lost, match=f"{path}: {said}"):
            asyncio.run(made.run(Recorder()))


# ---- locks


def test_a_lock_is_locked_from_the_first_moment(chip):
    """Locked in the call that makes the line an output: a strike is not driven, a magnet is."""

    async def body():
        async with at_work("strike", "magnet"):
            assert chip.seen == [(STRIKE, False), (MAGNET, True)]

    scene(body())


def test_control_an_output_that_begins_inactive_would_open_the_magnet(chip, monkeypatch):
    monkeypatch.setattr("lintel.edge.profiles.gpio.GpioSpec.driven", lambda spec, *, unlocked: unlocked)

    async def body():
        async with at_work("strike", "magnet"):
            assert (MAGNET, False) in chip.seen

    scene(body())


@pytest.mark.parametrize(("name", "at", "unlocked"), [("strike", STRIKE, True), ("magnet", MAGNET, False)])
def test_a_pulse_opens_and_ends(chip, name, at, unlocked):
    async def body():
        async with at_work() as (made, _, _):
            begun = time.monotonic()
            assert await made.execute(order(name)) is Outcome.EXECUTED
            assert chip.high(at) is unlocked
            await until(lambda: chip.high(at) is not unlocked, 5.0)
            assert time.monotonic() - begun >= 0.3

    scene(body())


def test_a_second_grant_makes_one_longer_pulse(chip):
    async def body():
        async with at_work("strike") as (made, _, _):
            begun = time.monotonic()
            await made.execute(order("strike", seconds=0.4))
            await asyncio.sleep(0.2)
            await made.execute(order("strike", seconds=0.4))
            await made.execute(order("strike", seconds=0.2))  # never shortens
            await until(lambda: not chip.high(STRIKE), 5.0)
            assert time.monotonic() - begun >= 0.6
            assert [high for _, high in chip.seen] == [False, True, True, True, False]

    scene(body())


def test_hold_and_release(chip):
    async def body():
        async with at_work("strike") as (made, _, _):
            assert await made.execute(order("strike", Action.HOLD)) is Outcome.EXECUTED
            assert await made.execute(order("strike", seconds=0.2)) is Outcome.EXECUTED
            await asyncio.sleep(0.4)
            assert chip.high(STRIKE), "the end of a pulse ends no hold"
            assert await made.execute(order("strike", Action.RELEASE)) is Outcome.EXECUTED
            assert not chip.high(STRIKE)

    scene(body())


def test_it_relocks_after_the_door_has_opened(chip):
    async def body():
        async with at_work("strike", "contact", strike={"relock_on_open_s": 0.1}) as (made, inlet, _):
            begun = time.monotonic()
            await made.execute(order("strike", seconds=60))
            chip.wire(CONTACT, True)
            await until(lambda: not chip.high(STRIKE), 5.0)
            assert time.monotonic() - begun >= 0.1
            assert inlet.doors[-1] == DoorState("contact", 0, True, "gate")

    scene(body())


def test_orders_that_are_none_of_it(chip):
    async def body():
        made = driver()
        assert await made.execute(order("strike")) is Outcome.NOT_SENT
        async with running(made, Recorder()):
            assert await made.execute(order("strike", within=-0.01)) is Outcome.ORDER_EXPIRED
            assert await made.execute(order("fire")) is Outcome.REFUSED_BY_DEVICE
            for action in (Action.SHOW, Action.BEEP, Action.INSTALL):
                assert await made.execute(order("strike", action)) is Outcome.REFUSED_BY_DEVICE
            assert (STRIKE, True) not in chip.seen

    scene(body())


@pytest.mark.parametrize(("name", "at", "left"), [("strike", STRIKE, False), ("magnet", MAGNET, False)])
def test_at_the_end_relays_fall_off(chip, name, at, left):
    """That locks a fail-secure lock, in a pulse too, and unlocks a fail-safe one."""

    async def body():
        async with at_work() as (made, _, _):
            await made.execute(order(name, seconds=60))
        assert chip.high(at) is left

    scene(body())


def test_a_lock_that_is_held_is_left_as_it_stands(chip):
    async def body():
        async with at_work("strike") as (made, _, _):
            await made.execute(order("strike", Action.HOLD))
        assert chip.high(STRIKE)

    scene(body())


def test_what_fire_has_released_is_never_locked_by_opening_the_line(chip):
    chip.put(STRIKE, True)

    async def body():
        async with at_work("strike", "magnet", released=lambda device: device == "strike") as (made, _, _):
            assert (STRIKE, False) not in chip.seen
            await made.execute(order("strike", seconds=0.2))
            await asyncio.sleep(0.4)
            assert chip.high(STRIKE)
            await made.execute(order("strike", Action.RELEASE))
            assert not chip.high(STRIKE)
        assert chip.seen[1] == (MAGNET, True) or (MAGNET, True) in chip.seen

    scene(body())


# ---- the line comes and goes


def test_unplug_and_replug(chip):
    async def body():
        async with at_work() as (made, inlet, _):
            for round_ in range(2, 4):
                chip.unplug()
                await until(lambda: inlet.doors[-1].open is None)
                assert {c.device for c in inlet.contacts[-3:] if c.active is None} == {"exit", "fire", "tamper"}
                assert await made.execute(order("strike")) is Outcome.NOT_SENT
                chip.plug()
                await until(lambda n=round_: inlet.ups == n)
                assert inlet.doors[-1].open is False
            chip.wire(FIRE, True)
            await until(lambda: inlet.contacts[-1].active is True)
            assert await made.execute(order("strike")) is Outcome.EXECUTED

    scene(body())


def test_a_chip_of_relays_alone_is_missed_too(chip):
    async def body():
        async with at_work("strike") as (_, inlet, _):
            chip.there = False  # no edge tells of it
            await asyncio.sleep(0.8)
            chip.plug()
            await until(lambda: inlet.ups == 2)

    scene(body())


def test_an_order_into_a_chip_that_goes_is_of_unknown_outcome(chip):
    async def body():
        inlet, made = Recorder(), driver("strike")
        task = asyncio.create_task(made.run(inlet))
        await until(lambda: inlet.ups)
        chip.fault = errno.EIO
        assert await made.execute(order("strike")) is Outcome.UNKNOWN_OUTCOME
        with pytest.raises(Lost, match=r"/dev/gpiochip0: Input/output error"):
            await asyncio.wait_for(task, 2)
        assert chip.requests == []

    scene(body())


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda chip: setattr(chip, "there", False), "no chip"),
    (lambda chip: chip.busy.add(STRIKE), "in use by another program"),
    (lambda chip: setattr(chip, "size", 2), "out range"),
])  # fmt: skip
def test_what_can_not_be_opened_is_said_in_words(chip, spoil, said):
    spoil(chip)
    with pytest.raises(Lost, match=f"/dev/gpiochip0: .*{said}"):
        asyncio.run(driver("strike").run(Recorder()))
    assert chip.requests == []


def test_a_line_may_be_named(chip):
    async def body():
        async with at_work("strike", strike={"address": "RELAY_1"}) as (made, _, _):
            await made.execute(order("strike"))
            assert chip.high(STRIKE)
        with pytest.raises(Lost):
            await driver("strike", strike={"address": "RELAY_9"}).run(Recorder())

    scene(body())


def test_cancel_leaves_nothing_behind(chip):
    async def body():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c["message"]))
        made = driver()
        tasks, files = len(asyncio.all_tasks()), open_files()
        for delay in (0.0, 0.001, 0.02):
            inlet = Recorder()
            task = asyncio.create_task(made.run(inlet))
            await asyncio.sleep(delay)
            if inlet.ups:
                await made.execute(order("strike", seconds=60))
            chip.fault = errno.EIO if delay == 0.02 else None  # also where letting go fails
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            chip.fault = None
        gc.collect()
        await asyncio.sleep(0)
        assert (len(asyncio.all_tasks()), open_files(), chip.requests, complaints) == (tasks, files, [], [])

    scene(body())


def test_silence_costs_nothing(chip):
    async def body():
        async with at_work():
            before = time.process_time()
            await asyncio.sleep(1.0)
            assert time.process_time() - before < 0.2

    scene(body())


# ---- mistakes


def refused(*devices, **options):
    with pytest.raises(ConfigError) as caught:
        build(Line("gpio", "gpio", options), list(devices), context())
    return {m.where: m.expected for m in caught.value.mistakes}


def test_mistakes_are_told_together(monkeypatch):
    qr = replace(device("exit"), id="qr", profile=builtin()["generic-cr"])
    found = refused(
        device("strike"), replace(device("exit"), address=str(STRIKE)), device("fire", address=""), qr, baud=9600
    )
    assert set(found) == {"line.gpio.baud", "device.exit.address", "device.fire.address", "device.qr.profile"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "lintel[gpio]" in refused(device("strike"))["line.gpio"]


def test_the_module_itself_loads_without_gpiod():
    """Only a site with GPIO lines has the package."""
    assert not {"gpiod", "Value"} & set(vars(gpio_bank))
    assert Value.ACTIVE is not Value.INACTIVE

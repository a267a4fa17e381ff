"""The driver and the simulators, written by different hands from the same reference, understand each other."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from lintel.edge.drivers.base import Device
from lintel.edge.drivers.mqtt_lag import FLUSH_S
from lintel.edge.model import Action, Direction, Method, Order, Outcome
from lintel.edge.profiles import builtin
from lintel.simulators.host import build
from tests.brokers import site
from tests.edge.drivers.contract import DIGEST, Recorder, running, until
from tests.edge.drivers.mqtt_rig import Stuck, driver_for

MODELS = {
    "mqtt-face": "1026700",
    "yld": "SN001",
    "luozhi": "AABBCCDDEEFF",
    "shelly-gen2": "shellyplus1-a8032abe54dc",
    "tasmota": "tasmota_9CF9D1",
}


@asynccontextmanager
async def met(model, inlet=None, **more):
    """A simulated device and the driver on one broker; gives the device, its events, the driver and the inlet."""
    events = []
    kind = "relay" if model == "shelly-gen2" else model
    async with site() as place:
        device = Device("dev", MODELS[model], "door", Direction.IN, builtin()[model])
        driver, inlet = driver_for(place.port, device), inlet or Recorder()
        spec = {"kind": kind, "id": MODELS[model], "broker": f"127.0.0.1:{place.port}", **more}
        part = build(spec, lambda event, **fields: events.append((event, fields)))
        async with running(driver, inlet):
            life = asyncio.create_task(part.run())
            await until(lambda: any(e == "ready" for e, _ in events), 5.0)
            try:
                yield part, events, driver, inlet
            finally:
                await part.power_off()
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)


def order(**fields):
    return Order("ord_1", "door", "dev", Action.OPEN, time.monotonic() + 2.0, **fields)


@pytest.mark.parametrize("model", MODELS)
def test_an_order_opens_exactly_once(model):
    async def scene():
        async with met(model) as (_, events, driver, _):
            known = builtin()[model].spec.command["open"].answer is not None
            assert await driver.execute(order()) is (Outcome.EXECUTED if known else Outcome.UNKNOWN_OUTCOME)
            await until(lambda: any(e == "unlocked" for e, _ in events))
            await asyncio.sleep(0.3)
            assert sum(1 for e, _ in events if e == "unlocked") == 1

    asyncio.run(scene())


@pytest.mark.parametrize("model", ["mqtt-face", "yld", "luozhi"])
def test_a_face_arrives_as_a_live_reading(model, tmp_path):
    persons = tmp_path / "persons.json"
    persons.write_text('[{"customId": "p-1001", "name": "Test"}]')

    async def scene():
        async with met(model, persons=str(persons), utc_offset=0.0) as (part, _, _, inlet):
            await asyncio.sleep(FLUSH_S if model == "luozhi" else 0.0)  # it names no time
            await part.command("face", {"person": "p-1001"})
            await until(lambda: inlet.readings)
        reading = inlet.readings[0]
        assert (reading.method, reading.digest) == (Method.FACE, DIGEST(Method.FACE, "p-1001"))
        assert reading.age < 5
        assert reading.score == (None if model == "luozhi" else 0.94)

    asyncio.run(scene())


def test_a_terminal_is_told_the_time_when_it_comes_on_line_and_is_believed_then(tmp_path):
    """Its clock is a minute ahead, so that its records would be history."""
    persons = tmp_path / "persons.json"
    persons.write_text('[{"customId": "p-1001", "name": "Test"}]')

    async def scene():
        ahead = {"persons": str(persons), "utc_offset": 0.0, "clock_offset": 60.0}
        async with met("mqtt-face", **ahead) as (part, events, _, inlet):
            await until(lambda: any(e == "clock_set" for e, _ in events))
            await part.command("face", {"person": "p-1001"})
            await until(lambda: inlet.readings)
        assert inlet.readings[0].age < 5

    asyncio.run(scene())


@pytest.mark.parametrize("stored", [True, False])
def test_the_terminal_keeps_its_record_until_the_reading_is_stored(stored):
    async def scene():
        async with met("mqtt-face", Recorder() if stored else Stuck(), utc_offset=0.0) as (part, events, _, inlet):
            await until(lambda: any(e == "online_acked" for e, _ in events))
            await part.command("stranger", {})
            await until(lambda: inlet.readings)
            await asyncio.sleep(0.3)
            assert bool((await part.command("records", {}))["waiting"]) is not stored

    asyncio.run(scene())


@pytest.mark.parametrize("model", ["shelly-gen2", "tasmota"])
def test_the_leaf_of_a_door_is_followed(model):
    async def scene():
        async with met(model, open_after=0.1, close_after=0.3) as (_, _, driver, inlet):
            await until(lambda: inlet.doors)
            assert await driver.execute(order(seconds=1.0)) is Outcome.EXECUTED
            await until(lambda: [d.open for d in inlet.doors][-2:] == [True, False], 4.0)

    asyncio.run(scene())

"""Relays that speak in bare words and whose answers name no order, through a real mosquitto."""

import asyncio
import time
from dataclasses import replace

import pytest

from lintel.edge.errors import BadFrame
from lintel.edge.model import Action, Notice, Order, Outcome
from lintel.edge.profiles import builtin
from lintel.edge.profiles.mqtt_read import decode
from tests.brokers import site
from tests.edge.drivers.contract import Recorder, running, until

from .mqtt_rig import count, device, driver_for, notices, stage
from .test_mqtt_simulators import met

BOARD = "gate-relay"


def order(action=Action.OPEN, seconds=2.0, number=1):
    return Order(f"ord-{number}", "door", f"dev-{BOARD}", action, time.monotonic() + seconds)


# ---- words


@pytest.mark.parametrize("word", ["ON", "Online", "off", "overpower"])
def test_a_word_is_a_text_only_where_the_profile_says_so(word):
    assert decode(word.encode(), plain=True) == word
    with pytest.raises(BadFrame):
        decode(word.encode())


@pytest.mark.parametrize("data", [b"\x00", b"O\xc3\x96", b"a" * 65, b"{ON", b"ON\n"])
def test_what_is_no_word_stays_no_frame(data):
    if data == b"{ON":
        assert decode(data, plain=True) == "{ON"  # a text that no profile knows
        return
    with pytest.raises(BadFrame):
        decode(data, plain=True)


def test_numbers_and_truth_stay_what_they_are():
    assert decode(b"1", plain=True) == 1
    assert decode(b"true", plain=True) is True
    assert decode(b'{"POWER1":"ON"}', plain=True) == {"POWER1": "ON"}


# ---- orders whose answer names none


async def say(client, topic, payload, **more):
    await client.publish(topic, payload, qos=1, **more)


def test_a_bare_word_opens_and_the_state_that_follows_is_the_answer():
    async def scene():
        async with stage(device(BOARD, "esphome")) as (_, driver, inlet, client):
            await client.subscribe(f"{BOARD}/switch/lock/command", qos=1)
            await say(client, f"{BOARD}/status", "online")
            await until(lambda: inlet.ups)
            opening = asyncio.create_task(driver.execute(order()))
            assert (await anext(client.messages)).payload == b"ON"
            await say(client, f"{BOARD}/switch/lock/state", "OFF")  # that of a release: not ours
            await asyncio.sleep(0.1)
            assert not opening.done()
            await say(client, f"{BOARD}/switch/lock/state", "ON")
            assert await opening is Outcome.EXECUTED

    asyncio.run(scene())


def test_two_of_a_kind_are_not_under_way_together_and_a_release_is_not_held_up():
    async def scene():
        async with stage(device(BOARD, "esphome")) as (_, driver, inlet, client):
            await until(lambda: inlet.ups)
            opening = asyncio.create_task(driver.execute(order()))
            await asyncio.sleep(0.1)
            second = asyncio.create_task(driver.execute(order(number=2)))
            locking = asyncio.create_task(driver.execute(order(Action.RELEASE, number=3)))
            await asyncio.sleep(0.1)
            await say(client, f"{BOARD}/switch/lock/state", "OFF")
            assert await locking is Outcome.EXECUTED
            await say(client, f"{BOARD}/switch/lock/state", "ON")
            assert await opening is Outcome.EXECUTED
            assert not second.done()
            await asyncio.sleep(0.1)
            await say(client, f"{BOARD}/switch/lock/state", "ON")
            assert await second is Outcome.EXECUTED, "it has been sent when the first one was answered"

    asyncio.run(scene())


def test_a_lock_that_says_an_error_number_refuses():
    async def scene():
        async with stage(device("2BB28570", "nuki-mqtt")) as (_, driver, inlet, client):
            await client.subscribe("nuki/2BB28570/lockAction", qos=1)
            await until(lambda: inlet.ups)
            nuki = replace(order(), device="dev-2BB28570")
            opening = asyncio.create_task(driver.execute(nuki))
            assert (await anext(client.messages)).payload == b"3"
            await say(client, "nuki/2BB28570/commandResponse", "69")
            assert await opening is Outcome.REFUSED_BY_DEVICE

    asyncio.run(scene())


# ---- a door contact that the broker keeps


def _doors(*retained):
    """What the gateway believes of the contact when these (topic, word) were kept by the broker before it came."""

    async def scene():
        async with site() as place, place.client("board") as client:
            for topic, word in retained:
                await say(client, f"{BOARD}/{topic}", word, retain=True)
            driver, inlet = driver_for(place.port, device(BOARD, "esphome")), Recorder()
            async with running(driver, inlet):
                await until(lambda: inlet.ups)
                await asyncio.sleep(0.3)
                before = [d.open for d in inlet.doors]
                await say(client, f"{BOARD}/binary_sensor/door/state", "OFF", retain=True)
                await until(lambda: [d.open for d in inlet.doors][-1:] == [False])
            return before, notices(inlet)

    return asyncio.run(scene())


def test_a_kept_contact_is_the_present_state_of_a_board_that_is_there():
    before, told = _doors(("status", "online"), ("binary_sensor/door/state", "ON"))
    assert before == [True]
    assert (Notice.RETAINED_IGNORED, f"dev-{BOARD}") not in told


@pytest.mark.parametrize("life", [(("status", "offline"),), ()])
def test_a_kept_contact_of_a_board_that_is_away_says_nothing(life):
    before, _ = _doors(*life, ("binary_sensor/door/state", "ON"))
    assert True not in before


def test_a_kept_answer_is_no_answer_and_is_taken_from_the_broker():
    async def scene():
        async with site() as place, place.client("board") as client:
            await say(client, f"{BOARD}/switch/lock/state", "ON", retain=True)
            driver, inlet = driver_for(place.port, device(BOARD, "esphome")), Recorder()
            async with running(driver, inlet):
                await until(lambda: count(inlet, Notice.RETAINED_IGNORED))
                assert await driver.execute(order(seconds=0.5)) is Outcome.UNKNOWN_OUTCOME

    asyncio.run(scene())


# ---- the simulator, end to end


def test_a_tasmota_relay_opens_for_its_pulse_holds_and_releases():
    async def scene():
        async with met("tasmota", open_after=None) as (part, events, driver, inlet):
            await until(lambda: inlet.doors)
            assert inlet.doors[0].open is False
            assert await driver.execute(replace(order(), device="dev")) is Outcome.EXECUTED
            assert [f["seconds"] for e, f in events if e == "unlocked"] == [3.0]
            assert await driver.execute(replace(order(Action.HOLD), device="dev")) is Outcome.EXECUTED
            assert [f["seconds"] for e, f in events if e == "unlocked"] == [3.0, None]
            assert await driver.execute(replace(order(Action.RELEASE), device="dev")) is Outcome.EXECUTED
            assert not (await part.command("ledger", {}))["on"]

    asyncio.run(scene())


def test_of_two_orders_whose_answers_name_neither_the_second_waits_for_the_first():
    async def scene():
        async with met("tasmota", open_after=None) as (_, events, driver, inlet):
            await until(lambda: inlet.doors)
            both = [driver.execute(replace(order(), device="dev", id=name)) for name in ("ord-1", "ord-2")]
            assert await asyncio.gather(*both) == [Outcome.EXECUTED] * 2
            assert len([f for e, f in events if e == "unlocked"]) == 2

    asyncio.run(scene())


def test_and_it_is_not_sent_at_all_when_its_time_is_over_by_then():
    async def scene():
        async with met("tasmota", open_after=None) as (part, events, driver, inlet):
            await until(lambda: inlet.doors)
            await part.command("fault", {"ignore": -1})
            both = [driver.execute(replace(order(seconds=s), device="dev", id=str(s))) for s in (1.0, 0.3)]
            assert await asyncio.gather(*both) == [Outcome.UNKNOWN_OUTCOME, Outcome.NOT_SENT]
            assert [f for e, f in events if e == "unlocked"] == []

    asyncio.run(scene())


@pytest.mark.parametrize("fault", ["refuse", "drop_acks", "ignore"])
def test_a_tasmota_relay_that_does_not_answer_leaves_the_outcome_open_and_is_asked_once(fault):
    async def scene():
        async with met("tasmota", open_after=None) as (part, events, driver, inlet):
            await until(lambda: inlet.doors)
            await part.command("fault", {fault: -1})
            assert await driver.execute(replace(order(seconds=1.0), device="dev")) is Outcome.UNKNOWN_OUTCOME
            asked = [f for e, f in events if e == "unlocked"]
            assert len(asked) == (1 if fault == "drop_acks" else 0)

    asyncio.run(scene())


def test_a_tasmota_relay_that_is_stuck_is_not_said_to_have_opened():
    async def scene():
        async with met("tasmota", open_after=None) as (part, _, driver, inlet):
            await until(lambda: inlet.doors)
            await part.command("stick", {})
            assert await driver.execute(replace(order(seconds=1.0), device="dev")) is Outcome.UNKNOWN_OUTCOME

    asyncio.run(scene())


def test_the_last_will_of_a_tasmota_relay_is_a_loss():
    async def scene():
        async with met("tasmota") as (part, _, driver, inlet):
            await until(lambda: inlet.doors)
            await part.command("disconnect", {"will": True})
            await until(lambda: (Notice.COMMS_LOST, "dev") in notices(inlet))
            assert await driver.execute(replace(order(), device="dev")) is Outcome.NOT_SENT
            assert inlet.doors[-1].open is None

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["tasmota", "shelly-gen1", "esphome", "nuki-mqtt", "zigbee2mqtt-lock"])
def test_an_answer_without_an_id_belongs_to_one_device(name):
    spec = builtin()[name].spec
    assert spec.unconfirmed
    for command in spec.command.values():
        if command.answer is not None:
            assert command.answer.correlate is None
            assert all("{device}" in topic for topic in command.answer.topics)

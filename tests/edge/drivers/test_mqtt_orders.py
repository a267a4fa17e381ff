"""Terminals and relays over MQTT: lost and restored, and how an order ends."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import replace

from lintel.edge.model import Action, Notice, Outcome
from lintel.edge.profiles import builtin
from tests.brokers import publish, site
from tests.edge.drivers.contract import Recorder, running, until

from .mqtt_rig import A, B, device, driver_for, notices, open_order, stage

# ---- life of devices


def test_a_terminal_is_lost_and_restored_once_per_change():
    async def scene():
        def life(operator):
            return "mqtt/face/basic", {"operator": operator, "info": {"facesluiceId": A}}

        async with stage() as (_, driver, inlet, client):
            for operator in ("Online", "Online", "Offline", "Offline"):
                await publish(client, *life(operator))
            await until(lambda: (Notice.COMMS_LOST, f"dev-{A}") in notices(inlet))
            assert await driver.execute(open_order()) is Outcome.NOT_SENT
            await publish(client, "mqtt/face/heartbeat", {"operator": "HeartBeat", "info": {"facesluiceId": A}})
            await until(lambda: len(inlet.facts) == 2)
        assert [f.notice for f in inlet.facts] == [Notice.COMMS_LOST, Notice.COMMS_RESTORED], "a first hello is no news"

    asyncio.run(scene())


def test_three_missed_heartbeats_are_a_loss(monkeypatch):
    spec = replace(builtin()["mqtt-face"].spec, heartbeat_s=0.1)
    quick = replace(device(), profile=replace(builtin()["mqtt-face"], spec=spec))
    monkeypatch.setattr("lintel.edge.drivers.mqtt_devices.GRACE_S", 0.2)

    async def scene():
        async with stage(quick) as (_, _, inlet, _):
            await until(lambda: (Notice.COMMS_LOST, f"dev-{A}") in notices(inlet), 4.0)

    asyncio.run(scene())


def test_a_relay_with_a_door_contact():
    relay = device("shellyplus1-a8032abe54dc", "shelly-gen2")

    async def scene():
        async with site() as place, place.client("relay") as client:
            await client.subscribe(f"{relay.address}/rpc", qos=1)
            await publish(client, f"{relay.address}/online", True, retain=True)
            driver, inlet = driver_for(place.port, relay), Recorder()
            async with running(driver, inlet):
                asked = json.loads((await anext(client.messages)).payload)
                assert (asked["method"], asked["src"]) == ("Input.GetStatus", "lintel/gw1")
                answer = {
                    "id": asked["id"],
                    "src": relay.address,
                    "dst": "lintel/gw1",
                    "result": {"id": 0, "state": False},
                }
                await publish(client, "lintel/gw1/rpc", answer)
                notify = {
                    "src": relay.address,
                    "method": "NotifyStatus",
                    "params": {"input:0": {"id": 0, "state": True}},
                }
                await publish(client, f"{relay.address}/events/rpc", notify)
                await until(lambda: len(inlet.doors) == 2)
                order = replace(open_order(), device=relay.id, seconds=3.0)
                opening = asyncio.create_task(driver.execute(order))
                while (said := json.loads((await anext(client.messages)).payload))["method"] != "Switch.Set":
                    pass
                assert said["params"] == {"id": 0, "on": True, "toggle_after": 3}
                await publish(
                    client, "lintel/gw1/rpc", {"id": said["id"], "src": relay.address, "error": {"code": -105}}
                )
                assert await opening is Outcome.REFUSED_BY_DEVICE
                await publish(client, f"{relay.address}/online", False, retain=True)
                await until(lambda: len(inlet.doors) == 3)
        assert [d.open for d in inlet.doors] == [False, True, None]
        assert Notice.RETAINED_IGNORED not in [f.notice for f in inlet.facts]

    asyncio.run(scene())


# ---- orders


async def _unlocks(client, seconds):
    """What reaches the terminal within a time."""
    found = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for message in client.messages:
                found.append(json.loads(message.payload))
    return found


def _answer(said, result="ok", address=A):
    info = {"facesluiceId": address, "result": result}
    return {"messageId": said["messageId"], "operator": "Unlock-Ack", "code": "200", "info": info}


def test_orders_end_as_the_device_says():
    async def scene():
        async with stage() as (_, driver, _, client):
            await client.subscribe(f"mqtt/face/{A}")
            for result, outcome in (("ok", Outcome.EXECUTED), ("fail", Outcome.REFUSED_BY_DEVICE)):
                opening = asyncio.create_task(driver.execute(open_order()))
                said = json.loads((await anext(client.messages)).payload)
                assert said == {
                    "messageId": "ord-1", "operator": "Unlock",
                    "info": {"DeviceID": A, "Chn": 0, "status": 0, "msg": ""},
                }  # fmt: skip
                await publish(client, f"mqtt/face/{A}/Ack", _answer(said | {"messageId": "another"}))
                await publish(client, f"mqtt/face/{A}/Ack", _answer(said, address=B))
                await publish(client, f"mqtt/face/{A}/Ack", _answer(said, result))
                assert await opening is outcome

    asyncio.run(scene())


def test_no_answer_is_unknown_a_late_one_changes_nothing_and_nothing_is_sent_twice():
    async def scene():
        async with stage() as (place, driver, inlet, client):
            await client.subscribe(f"mqtt/face/{A}")
            assert await driver.execute(open_order(seconds=0.3)) is Outcome.UNKNOWN_OUTCOME
            said = json.loads((await anext(client.messages)).payload)
            await publish(client, f"mqtt/face/{A}/Ack", _answer(said))
            assert await driver.execute(open_order(seconds=-0.001)) is Outcome.ORDER_EXPIRED
            await place.stop()
            await place.start()
            await until(lambda: inlet.ups == 2, 5.0)
            async with place.client("terminal2") as terminal:
                await terminal.subscribe(f"mqtt/face/{A}", qos=1)
                assert await _unlocks(terminal, 0.5) == []
            assert not inlet.readings

    asyncio.run(scene())


def test_a_line_that_breaks_leaves_the_outcome_unknown_at_once():
    async def scene():
        async with stage() as (place, driver, _, _):
            opening = asyncio.create_task(driver.execute(open_order(seconds=5.0)))
            await asyncio.sleep(0.1)
            start = time.monotonic()
            await place.stop()
            assert await opening is Outcome.UNKNOWN_OUTCOME
            assert time.monotonic() - start < 1.5
            assert await driver.execute(open_order()) is Outcome.NOT_SENT

    asyncio.run(scene())


def test_a_device_that_never_answers_gets_its_order_once_and_its_door_may_be_shut():
    async def scene():
        async with stage(device("AABBCCDDEEFF", "luozhi")) as (_, driver, _, client):
            await client.subscribe("/hiot/AABBCCDDEEFF/request_setting")
            assert await driver.execute(open_order("AABBCCDDEEFF")) is Outcome.UNKNOWN_OUTCOME
            assert len(await _unlocks(client, 0.3)) == 1
            assert await driver.execute(replace(open_order("AABBCCDDEEFF"), action=Action.SHOW)) is (
                Outcome.REFUSED_BY_DEVICE
            )

    asyncio.run(scene())

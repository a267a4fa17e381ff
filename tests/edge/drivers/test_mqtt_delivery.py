"""How old a reading is that waited in the broker, and that it is acknowledged only when it is stored."""

import asyncio
import json
import math
import signal
import time

import pytest

from lintel.edge.drivers.mqtt_lag import FLUSH_S
from lintel.edge.errors import StoreError
from lintel.edge.model import Notice, Outcome
from tests.brokers import publish, site
from tests.edge.drivers.contract import Recorder, running, until

from .mqtt_rig import (
    A,
    B,
    Stuck,
    acks,
    count,
    device,
    driver_for,
    local,
    notices,
    num,
    open_order,
    qr,
    rec,
    rec_topic,
    stage,
)

# ---- age (B8)


def test_retained_messages_are_ignored_cleared_and_reported():
    async def scene():
        async with site() as place, place.client("device") as client:
            await publish(client, rec_topic(), rec(), retain=True)
            await publish(client, f"mqtt/face/{A}/QRCode", b"no JSON", retain=True)
            await publish(client, "mqtt/face/basic", {"operator": "Online", "info": {"facesluiceId": A}}, retain=True)
            driver, inlet = driver_for(place.port), Recorder()
            async with running(driver, inlet):
                await until(lambda: count(inlet, Notice.RETAINED_IGNORED) == 3)
                await asyncio.sleep(0.2)
                async with place.client("looker") as looker:
                    await looker.subscribe("mqtt/#", qos=1)
                    await asyncio.sleep(0.2)
                    assert len(looker.messages) == 0
            assert not inlet.readings
            assert (Notice.COMMS_RESTORED, f"dev-{A}") not in notices(inlet)

    asyncio.run(scene())


def test_what_waited_in_the_broker_is_backlog_unless_device_time_proves_it_young():
    async def scene():
        async with site() as place:
            driver, inlet = driver_for(place.port), Recorder()
            async with running(driver, inlet):
                pass
            async with place.client("device") as client:
                await publish(client, rec_topic(), rec("p-1", "1", time=local(-9)), qos=0)
                await publish(client, rec_topic(), rec("p-1", "2", time=None))
                await publish(client, rec_topic(), rec("p-1", "3", time=local(-30)))
                await publish(client, f"mqtt/face/{A}/QRCode", qr("CODE"))
                async with running(driver, inlet, ups=2):
                    await publish(client, rec_topic(), rec("p-1", "4", time=None))
                    await until(lambda: len(inlet.readings) == 5)
        ages = {num(r) or "qr": r.age for r in inlet.readings}
        assert 8 <= ages.pop("1") <= 11
        assert ages == {"2": math.inf, "3": math.inf, "qr": math.inf, "4": 0.0}

    asyncio.run(scene())


def yld(number, late=0.0, off=0.0):
    """What a YLD terminal says of a face that it saw `late` seconds ago by its clock, which is `off`."""
    seen = time.time() - late + off
    body = {"sn": "SN1", "per_id": "p-1", "matched": "91.2", "sec": int(seen), "usec": int(seen % 1 * 1e6)}
    return {"type": "face_result", "body": body | {"sequence": number}}


@pytest.mark.parametrize("off", [0.0, -3600.0, 3600.0])
def test_what_a_terminal_held_back_is_as_old_as_it_says_also_by_a_wrong_clock(off):
    """It lost its network, saw somebody, and 12.5 s later gets through: over the old connection, or over a new one."""

    async def scene():
        async with stage(device("SN1", "yld")) as (_, _, inlet, client):
            await publish(client, "face/response", yld(1, 0.0, off))
            await publish(client, "face/response", yld(2, 12.5, off))
            await publish(client, "online/response", {"cmd": "mqtt_online", "sn": "SN1", "result": "ok"})
            await publish(client, "face/response", yld(3, 12.5, off))
            await publish(client, "face/response", yld(4, 0.0, off))
            await until(lambda: len(inlet.readings) == 4)
        ages = [r.age for r in inlet.readings]
        assert ages[0] < 5
        assert ages[1] >= 12
        assert ages[2] >= 12
        assert ages[3] < 5

    asyncio.run(scene())


def test_what_comes_with_no_time_just_after_the_terminal_came_on_line_is_backlog():
    record = {"type": "identification_record", "data": {"mac_address": "M1", "person_uuid": "1", "recog_result": "1"}}

    async def scene():
        async with stage(device("M1", "luozhi")) as (_, _, inlet, client):
            await publish(client, "/hiot/record_message", record)
            await publish(client, "/hiot/connection", {"mac_address": "M1", "online": "1"})
            await publish(client, "/hiot/record_message", record)
            await until(lambda: len(inlet.readings) == 2)
            await asyncio.sleep(FLUSH_S)
            await publish(client, "/hiot/record_message", record)
            await until(lambda: len(inlet.readings) == 3)
        assert [r.age for r in inlet.readings] == [0.0, math.inf, 0.0]

    asyncio.run(scene())


def test_a_code_is_as_old_as_the_terminal_says_where_it_says():
    async def scene():
        async with stage() as (_, _, inlet, client):
            for said in ({"time": local(-600)}, {"time": local(-30)}, {"time": local(-9)}, {}, {"time": local()}):
                message = qr("CODE")
                await publish(client, f"mqtt/face/{A}/QRCode", message | {"info": message["info"] | said})
            await until(lambda: len(inlet.readings) == 5)
        ages = [r.age for r in inlet.readings]
        assert ages[:2] == [math.inf, math.inf]
        assert 8 <= ages[2] < 14
        assert ages[3] == 0.0
        assert ages[4] < 5

    asyncio.run(scene())


def test_a_stalled_connection_makes_its_readings_old():
    """The broker is frozen for three seconds: what comes out of it then is as old as the last barrier."""

    async def scene():
        async with stage() as (place, driver, inlet, client):
            process = place.broker.process
            process.send_signal(signal.SIGSTOP)
            client._client.publish(f"mqtt/face/{A}/QRCode", json.dumps(qr("CODE")), qos=0)
            await asyncio.sleep(3.0)
            assert await driver.execute(open_order()) is Outcome.NOT_SENT
            process.send_signal(signal.SIGCONT)
            await until(lambda: inlet.readings)
            assert inlet.readings[0].age >= 2.0 or inlet.ups > 1

    asyncio.run(scene())


def test_device_clock_off_is_said_once_per_change():
    async def scene():
        async with stage() as (_, _, inlet, client):
            for offset in (0, 6, 7, 0, -6):
                beat = {"operator": "HeartBeat", "info": {"facesluiceId": A, "time": local(offset)}}
                await publish(client, "mqtt/face/heartbeat", beat)
            await until(lambda: count(inlet, Notice.DEVICE_CLOCK_OFF) == 2)
            await asyncio.sleep(0.1)
        assert count(inlet, Notice.DEVICE_CLOCK_OFF) == 2

    asyncio.run(scene())


def test_gaps_and_resets_of_record_numbers_are_told():
    """Abuse case B14: a repeat, a gap, a replay, a factory reset, the wrap."""
    numbers = [(100, 0), (100, 0), (105, 1), (103, -5), (1, 2), (2**32 - 1, -9), (2, 3)]
    wrap = [(2**32 - 1, 0), (0, 1), (1, 2)]

    async def scene():
        async with stage(device(A), device(B)) as (_, _, inlet, client):
            for address, records in ((A, numbers), (B, wrap)):
                for number, later in records:
                    await publish(client, rec_topic(address), rec("p-1", str(number), address, time=local(later - 1)))
            await until(lambda: len(inlet.readings) == 10)
        told = [(f.notice, f.device, f.detail) for f in inlet.facts if f.notice.startswith("sequence")]
        assert told == [
            (Notice.SEQUENCE_GAP, f"dev-{A}", "100 to 105"),
            (Notice.SEQUENCE_RESET, f"dev-{A}", "105 to 1"),
        ]
        ids = [r.record for r in inlet.readings if r.device == f"dev-{A}"]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 6

    asyncio.run(scene())


def test_a_barrier_that_is_not_ours_proves_nothing():
    async def scene():
        async with site() as place, place.client("device") as client:
            driver, inlet = driver_for(place.port), Recorder()
            async with running(driver, inlet):
                pass
            for forged in (b"id0 1e300", b"id0 nan", b"\xff", b"", b"id5"):
                await publish(client, "lintel/gw/barrier", forged)
            await publish(client, rec_topic(), rec("p-1", "1", time=None))
            async with running(driver, inlet, ups=2):
                await until(lambda: inlet.readings)
        assert inlet.readings[0].age == math.inf

    asyncio.run(scene())


# ---- acknowledge after the commit


@pytest.mark.parametrize("auto", [False, True])
def test_the_broker_delivers_again_what_was_not_stored(auto, monkeypatch):
    """Control: with paho's own acknowledgement the reading is lost with the process that had taken it."""
    if auto:
        monkeypatch.setattr("paho.mqtt.client.Client.manual_ack_set", lambda self, on: None)

    async def scene():
        async with site() as place, place.client("device") as client:
            driver, inlet = driver_for(place.port), Stuck()
            async with running(driver, inlet):
                await publish(client, f"mqtt/face/{A}/QRCode", qr("CODE"), qos=0)
                await until(lambda: inlet.readings)
                await asyncio.sleep(0.1)
            again = Recorder()
            async with running(driver_for(place.port), again):
                await asyncio.sleep(0.3)
            assert [r.age for r in again.readings] == ([] if auto else [math.inf])

    asyncio.run(scene())


def test_a_failed_receipt_drops_the_line_and_the_reading_comes_back():
    async def scene():
        async with stage(inlet=(inlet := Recorder())) as (_, _, _, client):
            inlet.receipt_error = StoreError("disk_full", "no space")
            await publish(client, rec_topic(), rec("p-1", "5"))
            await until(lambda: len(inlet.readings) >= 2, 5.0)
            inlet.receipt_error = None
            await until(lambda: inlet.ups >= 2, 5.0)
            seen = len(inlet.readings)
            await publish(client, rec_topic(), rec("p-1", "6"))
            await until(lambda: len(inlet.readings) > seen)
        assert num(inlet.readings[-1]) == "6"

    asyncio.run(scene())


def test_what_names_no_record_gets_no_push_ack():
    bad = [b"{", json.dumps(rec(record=None)).encode(), json.dumps(rec(record=["1"])).encode()]

    async def scene():
        async with stage() as (_, _, inlet, client):
            await client.subscribe(f"mqtt/face/{A}")
            for payload in [*bad, json.dumps(rec("p-1", "9", similarity1="-1")).encode()]:
                await publish(client, rec_topic(), payload)
            await until(lambda: len(inlet.readings) == 4)
            (acked,) = await acks(client, 1)
            assert acked == {"PushAckType": 2, "SnapOrRecordID": "9"}, "malformed, but it is stored, and it has a name"
            assert len(client.messages) == 0

    asyncio.run(scene())


def test_the_terminal_gets_its_push_ack_only_after_the_receipt():
    class Slow(Recorder):
        async def present(self, reading):
            await super().present(reading)
            receipt = asyncio.get_running_loop().create_future()
            self.receipts.append(receipt)
            return receipt

        receipts: list = []  # noqa: RUF012

    async def scene():
        async with stage(inlet=(inlet := Slow())) as (_, _, _, client):
            await client.subscribe(f"mqtt/face/{A}")
            await publish(client, rec_topic(), rec("p-1", 12))
            await publish(
                client, f"mqtt/face/{A}/Snap", {"operator": "StrSnapPush", "info": {"SnapID": "41", "PushType": 0}}
            )
            await publish(
                client, "mqtt/face/basic", {"operator": "Online", "info": {"facesluiceId": A, "time": local()}}
            )
            said = [json.loads((await anext(client.messages)).payload)["operator"] for _ in range(3)]
            assert sorted(said) == ["Online-Ack", "SetSysTime", "SetSysTime"]  # when first heard, and when on line
            await asyncio.sleep(0.1)
            assert len(client.messages) == 0
            for receipt in inlet.receipts:
                receipt.set_result(None)
            assert await acks(client, 2) == [
                {"PushAckType": 2, "SnapOrRecordID": 12},
                {"PushAckType": 1, "SnapOrRecordID": "41"},
            ]

    asyncio.run(scene())


def test_readings_that_are_taken_at_once_and_those_that_wait_keep_their_order():
    """The door takes a reading at once while it has room; the others wait behind it, none overtakes."""

    class Prompt(Recorder):
        def offer(self, reading):
            if len(self.readings) % 3 == 2 or not self.gate.is_set():
                return None
            self.readings.append(reading)
            receipt = asyncio.get_running_loop().create_future()
            receipt.set_result(None)
            return receipt

    async def scene():
        async with stage(inlet=(inlet := Prompt())) as (_, _, _, client):
            await client.subscribe(f"mqtt/face/{A}")
            inlet.gate.clear()
            for number in range(4):
                await publish(client, rec_topic(), rec("p-1", number))
            inlet.gate.set()
            for number in range(4, 40):
                await publish(client, rec_topic(), rec("p-1", number))
            await until(lambda: len(inlet.readings) >= 40, 10.0)
            assert [num(r) for r in inlet.readings] == [str(n) for n in range(40)]
            assert [ack["SnapOrRecordID"] for ack in await acks(client, 40)] == list(range(40))

    asyncio.run(scene())


def test_a_reading_that_comes_while_the_session_ends_is_not_acknowledged_and_comes_again():
    class Ending:
        def create_task(self, work):
            raise RuntimeError("TaskGroup is shutting down")

    async def scene():
        async with stage(inlet=(inlet := Recorder())) as (_, driver, _, client):
            driver._session._tasks = Ending()
            await publish(client, rec_topic(), rec("p-1", "7"))
            await until(lambda: inlet.ups >= 2, 10.0)
            await until(lambda: [num(r) for r in inlet.readings] == ["7"], 10.0)

    asyncio.run(scene())

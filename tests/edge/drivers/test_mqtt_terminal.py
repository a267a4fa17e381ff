"""The MQTT driver against a real mosquitto and a plain client that plays the device."""

import asyncio
import json
import logging
import math
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import pytest

from lintel.edge import broker as brokers
from lintel.edge.drivers import mqtt_session
from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.mqtt_readings import NOBODY
from lintel.edge.drivers.mqtt_terminal import build
from lintel.edge.errors import ConfigError, Lost, Refused, StoreError
from lintel.edge.model import Action, Direction, Method, Notice, Order, Outcome, Reason
from lintel.edge.profiles import builtin
from tests.brokers import publish, site
from tests.edge.drivers.contract import DIGEST, DriverContract, Recorder, context, running, until

A, B = "1026700", "1026701"


def device(address: str = A, profile: str = "mqtt-face") -> Device:
    return Device(f"dev-{address}", address, f"door-{address}", Direction.IN, builtin()[profile])


def driver_for(port: int, *devices: Device, passwords=None, **options):
    line = Line("broker", "mqtt_terminal", {"port": port, "client_id": "gw", **options})
    return build(line, devices or [device()], replace(context(), gateway="gw1", passwords=passwords or {}))


def local(offset: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() + offset, UTC).strftime("%Y-%m-%d %H:%M:%S")


def rec(person="p-1", record="1", address=A, **info):
    fields = {
        "customId": person, "personId": "3", "RecordID": record, "VerifyStatus": "1", "PersonType": "0",
        "similarity1": "94.000000", "Sendintime": 1, "PushType": 0, "facesluiceId": address, "time": local(),
    }  # fmt: skip
    return {"operator": "RecPush", "info": {k: v for k, v in (fields | info).items() if v is not None}}


def qr(text, address=A):
    return {"operator": "QRCodePush", "info": {"facesluiceId": address, "QRCodeInfo": text}}


def num(reading):
    """The record's number; its time follows after a dash."""
    return reading.record.partition("-")[0]


def rec_topic(address=A):
    return f"mqtt/face/{address}/Rec"


def notices(inlet):
    return [(f.notice, f.device) for f in inlet.facts]


def count(inlet, notice):
    return sum(f.count for f in inlet.facts if f.notice is notice)


def open_order(address=A, seconds=2.0, **fields):
    return Order("ord-1", "door", f"dev-{address}", Action.OPEN, time.monotonic() + seconds, **fields)


@asynccontextmanager
async def stage(*devices, options=None, inlet=None):
    """A broker, a running driver and a device client."""
    async with site() as place:
        driver, inlet = driver_for(place.port, *devices, **(options or {})), inlet or Recorder()
        async with running(driver, inlet), place.client("device") as client:
            yield place, driver, inlet, client


# ---- the contract


class MqttRig:
    method = Method.QR
    device, door = f"dev-{A}", f"door-{A}"
    order = Order("o", door, device, Action.OPEN, 0.0)

    def __init__(self, place) -> None:
        self.place = place
        self.opened = 0
        self.client = None
        self._tasks = []

    async def plug(self) -> None:
        if self.place.broker is None:
            await self.place.start()
        self.client = self.place.client("terminal")
        await self.client.__aenter__()
        await self.client.subscribe(f"mqtt/face/{A}")
        self._tasks = [asyncio.create_task(self._obey(self.client))]

    async def unplug(self) -> None:
        if self.client is None:
            return
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        with suppress(aiomqtt.MqttError):
            await self.client.__aexit__(None, None, None)
        self.client = None
        await self.place.stop()

    async def _obey(self, client) -> None:
        with suppress(aiomqtt.MqttError):
            async for message in client.messages:
                said = json.loads(message.payload)
                if said["operator"] == "Unlock":
                    self.opened += 1
                    answer = {"messageId": said["messageId"], "operator": "Unlock-Ack", "code": "200"}
                    await publish(client, f"mqtt/face/{A}/Ack", answer | {"info": {"facesluiceId": A, "result": "ok"}})

    def build(self):
        return driver_for(self.place.port)

    def frame(self, text):
        return json.dumps(qr(text)).encode()

    async def write(self, data) -> None:
        await publish(self.client, f"mqtt/face/{A}/QRCode", data)

    trickle = write

    async def flood(self, seconds):
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            await self.client.publish(f"mqtt/face/{A}/QRCode", self.frame(f"F{sent}"), qos=0)
            sent += 1
        return sent

    async def ordered(self):
        return self.opened


class TestContract(DriverContract):
    flood_growth = 1_000_000  # one window of the broker: 1,000 messages that are handled but not yet acknowledged

    @asynccontextmanager
    async def rig(self):
        async with site() as place:
            rig = MqttRig(place)
            await rig.plug()
            try:
                yield rig
            finally:
                await rig.unplug()


# ---- what readings mean


def test_a_face_reading_carries_what_the_terminal_said():
    async def scene():
        async with stage() as (_, _, inlet, client):
            await publish(client, rec_topic(), rec("p-1", "7"))
            await until(lambda: inlet.readings)
        (reading,) = inlet.readings
        assert reading.method is Method.FACE
        assert reading.digest == DIGEST(Method.FACE, "p-1")
        assert (reading.score, reading.liveness, num(reading), reading.age) == (0.94, None, "7", 0.0)
        assert abs(reading.device_time - time.time()) < 3
        assert reading.detail == "verify=1 list=0 person=3"

    asyncio.run(scene())


def test_somebody_whom_only_the_terminal_knows_is_still_a_reading():
    async def scene():
        async with stage() as (_, _, inlet, client):
            await publish(client, rec_topic(), rec("", "8"))
            await until(lambda: inlet.readings)
        assert (inlet.readings[0].digest, inlet.readings[0].fault) == (NOBODY, None)

    asyncio.run(scene())


def test_a_visitor_pass_keeps_its_token_out_of_repr():
    async def scene():
        async with stage() as (_, _, inlet, client):
            await publish(client, f"mqtt/face/{A}/QRCode", qr("L1:TEST"))
            other = {"operator": "QRCodePush", "info": {"DeviceID": int(A), "QRcodeInfo": "L1:TEST"}}
            await publish(client, f"mqtt/face/{A}/QRCode", other)
            await until(lambda: len(inlet.readings) == 2)
        assert {r.digest for r in inlet.readings} == {DIGEST(Method.PASS, "L1:TEST")}
        assert {(r.method, r.token) for r in inlet.readings} == {(Method.PASS, "L1:TEST")}
        assert "L1:TEST" not in repr(inlet.readings)

    asyncio.run(scene())


HOSTILE = {  # abuse case A15: what a terminal may claim, and what becomes of it
    "good score": (b'"94.000000"', 0.94, None),
    "percent as a number": (b"94", 0.94, None),
    "low score": (b'"61.0"', 0.61, None),
    "missing": (b"null", None, None),
    "negative": (b"-1", None, Reason.BAD_FORMAT),
    "negative text": (b'"-1"', None, Reason.BAD_FORMAT),
    "over 100": (b'"100.01"', None, Reason.BAD_FORMAT),
    "NaN": (b"NaN", None, Reason.BAD_FORMAT),
    "NaN text": (b'"NaN"', None, Reason.BAD_FORMAT),
    "1e309": (b"1e309", None, Reason.BAD_FORMAT),
    "infinite text": (b'"inf"', None, Reason.BAD_FORMAT),
    "underscores": (b'"9_4"', None, Reason.BAD_FORMAT),
    "a list": (b"[94]", None, Reason.BAD_FORMAT),
    "truth": (b"true", None, Reason.BAD_FORMAT),
    "a hundred thousand digits": (b"9" * 100_000, None, Reason.BAD_FORMAT),
}


def test_hostile_scores_never_become_a_number():
    async def scene():
        async with stage(options={"burst": 100}) as (_, _, inlet, client):
            for score, _, _ in HOSTILE.values():
                payload = json.dumps(rec(similarity1="SCORE")).encode().replace(b'"SCORE"', score)
                await publish(client, rec_topic(), payload)
            await until(lambda: len(inlet.readings) == len(HOSTILE))
        for reading, (name, (_, want, fault)) in zip(inlet.readings, HOSTILE.items(), strict=True):
            assert (reading.score, reading.fault) == (want, fault), name
            assert reading.fault is None or reading.digest == b"", name

    asyncio.run(scene())


def test_history_is_never_live():
    async def scene():
        late = [{"Sendintime": 0}, {"PushType": 2}, {"time": local(-60)}, {"time": local(60)}, {"Sendintime": None}]
        fine = [{"time": local(-8)}, {"time": local(12)}, {"time": None}, {"time": "yesterday"}, {"Sendintime": "1"}]
        async with stage() as (_, _, inlet, client):
            for number, info in enumerate(late + fine):
                await publish(client, rec_topic(), rec("p-1", str(number), **info))
            await until(lambda: len(inlet.readings) == len(late + fine))
        assert [r.age for r in inlet.readings] == [math.inf] * len(late) + [0.0] * len(fine)

    asyncio.run(scene())


# ---- identity (B7)


def test_only_the_same_topic_payload_and_configured_identity_is_a_reading():
    """Six devices, every topic with every id in the payload, without any rule in the broker."""
    ids = [f"T{n}" for n in range(6)]

    async def scene():
        async with stage(*[device(i) for i in ids], options={"burst": 1000}) as (_, _, inlet, client):
            for topic_id in ids:
                for said in ids:
                    await publish(client, rec_topic(topic_id), rec(f"p-{topic_id}-{said}", f"{said}", said))
            for odd in (
                "mqtt/face/t0/Rec",
                "mqtt/face//T0/Rec",
                "mqtt/face/T0/Rec/",
                "/mqtt/face/T0/Rec",
                "mqtt/face/T9/Rec",
            ):
                await publish(client, odd, rec("p-odd", "99", "T0"))
            await publish(client, rec_topic("T0"), rec("p-other", "98", {"not": "an id"}))
            await publish(client, rec_topic("T0"), rec("p-last", "100", "T0"))
            await until(lambda: any(num(r) == "100" for r in inlet.readings), 10.0)
        good = {DIGEST(Method.FACE, f"p-{i}-{i}") for i in ids} | {DIGEST(Method.FACE, "p-last")}
        assert {r.digest for r in inlet.readings} == good
        assert len(inlet.readings) == 7
        mismatches = {f.device for f in inlet.facts if f.notice is Notice.IDENTITY_MISMATCH}
        assert mismatches == {f"dev-{i}" for i in ids}

    asyncio.run(scene())


def test_a_stranger_on_a_shared_topic_is_a_mismatch_and_nobody_else_suffers():
    async def scene():
        async with stage(device("SN1", "yld"), device("SN2", "yld")) as (_, _, inlet, client):
            event = {"type": "face_result", "body": {"sn": "SN9", "per_id": "1", "sec": 1, "usec": 0, "sequence": 1}}
            await publish(client, "face/response", event)
            event["body"] |= {"sn": "SN2", "sequence": 17, "matched": "91.2"}
            await publish(client, "face.response", event)
            await until(lambda: inlet.readings)
        assert [(r.device, num(r), r.score) for r in inlet.readings] == [("dev-SN2", "17", 0.912)]
        assert (Notice.IDENTITY_MISMATCH, "") in notices(inlet)

    asyncio.run(scene())


# ---- age (B8)


def test_retained_messages_are_ignored_cleared_and_reported():
    async def scene():
        async with site() as place, place.client("device") as client:
            await publish(client, rec_topic(), rec(), retain=True)
            await publish(client, "mqtt/face/basic", {"operator": "Online", "info": {"facesluiceId": A}}, retain=True)
            driver, inlet = driver_for(place.port), Recorder()
            async with running(driver, inlet):
                await until(lambda: count(inlet, Notice.RETAINED_IGNORED) == 2)
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


# ---- acknowledge after the commit


class Stuck(Recorder):
    """A gateway that dies between taking a reading and storing it."""

    async def present(self, reading):
        await super().present(reading)
        return asyncio.get_running_loop().create_future()


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
            first = json.loads((await anext(client.messages)).payload)
            assert first["operator"] == "Online-Ack"
            await asyncio.sleep(0.1)
            assert len(client.messages) == 0
            for receipt in inlet.receipts:
                receipt.set_result(None)
            acks = [json.loads((await anext(client.messages)).payload)["info"] for _ in range(2)]
            assert acks == [
                {"PushAckType": 2, "SnapOrRecordID": 12},
                {"PushAckType": 1, "SnapOrRecordID": "41"},
            ]

    asyncio.run(scene())


# ---- floods (B11)


FLOOD = """
import json, sys, time
import paho.mqtt.client as mqtt
port, topic, size, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="flooder")
client.connect("127.0.0.1", port)
sent, end = 0, time.monotonic() + seconds
info = {"customId": "p-1", "facesluiceId": topic.split("/")[2], "pic": "A" * size}
while time.monotonic() < end:
    for _ in range(10):
        payload = json.dumps({"operator": "RecPush", "info": info | {"RecordID": str(sent)}})
        client.publish(topic, payload, qos=0)
        sent += 1
    client.loop(0.001)
print(sent)
"""


@pytest.mark.parametrize("size", [10, 60_000])
def test_a_flood_is_folded_and_the_quiet_neighbour_gets_through(size):
    async def scene():
        async with stage(device(A), device(B)) as (place, _, inlet, quiet):
            flooder = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FLOOD, str(place.port), rec_topic(A), str(size), "2.5",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            await until(lambda: inlet.readings, 10.0)
            delays = []
            for number in range(10):
                start = time.monotonic()
                await publish(quiet, rec_topic(B), rec("p-2", f"q{number}", B))
                await until(lambda n=number: any(num(r) == f"q{n}" for r in inlet.readings))
                delays.append(time.monotonic() - start)
                await asyncio.sleep(0.1)
            sent = int((await flooder.communicate())[0])
            await until(lambda: (Notice.FLOOD, f"dev-{A}") in notices(inlet))
            loud = [r for r in inlet.readings if r.device == f"dev-{A}"]
            assert sent > 1000
            assert 0 < len(loud) <= 100 + 20 * 5
            assert sorted(delays)[5] < 0.1
            assert sum(1 for f in inlet.facts if f.notice is Notice.FLOOD) <= 4

    asyncio.run(scene())


def test_a_device_that_was_not_listened_to_is_heard_again(monkeypatch):
    monkeypatch.setattr(mqtt_session, "MUTE_S", 0.5)

    async def scene():
        async with stage(options={"rate": 1.0, "burst": 1}) as (_, _, inlet, client):
            for number in range(300):
                await publish(client, rec_topic(), rec("p-1", str(number)), qos=0)
            await until(lambda: any("not listened" in f.detail for f in inlet.facts))
            before = len(inlet.readings)
            await asyncio.sleep(0.2)
            for number in range(2):
                await asyncio.sleep(1.5)
                await publish(client, rec_topic(), rec("p-1", f"after{number}"))
            await until(lambda: len(inlet.readings) > before)

    asyncio.run(scene())


def test_a_long_backlog_is_no_flood():
    async def scene():
        async with site() as place:
            driver, inlet = driver_for(place.port, burst=5), Recorder()
            async with running(driver, inlet):
                pass
            async with place.client("device") as client:
                for number in range(150):  # the last with QoS 1: what is still in a TCP buffer has not arrived
                    await publish(client, rec_topic(), rec("p-1", str(number), time=None), qos=int(number == 149))
                async with running(driver, inlet, ups=2):
                    await until(lambda: len(inlet.readings) == 150)
        assert {r.age for r in inlet.readings} == {math.inf}
        assert [num(r) for r in inlet.readings] == [str(n) for n in range(150)]
        assert Notice.FLOOD not in [f.notice for f in inlet.facts]

    asyncio.run(scene())


def test_a_mistake_of_ours_costs_one_message_and_not_the_line(monkeypatch, caplog):
    def broken(*_):
        raise KeyError("CANARY")

    async def scene():
        async with stage() as (_, _, inlet, client):
            with monkeypatch.context() as patch:
                patch.setattr(mqtt_session, "read", broken)
                await publish(client, rec_topic(), rec("p-1", "1"))
                await until(lambda: Notice.FRAME_ERROR in [f.notice for f in inlet.facts])
            await publish(client, rec_topic(), rec("p-1", "2"))
            await until(lambda: inlet.readings)
        assert ([num(r) for r in inlet.readings], inlet.ups) == (["2"], 1)

    asyncio.run(scene())
    assert "CANARY" not in caplog.text


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
            await until(lambda: len(inlet.facts) == 3)
        assert [f.notice for f in inlet.facts] == [
            Notice.COMMS_RESTORED, Notice.COMMS_LOST, Notice.COMMS_RESTORED,
        ]  # fmt: skip

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


def test_a_profile_without_answer_counts_the_brokers():
    async def scene():
        async with stage(device("AABBCCDDEEFF", "luozhi")) as (_, driver, _, client):
            await client.subscribe("/hiot/AABBCCDDEEFF/request_setting")
            assert await driver.execute(open_order("AABBCCDDEEFF")) is Outcome.EXECUTED
            assert len(await _unlocks(client, 0.3)) == 1
            assert await driver.execute(replace(open_order("AABBCCDDEEFF"), action=Action.SHOW)) is (
                Outcome.REFUSED_BY_DEVICE
            )

    asyncio.run(scene())


# ---- the line


def test_a_stopped_broker_is_lost_and_a_frozen_one_too(monkeypatch):
    monkeypatch.setattr(mqtt_session, "SILENT_S", 0.5)

    async def scene():
        async with site() as place:
            for freeze in (False, True):
                inlet = Recorder()
                task = asyncio.create_task(driver_for(place.port).run(inlet))
                await until(lambda i=inlet: i.ups)
                start = time.monotonic()
                if freeze:
                    place.broker.process.send_signal(signal.SIGSTOP)
                else:
                    await place.stop()
                with pytest.raises(Lost):
                    await asyncio.wait_for(task, 8.0)
                assert time.monotonic() - start < (5.0 if freeze else 1.0)
                if freeze:
                    place.broker.process.send_signal(signal.SIGCONT)
                else:
                    with pytest.raises(Lost):
                        await driver_for(place.port).run(inlet)
                    await place.start()

    asyncio.run(scene())


def test_accounts_are_kept_and_refusals_are_told_apart():
    spec = builtin()["mqtt-face"].spec
    terminal = brokers.device_account(spec, A, "gw1", "t-secret")
    gateway = brokers.gateway_account([terminal], "g-secret")

    async def scene():
        async with site((terminal, gateway)) as place:
            good = {"username": gateway.name, "passwords": {"broker": "g-secret"}}
            inlet = Recorder()
            for wrong in ({"username": gateway.name, "passwords": {"broker": "other"}}, {}):
                with pytest.raises(Refused) as refused:
                    await driver_for(place.port, **wrong).run(inlet)
                assert "other" not in str(refused.value)
            async with running(driver_for(place.port, **good), inlet), place.client(A, password="t-secret") as client:
                await publish(client, rec_topic(A), rec())
                await until(lambda: inlet.readings)

    asyncio.run(scene())


DYNAMIC = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


def test_a_declined_subscription_is_a_refusal(monkeypatch, tmp_path):
    """Rules of mosquitto's own plugin: the acl_file of the shipped configuration filters, but never declines."""
    rules = {"defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}}
    (tmp_path / "rules.json").write_text(json.dumps(rules | {"clients": [], "groups": [], "roles": []}))
    plugin = f"plugin {DYNAMIC}\nplugin_opt_config_file {tmp_path / 'rules.json'}\n"
    monkeypatch.setattr(brokers, "_SETTINGS", brokers._SETTINGS + plugin)

    async def scene():
        async with site() as place:
            with pytest.raises(Refused, match="declines"):
                await driver_for(place.port).run(Recorder())

    asyncio.run(scene())


def test_a_broker_that_keeps_our_barrier_from_us_is_a_refusal(monkeypatch):
    monkeypatch.setattr(mqtt_session, "DEAF_S", 0.5)

    async def scene():
        async with site((brokers.Account("lintel", "g", writes=("x",)),)) as place:
            with pytest.raises(Refused, match="check its ACL"):
                async with asyncio.timeout(5):
                    await driver_for(place.port, username="lintel", passwords={"broker": "g"}).run(Recorder())

    asyncio.run(scene())


def test_wrong_lines_are_refused_with_all_mistakes():
    with pytest.raises(ConfigError, match=r"port.*\n.*surprise"):
        driver_for(99_999, surprise=1)
    with pytest.raises(ConfigError, match="2 mistakes"):
        driver_for(1883, device("a/b"), device("#"))
    with pytest.raises(ConfigError, match="has the same"):
        driver_for(1883, device("T1"), replace(device("T1"), id="other"))


def test_no_password_in_logs_or_repr(caplog):
    caplog.set_level(logging.DEBUG)

    async def scene():
        async with site((brokers.Account("lintel", "CANARY"),)) as place:
            with pytest.raises(Refused):
                await driver_for(place.port, username="lintel", passwords={"broker": "CANARY2"}).run(Recorder())
        assert "CANARY" not in repr(brokers.Account("lintel", "CANARY"))

    asyncio.run(scene())
    assert "CANARY" not in caplog.text

"""The MQTT driver against a real mosquitto: the contract of drivers, what readings mean, whose they are."""

import asyncio
import json
import math
import time
from contextlib import asynccontextmanager, suppress

import aiomqtt
import pytest

from lintel.edge.drivers.mqtt_readings import NOBODY
from lintel.edge.model import Action, Method, Notice, Order, Reason
from tests.brokers import publish, site
from tests.edge.drivers.contract import DIGEST, ReaderContract, until

from .mqtt_rig import A, device, driver_for, local, notices, num, qr, rec, rec_topic, stage

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


class TestContract(ReaderContract):
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
        assert (reading.score, reading.liveness, num(reading)) == (0.94, None, "7")
        assert reading.age < 5
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
        fine = [{"time": None}, {"time": "yesterday"}, {"Sendintime": "1"}, {"time": local(-8)}, {"time": local(12)}]
        async with stage() as (_, _, inlet, client):
            for number, info in enumerate(late + fine):
                await publish(client, rec_topic(), rec("p-1", str(number), **info))
            await until(lambda: len(inlet.readings) == len(late + fine))
        ages = [r.age for r in inlet.readings]
        assert ages[: len(late)] == [math.inf] * len(late)
        assert ages[len(late) :] == [pytest.approx(age, abs=5) for age in (0, 0, 0, 8, 0)]

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

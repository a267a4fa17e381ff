"""A running MQTT driver on a real mosquitto, and a plain client that says what the devices say."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.mqtt_terminal import build
from lintel.edge.model import Action, Direction, Order
from lintel.edge.profiles import builtin
from tests.brokers import site
from tests.edge.drivers.contract import Recorder, context, running

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


async def acks(client, count):
    """The next acknowledgements of records that a terminal gets, among whatever else it is told."""
    found = []
    while len(found) < count:
        said = json.loads((await anext(client.messages)).payload)
        found += [said["info"]] if said["operator"] == "PushAck" else []
    return found


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


class Stuck(Recorder):
    """A gateway that dies between taking a reading and storing it."""

    async def present(self, reading):
        await super().present(reading)
        return asyncio.get_running_loop().create_future()

"""The load of `lintel bench entry`: terminals that recognise people, in a process of their own.

Open loop: send times are planned ahead and latency counts from the planned time, else a stall would hide itself. One
client publishes recognitions, another receives the orders (and answers them as a terminal does); both with TCP_NODELAY.
"""

import asyncio
import contextlib
import itertools
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiomqtt

from lintel.bench.site import DOORS, person

NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
FLOOR_TOPIC = "bench/floor"


@dataclass(slots=True)
class Load:
    """Both clients, and what they saw. Times are monotonic seconds."""

    out: aiomqtt.Client
    back: aiomqtt.Client
    credentials: int
    records: dict[int, Iterator[int]] = field(
        default_factory=lambda: {n: itertools.count(int(time.time())) for n in range(DOORS)}
    )
    order_doors: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in range(DOORS)})
    floors: list[float] = field(default_factory=list)
    acked: set[tuple[int, int]] = field(default_factory=set)
    rng: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  the order of persons

    async def receive(self) -> None:
        """Note orders and floor messages as they come; answer each order at once."""
        async for message in self.back.messages:
            now = time.monotonic()
            topic = message.topic.value
            assert isinstance(message.payload, bytes)  # noqa: S101  nothing else comes over the wire
            if topic == FLOOR_TOPIC:
                self.floors.append((now - float(message.payload)) * 1000)
                continue
            command = json.loads(message.payload)
            device = int(topic.rpartition("/")[2])
            if command["operator"] == "Unlock":
                self.order_doors[device - 1000].append(now)
                answer = {"messageId": command["messageId"], "operator": "Unlock-Ack", "code": "200",
                          "info": {"facesluiceId": str(device), "result": "ok"}}  # fmt: skip
                await self.back.publish(f"mqtt/face/{device}/Ack", json.dumps(answer))
            elif command["operator"] == "PushAck":
                self.acked.add((device, int(command["info"]["SnapOrRecordID"])))

    def recognition(self, device: int, who: str) -> tuple[str, str, tuple[int, int]]:
        """Topic, payload and (device, record) of one recognition."""
        record = next(self.records[device - 1000])
        info = {
            "customId": who, "personId": "3", "RecordID": str(record), "VerifyStatus": "1", "PersonType": "0",
            "similarity1": "94.000000", "Sendintime": 1, "facesluiceId": str(device), "PushType": 0,
            "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), "isNoMask": "1",
        }  # fmt: skip
        return f"mqtt/face/{device}/Rec", json.dumps({"operator": "RecPush", "info": info}), (device, record)

    async def enter(self, rate: float, seconds: float, *, known: bool = True) -> dict[str, Any]:
        """Recognise persons at `rate` per second, door after door; ms from planned time to order received.

        `known` False: nobody is on the list, so that no door opens and the readings alone are measured.
        """
        planned: dict[int, list[float]] = {n: [] for n in range(DOORS)}
        before = {n: len(self.order_doors[n]) for n in range(DOORS)}
        records = []
        start = time.monotonic() + 0.1
        count = int(rate * seconds)
        for n in range(count):
            due = start + n / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            door = n % DOORS
            who = person(self.rng.randrange(self.credentials // 10) * 10) if known else f"nobody_{n}"
            topic, payload, record = self.recognition(1000 + door, who)
            planned[door].append(due)
            records.append(record)
            # QoS 0 as terminals send; the broker raises it towards the gateway
            await self.out.publish(topic, payload, qos=0)
        await self._settled(records)
        took = time.monotonic() - start
        times = []
        for door in range(DOORS):
            got = self.order_doors[door][before[door] :]
            times += [(b - a) * 1000 for a, b in zip(planned[door], got, strict=False)]
        lost = sum(r not in self.acked for r in records)
        times.sort()
        return {"sent": count, "orders": len(times), "unacknowledged": lost, "took_s": took, "times": times}

    async def floor(self, rate: float, seconds: float) -> list[float]:
        """The bare broker: one client publishes a message as a terminal does, the other gets it as the gateway does.

        So it has the size of a reading, and its quality of service: 0 to the broker, 1 from it.
        """
        self.floors.clear()
        start = time.monotonic() + 0.1
        for n in range(int(rate * seconds)):
            due = start + n / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await self.out.publish(FLOOR_TOPIC, f"{time.monotonic()!r}".ljust(300), qos=0)
        await asyncio.sleep(0.5)
        return sorted(self.floors)

    async def _settled(self, records: list[tuple[int, int]]) -> None:
        """Wait until everything is acknowledged, or nothing has come for 3 s."""
        seen, quiet = -1, 0.0
        while quiet < 3.0:
            now = sum(r in self.acked for r in records)
            if now == len(records):
                return
            quiet = quiet + 0.02 if now == seen else 0.0
            seen = now
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def connected(port: int, credentials: int) -> AsyncIterator[Load]:
    """Both clients connected and listening."""
    async with (
        aiomqtt.Client("127.0.0.1", port, identifier="bench-out", socket_options=NODELAY) as out,
        aiomqtt.Client("127.0.0.1", port, identifier="bench-back", socket_options=NODELAY) as back,
    ):
        for n in range(DOORS):
            await back.subscribe(f"mqtt/face/{1000 + n}", 0)
        await back.subscribe(FLOOR_TOPIC, 1)
        load = Load(out, back, credentials)
        receiving = asyncio.create_task(load.receive())
        try:
            yield load
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

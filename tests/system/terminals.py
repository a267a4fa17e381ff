"""Raw MQTT players with their own ledger: face terminals that publish with QoS 1 and send again what is not answered.

They share no code with the driver. What they saw survives every kill of the daemon.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import time

import aiomqtt

LIMIT = 30.0
"""Seconds that anything may take on a busy machine."""
NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


class Terminals:
    """`ids` of the terminals. `sent` and `acked` are records (PushAck seen), `unlocks` the orders by terminal.

    `repush`: seconds after which a record without PushAck is sent again, and again; None: only when the test says so.
    """

    def __init__(self, port, ids, *, repush=None):
        self.port, self.ids, self.repush = port, list(ids), repush
        self.numbers = {i: itertools.count(1) for i in self.ids}
        self.sent, self.acked, self.tried = {}, set(), {}
        self.unlocks = {i: [] for i in self.ids}
        self.connections = 0

    async def __aenter__(self):
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._working = [self._tasks.create_task(self._receive())]
        if self.repush is not None:
            self._working.append(self._tasks.create_task(self._push_again()))
        await self.online(1)
        return self

    async def __aexit__(self, *exc):
        for task in self._working:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def online(self, times):
        """Wait until they have connected for that many times since the start."""
        async with asyncio.timeout(LIMIT):
            while self.connections < times:
                await asyncio.sleep(0.01)

    async def _receive(self):
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "127.0.0.1", self.port, identifier="player", socket_options=NODELAY
                ) as self.client:
                    self.client.pending_calls_threshold = 100_000
                    for i in self.ids:
                        await self.client.subscribe(f"mqtt/face/{i}", 0)
                    self.connections += 1
                    async for message in self.client.messages:
                        await self._commanded(message.topic.value.rpartition("/")[2], json.loads(message.payload))
            await asyncio.sleep(0.1)

    async def _commanded(self, who, command):
        if command["operator"] == "Unlock":
            self.unlocks[who].append(time.monotonic())
            answer = {"messageId": command["messageId"], "operator": "Unlock-Ack", "code": "200",
                      "info": {"facesluiceId": who, "result": "ok"}}  # fmt: skip
            await self.client.publish(f"mqtt/face/{who}/Ack", json.dumps(answer))
        elif command["operator"] == "PushAck":
            self.acked.add((who, int(command["info"]["SnapOrRecordID"])))

    def record(self, who, person, *, at=None, **info):
        """(topic, payload) of a new record."""
        number = next(self.numbers[who])
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
        body = {
            "customId": person, "personId": "3", "RecordID": str(number), "VerifyStatus": "1", "PersonType": "0",
            "similarity1": "94.000000", "Sendintime": 1, "facesluiceId": who, "PushType": 0, "time": stamp, **info,
        }  # fmt: skip
        found = (f"mqtt/face/{who}/Rec", json.dumps({"operator": "RecPush", "info": body}))
        self.sent[who, number] = found
        self.tried[who, number] = time.monotonic()
        return found

    async def recognise(self, who, person, *, qos=1, retain=False, **options):
        """Publish a recognition; with QoS 1 the broker has it when this returns."""
        topic, payload = self.record(who, person, **options)
        await self.client.publish(topic, payload, qos=qos, retain=retain)

    async def again(self, keys):
        """Send records again, as a terminal does until it is told PushAck."""
        for key in keys:
            self.tried[key] = time.monotonic()
            await self.client.publish(*self.sent[key], qos=1)

    async def _push_again(self):
        while True:
            await asyncio.sleep(self.repush / 4)
            before = time.monotonic() - self.repush
            with contextlib.suppress(aiomqtt.MqttError):
                await self.again([k for k in self.sent if k not in self.acked and self.tried[k] < before])

    async def settled(self, limit=LIMIT):
        """Wait until every record is acknowledged; those that are not."""
        end = time.monotonic() + limit
        while self.sent.keys() - self.acked and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return self.sent.keys() - self.acked


def record_of(event):
    """(record number) of a journal line: the driver may add the time to make it unique."""
    return int(event.record.partition("-")[0])


async def publish(players, topic, payload, **options):
    await players.client.publish(topic, payload, qos=1, **options)

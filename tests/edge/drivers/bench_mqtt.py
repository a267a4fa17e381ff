"""What a reading costs and how many fit over one connection. Not a test: run it, read the numbers.

python -m tests.edge.drivers.bench_mqtt
"""

import asyncio
import json
import multiprocessing
import socket
import time

import aiomqtt
import paho.mqtt.client as mqtt

from lintel.edge import broker as brokers
from tests.brokers import publish, site
from tests.edge.drivers.contract import Recorder, running
from tests.edge.drivers.mqtt_rig import device, driver_for, rec, rec_topic

DEVICES = [f"T{n:03}" for n in range(200)]


class Group(Recorder):
    """A gateway that stores in groups: receipts are done 20 ms later."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    async def present(self, reading):
        self.at[reading.record] = time.monotonic()
        receipt = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, receipt.set_result, None)
        return receipt


def send(port, rate, seconds, size):
    """Another process plays 200 terminals at `rate` readings a second together."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="terminals")
    client.connect("127.0.0.1", port)
    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start, number = time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        while number < (now - start) * rate:
            name = DEVICES[number % len(DEVICES)]
            payload = json.dumps(rec("p-1", f"{number} {time.monotonic()}", name, pic="A" * size))
            client.publish(rec_topic(name), payload, qos=0)
            number += 1
        client.loop(0.001)
    client.disconnect()
    client.loop(0.1)


async def load(rate, seconds, size):
    """Readings per second over one connection, and how long each was on its way from the terminal to `present`."""
    async with site() as place:
        inlet = Group()
        async with running(driver_for(place.port, *[device(name) for name in DEVICES]), inlet):
            process = multiprocessing.get_context("spawn").Process(target=send, args=(place.port, rate, seconds, size))
            cpu = time.process_time()
            process.start()
            while process.is_alive():
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            busy = time.process_time() - cpu
        n, took = len(inlet.at), max(inlet.at.values()) - min(inlet.at.values())
        delays = sorted(at - float(record.split()[1].partition("-")[0]) for record, at in inlet.at.items())
        print(
            f"{size:6} B picture, {rate}/s asked: {n} readings, {n / took:.0f}/s, {1000 * busy / n:.3f} ms of CPU each "
            f"(socket, PUBACK, PushAck included), terminal to present p50 {1000 * delays[n // 2]:.1f} ms, "
            f"p99 {1000 * delays[n * 99 // 100]:.1f} ms"
        )


async def handling(size):
    """The driver's own part: from a message to the reading in its lane, without socket and paho."""
    async with site() as place:
        driver = driver_for(place.port, device(), rate=1e5, burst=100_000)
        async with running(driver, Recorder()):
            payload = json.dumps(rec("p-1", "7", pic="A" * size)).encode()
            message = aiomqtt.Message(rec_topic(), payload, 0, False, 0, None)
            costs = []
            for _ in range(3000):
                start = time.perf_counter()
                driver._session._handle(message, None)
                costs.append(time.perf_counter() - start)
                await asyncio.sleep(0)
        costs.sort()
        print(f"{size:7} B picture: p50 {1000 * costs[1500]:.3f} ms, p99 {1000 * costs[2970]:.3f} ms per reading")


async def round_trip(nodelay):
    """QoS 1 publish until it comes back to a subscriber, with and without TCP_NODELAY on both ends."""
    async with site() as place:
        if not nodelay:
            kept = brokers._SETTINGS
            await place.stop()
            brokers._SETTINGS = kept.replace("set_tcp_nodelay true", "set_tcp_nodelay false")
            await place.start()
            brokers._SETTINGS = kept
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)] if nodelay else []
        async with place.client("a", socket_options=options) as a, place.client("b", socket_options=options) as b:
            await b.subscribe("x", qos=1)
            times = []
            for _ in range(100):
                start = time.perf_counter()
                await publish(a, "x", 1)
                await anext(b.messages)
                times.append(time.perf_counter() - start)
        times.sort()
        print(
            f"TCP_NODELAY {nodelay!s:5}: QoS 1 round trip p50 {1000 * times[50]:.1f} ms, p99 {1000 * times[99]:.1f} ms"
        )


async def main():
    for nodelay in (True, False):
        await round_trip(nodelay)
    for size in (0, 100_000, 1_000_000):
        await handling(size)
    for rate, size in ((1000, 0), (1000, 10_000), (3000, 0)):
        await load(rate, 6, size)


if __name__ == "__main__":
    asyncio.run(main())

"""Rows B9 and E15: a war over our client id, ten thousand flaps of a line. No order, no spin, no flood of alarms."""

import asyncio
import random
import statistics
import time
from contextlib import asynccontextmanager, suppress

import aiomqtt

from lintel.edge import broker as brokers
from lintel.edge import supervisor
from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.mqtt_terminal import build
from lintel.edge.errors import Lost
from lintel.edge.model import Direction, Notice, Stream
from lintel.edge.profiles import builtin
from lintel.edge.supervisor import Keeper, State
from tests.brokers import publish, site
from tests.edge.drivers.contract import until
from tests.edge.drivers.mqtt_rig import A, qr
from tests.edge.rig import run

from .stage import LIMIT, at_work, context, decided, gate, told

SPEC = builtin()["mqtt-face"].spec
DEVICE = Device("term", A, "gate", Direction.IN, builtin()["mqtt-face"])


def driver(rig, port, **options):
    line = Line("broker", "mqtt_terminal", {"port": port, "client_id": "gw", **options})
    return build(line, [DEVICE], context(rig, broker="g-secret"))


# ---- B9


@asynccontextmanager
async def rival(place, **options):
    """A second client with our id that comes back whenever it is thrown out. Gives the times it had the connection."""
    had = []

    async def fight():
        while True:
            with suppress(aiomqtt.MqttError):
                async with place.client(identifier="gw", **options) as client:
                    had.append(time.monotonic())
                    async for _ in client.messages:
                        pass
            await asyncio.sleep(0.02)

    task = asyncio.create_task(fight())
    try:
        yield had
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def opened(rig, person, door):
    """Present a code, and the seconds until the lock had its order."""
    start, before = time.monotonic(), len(rig.lock.orders)
    await rig.gate.present(rig.reading(person, door=door))
    await until(lambda: len(rig.lock.orders) > before, LIMIT)
    return time.monotonic() - start


def test_b9_a_war_over_our_client_id_costs_little_and_is_told(tmp_path):
    """On a broker without accounts, where it is possible at all. The other door decides meanwhile."""

    async def main():
        async with gate(tmp_path) as rig, site() as place:
            await rig.allow("alice")
            async with at_work(rig, driver(rig, place.port), limit=0.5) as keeper:
                start, busy = time.monotonic(), time.process_time()
                waited = []
                async with rival(place) as had:
                    while time.monotonic() < start + 5 or len(had) < 8:  # as often as the alarm needs, and more
                        waited.append(await opened(rig, "alice", "back"))
                        await asyncio.sleep(0.1)
                busy, took = time.process_time() - busy, time.monotonic() - start
                await until(lambda: keeper.state is State.UP, LIMIT)
                print(f"{len(had)} blows in {took:.1f} s, {busy / took:.0%} busy, {statistics.median(waited):.3f} s")
                assert len(had) < took / 0.25 + 6, "it is not fought at full speed"
                assert busy < 0.25 * took, "test, rival and gateway together"
                assert statistics.median(waited) < 0.1, "decisions from other devices go on"
                (event,) = await told(rig, Notice.TAKEOVER)
                assert (event.count, "'gw'" in event.detail) == (6, True)
                alarms = [e.reason for e in rig.events(Stream.ALARM)]
                assert alarms.count("comms_lost") <= 5 + took / 10 + 1, "folded"
                before = len(rig.lock.orders)
                async with place.client("device") as client:
                    async with asyncio.timeout(LIMIT):
                        while len(rig.lock.orders) == before:  # the rival's last blow may still be on its way
                            await publish(client, f"mqtt/face/{A}/QRCode", qr("alice"))
                            await asyncio.sleep(0.2)

    asyncio.run(main())


ACCOUNTS = (
    terminal := brokers.device_account(SPEC, A, "gw1", "t-secret"),
    brokers.gateway_account([terminal], "g-secret"),
)


def test_b9_with_accounts_nobody_can_take_our_client_id(tmp_path):
    async def main():
        async with gate(tmp_path) as rig, site(ACCOUNTS) as place:
            await rig.allow("alice")
            async with at_work(rig, driver(rig, place.port, username="lintel")) as keeper:
                async with place.client(A, password="t-secret", identifier="gw") as client:
                    await publish(client, f"mqtt/face/{A}/QRCode", qr("alice"))
                    assert [e.reason for e in await decided(rig, 1)] == ["granted"]
                    await asyncio.sleep(1.5)  # the barrier makes its round: the line lives
                assert (keeper.state, keeper.attempts) == (State.UP, 0)
                assert "comms_lost" not in [e.reason for e in rig.events(Stream.ALARM)]

    asyncio.run(main())


def test_b9_control_where_the_id_is_free_a_device_throws_the_gateway_out(tmp_path, monkeypatch):
    real = brokers.mosquitto_conf

    def weak(*args, **options):
        files = real(*args, **options)
        files["mosquitto.conf"] = files["mosquitto.conf"].replace("use_username_as_clientid true\n", "")
        return files

    monkeypatch.setattr(brokers, "mosquitto_conf", weak)

    async def main():
        async with gate(tmp_path) as rig, site(ACCOUNTS) as place:
            line = at_work(rig, driver(rig, place.port, username="lintel"))
            async with line, place.client(A, password="t-secret", identifier="gw"):
                await told(rig, Notice.COMMS_LOST)

    asyncio.run(main())


# ---- E15

FLAPS = 10_000


def flapping(rig, flaps, seed=0):
    """The real keeper on a line that breaks as soon as it is up, in simulated time; how long that took, in seconds."""
    now, rng, waits = [1000.0], random.Random(seed), []
    left = iter(range(flaps))

    async def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds
        if len(waits) % 100 == 0:
            await asyncio.sleep(0)

    keeper = Keeper("gate-port", rig.gate.ledger.report, 0.5, sleep, rng.random, lambda: now[0])

    async def line():
        if next(left, None) is None:
            raise asyncio.CancelledError
        keeper.up()
        now[0] += rng.expovariate(2.0)
        raise Lost("loose contact")

    async def main():
        with suppress(asyncio.CancelledError):
            await keeper.keep(line)
        return waits, now[0] - 1000.0

    return main()


def test_e15_ten_thousand_flaps_open_nothing_and_are_folded(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        waits, took = await flapping(rig, FLAPS)
        await rig.flush()
        assert rig.lock.orders == []
        assert rig.decisions() == []
        assert len(waits) == FLAPS
        assert max(waits) <= 0.5
        assert sum(waits) / FLAPS > 0.25, "a flapping line is not tried at full speed"
        lost = [e for e in rig.events(Stream.ALARM) if e.reason == "comms_lost"]
        restored = [e for e in rig.events(Stream.ALARM) if e.reason == "comms_restored"]
        assert len(lost) <= took / 10 + 6
        assert len(restored) == len(lost)
        assert FLAPS - 50 <= sum(e.count for e in lost) <= FLAPS, "and none of them is forgotten"
        assert await rig.present("alice") == "granted"
        assert len(rig.lock.orders) == 1

    run(body, tmp_path)


def test_e15_control_without_the_fold_every_flap_is_two_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "BURST", 1e9)
    monkeypatch.setattr(supervisor, "FOLD_S", 1e-9)

    async def body(rig):
        await flapping(rig, 200)
        await rig.flush()
        assert len(rig.events(Stream.ALARM)) == 399, "it ends lost"

    run(body, tmp_path)


def test_e15_a_flap_of_the_real_line_creates_no_order(tmp_path):
    """The broker goes and comes six times."""

    async def main():
        async with gate(tmp_path) as rig, site() as place:
            await rig.allow("alice")
            async with at_work(rig, driver(rig, place.port)) as keeper:
                for n in range(1, 7):
                    async with place.client("device") as client:
                        await publish(client, f"mqtt/face/{A}/QRCode", qr("alice"))
                    assert [e.reason for e in await decided(rig, n)] == ["granted"] * n
                    await place.stop()
                    await until(lambda: keeper.state is State.LOST, LIMIT)
                    await place.start()
                    await until(lambda: keeper.state is State.UP, LIMIT)
                    await rig.flush()
                    assert len(rig.lock.orders) == n

    asyncio.run(main())

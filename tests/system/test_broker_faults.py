"""Rows B8 and B10: the broker restarts, freezes, loses its store; messages that are old when they come open nothing."""

import asyncio
import os
import signal
import time

import paho.mqtt.client as paho

from .invariants import finish, vitals
from .people import RELAY, SITE
from .site import LIMIT, Site, run
from .terminals import Terminals, publish, record_of

NOISE = 2.0
"""Seconds of scheduling noise on a busy machine, on top of the figure."""
FAST = "rate = 100000.0\nburst = 100000"


def stored(site):
    return [("1001" if e.door == "gate" else "1002", record_of(e)) for e in site.decisions()]


def test_b10_the_broker_restarts_and_readings_flow_again():
    async def body(site):
        before = vitals(site.pid)
        assert await site.face("res0") == "granted"
        await site.broker.stop()
        await site.event(reason="comms_lost", detail="broker")
        assert await site.resident() == "granted", "the serial line is another line; the lock is behind the broker"
        assert (await site.event(type="door.order"))["result"] == "not_sent"
        orders = len(await site.orders("gate"))
        site.devices.events.clear()
        await asyncio.sleep(2.0)
        await site.broker.start()
        start = time.monotonic()
        await site.event(reason="comms_restored", detail="broker")
        took = time.monotonic() - start
        print(f"back after {took:.2f} s")
        assert took <= 5.0 + NOISE
        await site.devices.event("connected", LIMIT, id=RELAY)
        await site.devices.event("connected", LIMIT, id="1001")
        await asyncio.sleep(0.5)
        assert len(await site.orders("gate")) == orders, "the order of before is void"
        assert await site.face("res1") == "granted"
        await site.ordered("gate", orders + 1)
        await finish(site, before)

    run(body)


def test_b10_a_frozen_broker_passes_nothing_on_late():
    async def body(site):
        assert await site.face("res0") == "granted"
        await site.ordered("gate", 1)
        await asyncio.sleep(0.3)
        process = site.broker.broker.process
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(3.0)  # the next barrier is overdue
            site.presented += 1
            await site.devices.command("face", id="1002", person="res1")
            assert await site.resident() == "granted"
            assert (await site.event(type="door.order"))["result"] == "not_sent"
            await asyncio.sleep(9.0)
        finally:
            process.send_signal(signal.SIGCONT)
        assert await site.decision("back") == "stale_reading", "it was 9 s and more in the broker's hands"
        await site.seen(reason="comms_restored", detail="broker")
        await asyncio.sleep(1.5)
        assert (len(await site.orders("gate")), len(await site.orders("back"))) == (1, 0)
        await finish(site)

    run(body, doors={"back": "max_age = 8.0"})


def test_b10_the_brokers_store_is_deleted_and_everything_acknowledged_before_is_in_the_journal():
    async def main():
        async with Site(devices=False, line=FAST) as site, Terminals(site.broker.port, ["1001", "1002"]) as players:
            for n in range(60):
                await players.recognise(("1001", "1002")[n % 2], f"res{n % 6}")
            process = site.broker.broker.process
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            acked = set(players.acked)
            await site.broker.stop()
            for path in site.broker.folder.glob("*.db*"):
                path.unlink()
            await site.broker.start()
            await players.online(2)
            await site.event(reason="comms_restored", detail="broker")
            await players.again(players.sent.keys() - players.acked)
            assert not await players.settled()
            assert await site.stop() == 0
            found = stored(site)
            assert acked <= set(found)
            assert sorted(found) == sorted(players.sent), "each once"

    asyncio.run(main())


def test_b8_what_the_broker_held_while_the_daemon_was_down_opens_nothing():
    async def main():
        async with Site(devices=False, line=FAST) as site, Terminals(site.broker.port, ["1001", "1002"]) as players:
            await players.recognise("1001", "res0")
            assert await site.decision("gate") == "granted"
            assert await site.stop() == 0
            held = time.time()
            for _ in range(3):
                await players.recognise("1001", "res1", at=held - 20)  # was there 20 s ago, and says so
            for _ in range(3):
                topic, payload = players.record("1002", "res2")
                await publish(players, topic, payload.replace('"time"', '"when"'))  # does not say when it was
            await asyncio.sleep(2.5)
            await site.start()
            assert not await players.settled(), "they are acknowledged all the same"
            assert await site.stop() == 0
            assert [e.reason for e in site.decisions()] == ["granted"] + ["stale_reading"] * 6
            assert [len(players.unlocks[i]) for i in ("1001", "1002")] == [1, 0]
            assert sorted(stored(site)) == sorted(players.sent)

    asyncio.run(main())


def test_b8_control_the_same_messages_open_when_they_are_fresh():
    async def main():
        async with Site(devices=False, line=FAST) as site, Terminals(site.broker.port, ["1001", "1002"]) as players:
            topic, payload = players.record("1002", "res2")
            await publish(players, topic, payload.replace('"time"', '"when"'))
            assert await site.decision("back") == "granted"
            await site.kill()

    asyncio.run(main())


def test_b8_a_retained_recognition_of_before_the_start_is_ignored_and_deleted():
    async def leave(site):
        """Somebody left a recognition at the broker: the gateway has never been there yet."""
        async with Terminals(site.broker.port, ["1001"]) as players:
            await players.recognise("1001", "res0", retain=True)

    async def main():
        async with Site(devices=False, before=leave) as site, Terminals(site.broker.port, ["1001"]) as players:
            await site.seen(reason="retained_ignored")
            await asyncio.sleep(1.0)
            await site.stop()
            await asyncio.to_thread(forget_session, site)
            await site.start()
            await asyncio.sleep(1.0)
            await site.stop()
            assert players.unlocks["1001"] == []
            assert site.decisions() == []
            ignored = [e for e in site.journal() if e.reason == "retained_ignored"]
            assert len(ignored) == 1, "it was deleted at the broker, so it did not come again"

    asyncio.run(main())


def forget_session(site):
    """A broker that has forgotten our session gives a new subscriber every retained message."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"lintel-{SITE:08x}-broker", clean_session=True)
    client.connect("127.0.0.1", site.broker.port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    client.disconnect()
    client.loop_stop()


def test_b8_control_the_same_recognition_not_retained_opens():
    async def main():
        async with Site(devices=False) as site, Terminals(site.broker.port, ["1001"]) as players:
            await players.recognise("1001", "res0")
            assert await site.decision("gate") == "granted"
            await site.kill()

    asyncio.run(main())

"""Row B11: one terminal floods the line while another door is used; the other door must not notice."""

import asyncio
import statistics
import time

from .invariants import finish, vitals
from .site import run
from .terminals import Terminals

RATE, SECONDS = 2000, 5.0
BAR = 0.1
"""P3: what a decision at another door may take during a flood (s)."""


async def probe(site, until):
    """Residents at the other door, ten a second: how long each waited until it was told `granted` (s)."""
    times = []
    while not until(len(times)):
        start = time.monotonic()
        assert await site.resident("back") == "granted"
        times.append(time.monotonic() - start)
        await asyncio.sleep(max(0.0, start + 0.1 - time.monotonic()))
    return sorted(times)


def test_b11_a_flood_at_one_door_leaves_the_other_alone():
    """The same probe before the flood is the measure of the machine."""

    async def body(site):
        quiet = await probe(site, lambda done: done == 20)
        before = vitals(site.pid)
        async with Terminals(site.broker.port, ["1001"]) as players:

            async def flood():
                start = time.monotonic()
                sent = 0
                while (now := time.monotonic()) - start < SECONDS:
                    while sent < RATE * (now - start):
                        topic, payload = players.record("1001", "res0")
                        await players.client.publish(topic, payload, qos=0)
                        sent += 1
                    await asyncio.sleep(0.01)
                return sent

            flooding = asyncio.create_task(flood())
            times = await probe(site, lambda _: flooding.done())
            sent = await flooding
        assert len(times) >= SECONDS, "the probe went on during the flood"
        bar = max(BAR, 10 * statistics.median(quiet))
        typical, slow = statistics.median(times), statistics.quantiles(times, n=20, method="inclusive")[-1]
        print(f"p50 {typical * 1000:.1f} ms, p95 {slow * 1000:.1f} ms, bar {bar * 1000:.1f} ms")
        print(f"quiet p50 {statistics.median(quiet) * 1000:.1f} ms; {len(times)} probes during the flood")
        assert typical <= bar / 2
        assert slow <= bar, "two in fifty may have met the machine's own pauses"
        flood_notice = await site.seen(reason="flood")
        assert flood_notice["device"] == "gate-face"
        await asyncio.sleep(1.0)
        decisions = await finish(site, before, presentations=-1)
        back = [e for e in decisions if e.door == "back"]
        assert len(back) == len(quiet) + len(times)
        gate = [e for e in decisions if e.door == "gate"]
        assert len(gate) < sent / 2, "most of the flood was dropped and counted, not written down"
        folded = sum(e["count"] for e in site.feed if e.get("reason") == "flood")
        print(f"{sent} messages: {len(gate)} decided, {folded} counted as flood")

    run(body)


def test_b11_control_without_the_bucket_the_flood_is_all_written_down():
    async def body(site):
        async with Terminals(site.broker.port, ["1001"]) as players:
            for _ in range(300):
                topic, payload = players.record("1001", "res0")
                await players.client.publish(topic, payload, qos=1)
            assert not await players.settled()
        assert not [e for e in site.feed if e.get("reason") == "flood"]
        await site.stop()
        assert len([e for e in site.decisions() if e.door == "gate"]) == 300

    run(body, line="rate = 100000.0\nburst = 100000", devices=False)

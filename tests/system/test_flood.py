"""Row B11: one terminal floods the line while another door is used; the other door must not notice."""

import asyncio
import time

from .invariants import finish, vitals
from .site import run
from .terminals import Terminals

RATE, SECONDS = 2000, 5.0


def test_b11_a_flood_at_one_door_leaves_the_other_alone():
    async def body(site):
        for _ in range(3):
            assert await site.resident("back") == "granted"
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
            times, words = [], []
            while not flooding.done():
                start = time.monotonic()
                words.append(await site.resident("back"))
                times.append((time.monotonic() - start) * 1000)
                await asyncio.sleep(max(0.0, start + 0.1 - time.monotonic()))
            sent = await flooding
        times.sort()
        print(f"{sent} messages; {len(words)} probes, p50 {times[len(times) // 2]:.1f} ms, max {times[-1]:.1f} ms")
        assert set(words) == {"granted"}
        assert len(words) >= SECONDS * 3, "the probe went on during the flood"
        flood_notice = await site.seen(reason="flood")
        assert flood_notice["device"] == "gate-face"
        await asyncio.sleep(1.0)
        decisions = await finish(site, before, presentations=-1)
        back = [e for e in decisions if e.door == "back"]
        assert len(back) == len(words) + 3
        gate = [e for e in decisions if e.door == "gate"]
        assert len(gate) < sent / 2, "most of the flood was dropped and counted, not written down"
        folded = sum(e["count"] for e in site.feed if e.get("reason") == "flood")
        print(f"{len(gate)} of the flood decided, {folded} counted as flood")

    run(body)


def test_b11_control_without_the_bucket_the_flood_is_all_written_down():
    async def body(site):
        async with Terminals(site.broker.port, ["1001"]) as players:
            for _ in range(300):
                topic, payload = players.record("1001", "res0")
                await players.client.publish(topic, payload, qos=1)
            await asyncio.sleep(2.0)
        assert not [e for e in site.feed if e.get("reason") == "flood"]
        await site.stop()
        assert len([e for e in site.decisions() if e.door == "gate"]) == 300

    run(body, line="rate = 100000.0\nburst = 100000", devices=False)

"""Row A14: a duress credential can not be told from a normal one at the door; the alarm is silent."""

import asyncio
import math
import random
import statistics
import time
from dataclasses import replace

import pytest

from lintel.edge.model import Action, Method, Notice, Reason, Stream
from tests.edge.rig import run

EACH = 1000
ATTEMPTS = 3
"""One without a difference is enough: what the program makes is there each time, what the machine makes is not."""


def ranks_differ(first, second):
    """The two-sided p of the Mann-Whitney test (normal approximation): are these two samples of one distribution?"""
    both = sorted([(v, 0) for v in first] + [(v, 1) for v in second])
    total = sum(rank for rank, (_, which) in enumerate(both, 1) if which == 0)
    n, m = len(first), len(second)
    z = (total - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


async def presented(rig, who):
    """Seconds until the order reached the lock, and until the reading was acknowledged."""
    at = {}

    async def moved(order):
        at["order"] = time.perf_counter()

    rig.lock.before = moved
    begun = time.perf_counter()
    receipt = await rig.gate.present(rig.reading(who, record=f"r{rig.count}"))
    receipt.add_done_callback(lambda _: at.setdefault("ack", time.perf_counter()))
    await rig.gate.drain(5)
    return begun, at, receipt


async def timed(rig, rounds, *, wait):
    """Both kinds in random order: times to the order and to the acknowledgement, by kind."""
    kinds = ["alice", "mallory"] * rounds
    random.shuffle(kinds)
    kept = []
    for who in kinds:
        kept.append((who, *await presented(rig, who)))
        if wait:
            await kept[-1][3]
    await asyncio.gather(*(receipt for *_, receipt in kept))
    await asyncio.sleep(0)
    return {
        what: [[at[what] - begun for w, begun, at, _ in kept if w == who] for who in ("alice", "mallory")]
        for what in ("order", "ack")
    }


async def two(rig):
    await rig.allow("alice")
    await rig.allow("mallory", seq=2, duress=True)


def test_a14_a_thousand_of_each_can_not_be_told_apart_by_their_timing(tmp_path):
    async def body(rig):
        await two(rig)
        await timed(rig, 50, wait=False)  # warm
        for attempt in range(ATTEMPTS):  # chance alone fails p > 0.01 once in a hundred
            normal, duress = (await timed(rig, EACH, wait=False))["order"]
            apart = abs(statistics.median(normal) - statistics.median(duress))
            p = ranks_differ(normal, duress)
            print(f"order: medians {apart * 1e6:.1f} us apart, p = {p:.3f} (attempt {attempt})")
            if apart < 0.001 and p > 0.01:
                break
        else:
            pytest.fail("the orders can be told apart")

    run(body, tmp_path)


def test_a14_the_device_is_answered_at_the_same_moment(tmp_path):
    async def body(rig):
        await two(rig)
        await timed(rig, 1, wait=True)
        for attempt in range(ATTEMPTS):
            normal, duress = (await timed(rig, 3, wait=True))["ack"]
            apart = abs(statistics.median(normal) - statistics.median(duress))
            took = statistics.median(normal)
            print(f"acknowledgement: medians {apart * 1e3:.2f} ms apart, {took * 1e3:.2f} ms (attempt {attempt})")
            if apart < 0.02:
                break
        else:
            pytest.fail("an acknowledgement waits for the commit: half a second when nothing else happens")

    run(body, tmp_path)


def test_a14_control_a_millisecond_of_extra_work_is_seen(tmp_path):
    async def body(rig):
        await two(rig)
        real = rig.gate.witness.find

        def slow(reading, door, now):
            found = real(reading, door, now)
            if found.facts.credential.duress:
                time.sleep(0.0005)
            return found

        rig.gate.witness = type("Slow", (), {"find": staticmethod(slow)})
        seen = [(await timed(rig, EACH // 4, wait=False))["order"] for _ in range(ATTEMPTS)]
        assert max(ranks_differ(*both) for both in seen) < 0.01, "in each attempt"

    run(body, tmp_path)


def test_a14_orders_rows_counters_and_what_is_seen_on_the_box_are_equal(tmp_path):
    async def body(rig):
        await two(rig)
        feed = asyncio.Queue()
        rig.gate.ledger.watchers.add(feed)
        seen = {}
        for who in ("alice", "mallory"):
            rig.health.counters.clear()
            assert await rig.present(who) == "granted"
            await rig.flush()
            events = [feed.get_nowait() for _ in range(feed.qsize())]
            # what the two have in common is all but who they are
            shown = [replace(e, id="", person="", credential="", ts=0) for e in events]
            seen[who] = (shown, rig.health.prometheus({}), dict(rig.health.standing))
        assert seen["alice"] == seen["mallory"]
        first, second = (replace(o, id="", deadline=0.0) for o in rig.lock.orders)
        assert first == second
        assert first.action is Action.OPEN
        (alarm,) = rig.events(Stream.ALARM)
        assert alarm.reason == Notice.DURESS
        assert alarm.detail == rig.decisions()[1].id

    run(body, tmp_path)


@pytest.mark.parametrize("method", [Method.QR, Method.PIN, Method.CARD])
def test_a14_duress_at_a_closed_door_is_refused_like_the_normal_one_and_told(tmp_path, method):
    async def body(rig):
        puts = [rig.credential("alice", method), rig.credential("mallory", method, duress=True)]
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=rig.time.wall)
        await rig.store.allowlist.set_lockdown({"public"}, True)
        words = [await rig.present(who, method=method) for who in ("alice", "mallory")]
        assert words == [Reason.LOCKDOWN] * 2
        assert [e.reason for e in rig.events(Stream.ALARM)] == [Notice.DURESS]
        assert rig.lock.orders == []

    run(body, tmp_path)

"""R2, E8: SIGKILL at any moment while readings flow with QoS 1. What was acknowledged is stored, once; uses hold."""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from lintel.edge.store.reading import reading

from .people import person
from .site import Site
from .terminals import Terminals, record_of

ONCE = [person(f"once{n:03}", use_limit=1) for n in range(400)]
"""People who may pass once, at the door `back`."""


async def traffic(players, rng, once, enough):
    """About 50 presentations a second at `gate`; at `back` 12 people with one use, each presented twice."""
    while not enough.is_set():
        for _ in range(4):
            await players.recognise("1001", f"res{rng.randrange(6)}")
        if once:
            who = once.pop()
            for _ in range(2):
                await players.recognise("1002", who)
        await asyncio.sleep(0.08)


def uses(state):
    """How many uses are counted, for all people together: straight from the table."""
    with reading(state) as database:
        return database.reader.execute("SELECT coalesce(sum(uses), 0) FROM use_count").fetchone()[0]


async def campaign(site, kills, rng, *, again=True):
    """Kill and start again; returns (lost records, records stored twice, decisions, orders at back).

    Lost is what was sent and is not stored; without `again`, what was acknowledged and is not stored.
    """
    once = [p.id for p in site.people if p.id.startswith("once")]
    async with Terminals(site.broker.port, ["1001", "1002"], repush=2.0 if again else None) as players:
        enough = asyncio.Event()
        sender = asyncio.create_task(traffic(players, rng, once, enough))
        slowest = 0.0
        for n in range(kills):
            if n % 2:  # the others die while they connect, on a slow machine all of those
                await site.up(lines=["broker"])
            await asyncio.sleep(rng.uniform(0.05, 0.5))
            await site.kill()
            if n % 10 == 9:  # also while it starts
                with contextlib.suppress(AssertionError, TimeoutError):
                    await asyncio.wait_for(site.start(up=False), rng.uniform(0.1, 0.6))
                await site.kill()
            await site.start(up=False)
            slowest = max(slowest, site.started_in)
        await asyncio.sleep(0.5)
        enough.set()
        await sender
        await site.up(lines=["broker"])
        left = await players.settled(3.0)  # what the broker still holds comes by itself
        if again:  # an answer that died with the daemon: a terminal sends the record again
            await players.again(left)
            assert not await players.settled()
        assert await site.stop() == 0
        print(f"{kills} kills, {len(players.sent)} readings, {len(left)} without an answer, start <= {slowest:.2f} s")
        decisions = site.decisions()
        stored = Counter((("1001" if e.door == "gate" else "1002"), record_of(e)) for e in decisions)
        lost = [key for key in (players.sent if again else players.acked) if key not in stored]
        return lost, [key for key, n in stored.items() if n > 1], decisions, players.unlocks["1002"]


def run(kills, seed, *, again=True, **options):
    print("seed", seed)

    async def main():
        async with Site(people=ONCE, devices=False, line="rate = 100000.0\nburst = 100000", **options) as site:
            found = await campaign(site, kills, random.Random(seed), again=again)
            return (*found, uses(site.state))

    return asyncio.run(main())


def check(kills, seed):
    lost, twice, decisions, orders, used = run(kills, seed)
    assert lost == []
    assert twice == []
    once = Counter(e.person for e in decisions if e.door == "back" and e.result == "open")
    assert set(once.values()) == {1}, "one use is one grant, whenever the power went"
    assert len(once) == used >= len(orders) > 0
    assert {e.reason for e in decisions} <= {"granted", "already_used", "stale_reading"}


@pytest.mark.timeout(180)
def test_r2_twenty_five_kills_lose_nothing_and_double_nothing():
    check(25, random.randrange(1 << 32))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_r2_three_hundred_kills_lose_nothing_and_double_nothing():
    check(300, random.randrange(1 << 32))


def test_r2_control_acknowledging_before_the_commit_loses_readings():
    lost, *_ = run(6, 7, again=False, main=(str(Path(__file__).with_name("hasty.py")),))
    assert lost

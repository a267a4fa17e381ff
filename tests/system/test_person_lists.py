"""Person lists of a whole gateway process: power cuts in the middle, and a community of full size."""

import asyncio
import time

import pytest

from .lists import run

PEOPLE = [f"p-{n:04d}" for n in range(500)]


def test_500_persons_on_4_terminals_converge_over_power_cuts_and_nobody_is_left_behind():
    """SIGKILL twice in the middle of sending, once in the middle of deleting; a terminal is reset meanwhile."""

    async def body(site):
        answer = await site.fill(PEOPLE)
        assert (answer["put"], answer["photos"], answer["mistakes"]) == (500, 500, [])
        for cut in (100, 300):
            await site.start()
            while sum(await site.counts()) < 4 * cut:
                await asyncio.sleep(0.02)
            await site.kill()
            assert sum(await site.counts()) < 4 * 500, "in the middle"
        await site.sims[0].command("factory_default", id=site.ids[1])
        await site.start()
        await site.converged(500, 60)
        for i in site.ids:
            assert sorted(await site.held(i)) == PEOPLE
        answer = await site.fill(PEOPLE[:100], photos=False)
        assert answer["deleted"] == 400
        while sum(await site.counts()) > 4 * 400:
            await asyncio.sleep(0.02)
        await site.kill()
        await site.start()
        await site.converged(100, 60)
        for i in site.ids:
            assert sorted(await site.held(i)) == PEOPLE[:100]
        shown = await site.lintel("device", "show", "face-2001", "--state", str(site.state), "--json", "--all")
        assert {(p["person"], p["state"]) for p in shown["people"]} == {(p, "stored") for p in PEOPLE[:100]}
        listed = await site.lintel("device", "list", "--state", str(site.state), "--json")
        assert [d["state"] for d in listed["devices"]] == ["up"] * 4
        assert len(list((site.state / "faces").iterdir())) >= 100
        async with asyncio.timeout(30):
            while len(list((site.state / "faces").iterdir())) != 100:  # the photos of the others are gone from the disk
                await asyncio.sleep(0.2)
        assert await site.stop() == 0

    run(body, 4, options={"batch_seconds": 0.004})


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_20000_persons_on_20_terminals_converge_after_a_power_cut_and_doors_are_not_disturbed():
    people = [f"p-{n:05d}" for n in range(20_000)]

    async def body(site):
        await site.fill(people, photos=False)
        await site.start()
        while sum(await site.counts()) < 100_000:
            await asyncio.sleep(2)
        await site.kill()
        await site.start()
        slowest, began = 0.0, time.monotonic()
        waiting = asyncio.create_task(site.converged(20_000, 3000))
        while not waiting.done():
            asked = time.monotonic()
            await site.ask("status")  # by the same event loop that decides at the doors
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.5)
        await waiting
        print(
            f"converged after {time.monotonic() - began:.0f} s, {site.rss_mb():.0f} MB, slowest {slowest * 1e3:.0f} ms"
        )
        assert await site.counts() == [20_000] * 20
        assert site.rss_mb() < 160
        assert slowest < 2

    run(body, 20, processes=4, photo_url="http://192.0.2.10/f/{person}.jpg", options={"capacity": 25_000})

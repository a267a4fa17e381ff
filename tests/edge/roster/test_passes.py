"""A keeper step by step: what a long pass may not hold up, silence that lasts, a time that nobody knows, old rows."""

import asyncio

import pytest

from lintel.edge.clock import Clock, always_synced
from lintel.edge.model import Method, Notice
from lintel.edge.persons import Consent
from lintel.edge.roster.lists import Lists
from lintel.edge.store import ItemPut, Type
from tests.edge.roster.desk import T0, Desk, Terminal, Time, run

FIRST = [f"p{n:04d}" for n in range(10)]
MANY = [f"p{n:04d}" for n in range(120)]
LONG = len(MANY) - len(FIRST)
"""Seconds of the pass that sends the rest of them, one a second."""


async def filling(desk):
    """Ten are there; the others are being sent. Returns these ten in the order in which a pass meets them."""
    await desk.apply(*(desk.face(p) for p in FIRST))
    await desk.run(30)
    await desk.apply(*(desk.face(p) for p in MANY))
    for _ in range(5):
        await desk.step()
    return sorted(FIRST, key=lambda p: int.from_bytes(desk.digest(Method.FACE, p)[:8], "big", signed=True))


def terminal(*, lists=True):
    return Terminal(Time(), lists=lists, validity=False, takes=1.0)


async def refused_once(path):
    async with Desk(path, terminal()) as desk:
        order = await filling(desk)
        desk.terminal.busy = 1
        await desk.apply(desk.face(order[5], consent=Consent.WITHDRAWN))
        return await desk.gone(order[5], 2 * LONG)


def test_f2_a_deletion_that_was_refused_once_waits_for_no_pass(tmp_path):
    async def body():
        assert await refused_once(tmp_path) < 20

    run(body)


def test_f2_control_a_pass_that_looks_behind_its_last_deletion_only_lets_somebody_wait_for_all_the_others(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("lintel.edge.roster.keeper.ListKeeper._drop", only_forward)

    async def body():
        assert await refused_once(tmp_path) > LONG - 10

    run(body)


async def only_forward(self):
    """`ListKeeper._drop` with a key that only rises within a pass."""
    rows = await self._store.roster.to_drop(self.place, self._clock.now().wall, self._drop_after, 50, self._sight)
    if rows:
        told = {t.id: t for t in await self._driver.drop(self.device, [r.name for r in rows])}
        await self._note_drops(rows, told)
        self._drop_after = rows[-1].key
    return bool(rows)


def test_who_expires_during_a_pass_waits_for_no_pass(tmp_path):
    async def body():
        async with Desk(tmp_path, terminal()) as desk:
            order = await filling(desk)
            ends = desk.time.wall + 20
            await desk.apply(desk.face(order[5], valid_to=ends), desk.face(order[9], consent=Consent.WITHDRAWN))
            assert await desk.gone(order[5], 2 * LONG) < 20 + 10
            assert desk.time.wall >= ends
            assert order[9] not in desk.terminal.on

    run(body)


def test_f2_who_can_not_be_deleted_during_a_pass_is_an_alarm_before_it_is_over(tmp_path):
    """Also where nothing is read back in between."""

    async def body():
        async with Desk(tmp_path, terminal(lists=False)) as desk:
            order = await filling(desk)
            desk.terminal.busy = 10**6
            await desk.apply(desk.face(order[5], consent=Consent.WITHDRAWN))
            await desk.run(80)
            assert set(MANY) - set(desk.terminal.on), "it is still under way"
            assert [f.count for f in desk.told(Notice.ERASE_FAILED)] == [1]
            desk.terminal.busy = 0
            await desk.run(700)
            assert set(desk.terminal.on) == {*MANY} - {order[5]}
            assert len(desk.told(Notice.ERASE_FAILED)) == 1

    run(body)


async def an_hour_of_silence(path):
    """The photo of somebody who is there changes, and no answer comes."""
    async with Desk(path, Terminal(Time(), batch=5, takes=10.0)) as desk:
        await desk.apply(*(desk.face(p) for p in FIRST))
        await desk.run(120)
        desk.terminal.silent = True
        desk.terminal.log.clear()
        await desk.apply(desk.face(FIRST[0], mask="new"))
        await desk.run(3600)
        asked = desk.terminal.count("put"), desk.terminal.count("list")
        (row,) = await desk.keeper.people(name=FIRST[0], only_failed=True, limit=5)
        desk.terminal.silent = False
        await desk.run(7200)
        assert await desk.keeper.people(name="", only_failed=True, limit=5) == []
        return *asked, row, desk.keeper.standing.counts.stored


def test_an_update_that_is_never_answered_is_asked_for_ever_more_seldom_and_shows_as_failed(tmp_path):
    async def body():
        puts, lists, row, stored = await an_hour_of_silence(tmp_path)
        assert puts <= 10
        assert lists <= 10
        assert (row["state"], row["class"], row["code"]) == ("failed", "retry_later", "timeout")
        assert stored == len(FIRST)

    run(body)


BLIND_S = 40


async def of_two(path, until, clock):
    """Who is there after a restart without the time: both were, and the first is blocked, `until` so many seconds."""
    first, second = FIRST[:2]
    time = Time()
    async with Desk(path, Terminal(time)) as desk:
        await desk.apply(desk.face(first), desk.face(second))
        await desk.run(20)
        ends = None if until is None else time.wall + until
        await desk.apply(ItemPut(Type.BLOCK, f"per_{first}", {"until": ends}, 1))
    time.wall += clock
    async with Desk(path, desk.terminal, synced=lambda: False) as again:
        await again.run(BLIND_S)
        assert "what time it is" in again.keeper.standing.why
        assert again.told(Notice.ERASE_FAILED) == []
    return first in desk.terminal.on


@pytest.mark.parametrize("clock", [-90_000, 0, 90_000])
def test_f23_without_the_time_a_block_that_ends_some_time_deletes_nobody_and_one_without_end_does(tmp_path, clock):
    async def body():
        assert await of_two(tmp_path, 3600, clock)

    async def for_ever():
        assert not await of_two(tmp_path / "b", None, clock)

    run(body)
    (tmp_path / "b").mkdir()
    run(for_ever)


@pytest.mark.parametrize("clock", [-90_000, 90_000])
def test_f23_without_the_time_nobody_is_sent_who_is_blocked_until_some_time(tmp_path, clock):
    async def body():
        first, second = FIRST[:2]
        time = Time()
        time.wall += clock
        async with Desk(tmp_path, Terminal(time), synced=lambda: False) as desk:
            block = ItemPut(Type.BLOCK, f"per_{first}", {"until": T0 + 3600}, 1)
            await desk.apply(desk.face(first), desk.face(second), block)
            await desk.run(BLIND_S)
            assert set(desk.terminal.on) == {second}

    run(body)


def test_who_was_never_sent_for_want_of_a_photo_is_no_alarm_when_the_consent_goes(tmp_path):
    async def body():
        async with Desk(tmp_path, Terminal(Time(), photos=True)) as desk:
            await desk.apply(*(desk.face(p) for p in FIRST))
            await desk.run(20)
            assert desk.keeper.standing.counts.failed == len(FIRST)
            desk.terminal.there = False
            await desk.apply(*(desk.face(p, consent=Consent.WITHDRAWN) for p in FIRST))
            await desk.run(200)
            assert desk.facts == []
            assert desk.keeper.standing.counts.deleting == 0
            desk.terminal.there = True
            await desk.run(20)
            assert await desk.store.roster.entries("t1") == []
            assert desk.terminal.count("drop") == 0

    run(body)


def test_a_device_that_is_not_in_the_configuration_any_more_is_told_once_at_the_start(tmp_path):
    """Renamed, or taken out: nobody deletes there, so somebody has to know."""

    def lists(desk, *devices):
        return Lists(
            [(device, ("public",), desk.terminal) for device in devices],
            store=desk.store, clock=Clock(lambda: desk.time.wall, lambda: desk.time.mono, synced=always_synced),
            digest=desk.digest, report=desk.facts.append,
        )  # fmt: skip

    async def body():
        async with Desk(tmp_path, Terminal(Time(), lists=False)) as desk:
            await desk.apply(*(desk.face(p) for p in FIRST))
            await desk.run(20)
            assert await lists(desk, "t1").left() == {}, "the control: it is in the configuration"
            renamed = lists(desk, "t1-new")
            task = asyncio.create_task(renamed.run())
            async with asyncio.timeout(30):
                while not desk.facts or len(await desk.store.roster.entries("t1-new")) < len(FIRST):
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert [(f.notice, f.device, f.count) for f in desk.facts] == [(Notice.DEVICE_FAULT, "t1", len(FIRST))]
            assert await renamed.left() == {"t1": len(FIRST)}

    run(body)

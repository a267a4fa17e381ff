import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lintel.edge.model import ClockState, Instant, Stream
from lintel.edge.store import Store, retention
from lintel.edge.store.retention import DAY, STEP, Pruned
from lintel.edge.store.verify import verify

from .helpers import event, opened

T0 = 1_790_000_000.0


def at(days: float, state: ClockState = ClockState.SYNCED, *, mono: float | None = None) -> Instant:
    """A moment by the wall clock, and by the monotonic one where that says something else; both in days."""
    return Instant(T0 + days * DAY, (days if mono is None else mono) * DAY, state)


async def fill(store: Store, days: int, per_day: int = 1) -> None:
    await asyncio.gather(
        *(
            store.journal.append(replace(event(), ts=int((T0 + (d + n / per_day) * DAY) * 1000)))
            for d in range(days)
            for n in range(per_day)
        )
    )


def seqs(store: Store) -> list[int]:
    return [r.seq for r in store.journal.export(Stream.ACCESS)]


def run(path: Path, body) -> None:
    async def main() -> None:
        store = opened(path)
        await body(store)
        await store.close()

    asyncio.run(main())


def test_exactly_what_is_past_its_time_goes_and_the_chain_still_holds(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await fill(store, 200)
        assert (await store.retention.prune(at(200, ClockState.HOLDOVER), uplink=False)).rows == {}
        assert len(seqs(store)) == 200, "nothing goes while the clock is not trusted"
        assert (await store.retention.prune(at(200), uplink=True)).rows == {}, "no cloud has them yet"
        await store.journal.acknowledged(Stream.ACCESS, 1, 10)
        assert (await store.retention.prune(at(200), uplink=True)).rows == {"access": 10}
        assert (await store.retention.prune(at(200), uplink=False)).rows == {"access": 10}
        assert seqs(store) == list(range(21, 201))
        assert verify(store.database).ok

    async def again(store: Store) -> None:
        assert verify(store.database).ok
        assert await store.journal.append(event(), now=True) == 201
        assert (await store.retention.prune(at(200), uplink=False)).rows == {}
        assert (await store.retention.prune(at(9999), uplink=False)).rows == {"access": 181}
        assert await store.journal.append(event(), now=True) == 202, "an emptied stream goes on counting"
        assert verify(store.database).ok

    run(tmp_path, body)
    run(tmp_path, again)
    run(tmp_path, lambda store: fill(store, 1))


def test_a_synced_clock_that_jumps_ten_years_deletes_nothing_and_is_told(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await fill(store, 50)
        assert await store.retention.prune(at(50), uplink=False) == Pruned({})
        for hours in range(0, 24, 6):  # also not in the runs after the first
            done = await store.retention.prune(at(3700, mono=50 + hours / 24), uplink=False)
            assert (done.rows, done.ahead > 3600 * DAY) == ({}, True)
        assert len(seqs(store)) == 50
        assert await store.retention.prune(at(51), uplink=False) == Pruned({}), "the clock is right again"

    async def restarted(store: Store) -> None:
        for hours in range(0, 24, 6):
            assert not (await store.retention.prune(at(3700, mono=hours / 24), uplink=False)).rows
        assert len(seqs(store)) == 50, "another start does not believe the clock either"

    async def later(store: Store) -> None:
        assert not (await store.retention.prune(at(53, mono=0), uplink=False)).rows
        assert (await store.retention.prune(at(200, mono=147), uplink=False)).rows == {"access": 20}, "the control"

    for one in (body, restarted, later):
        run(tmp_path, one)


def test_a_clock_that_is_ahead_is_told_once(tmp_path: Path) -> None:
    async def main() -> None:
        said: list = []
        store = opened(tmp_path, said)
        await fill(store, 1)
        await store.tend(at(1))
        for _ in range(2):
            await store.tend(at(3700, mono=1.1))
        await asyncio.sleep(0)
        assert [n for n, _ in said] == ["mass_change_held"]
        assert "3699 days ahead" in said[0][1]
        await store.tend(at(2, mono=2))
        await store.tend(at(3700, mono=2.1))
        await asyncio.sleep(0)
        assert len(said) == 2, "it was over in between"
        await store.close()

    asyncio.run(main())


def test_a_row_of_an_unknown_time_goes_with_the_one_behind_it(tmp_path: Path) -> None:
    """A box that woke up in 1970, and one whose clock was years ahead for an hour: neither at once nor never."""

    async def body(store: Store) -> None:
        odd = [replace(event(), ts=60_000, clock=ClockState.UNKNOWN), replace(event(), ts=int((T0 + 9e8) * 1000))]
        for row in odd:
            await store.journal.append(row)
        await fill(store, 2)
        assert not (await store.retention.prune(at(3), uplink=False)).rows
        assert (await store.retention.prune(at(180.5), uplink=False)).rows == {"access": 3}
        assert seqs(store) == [4]
        assert verify(store.database).ok

    run(tmp_path, body)


def test_under_pressure_without_a_cloud_the_oldest_go_and_a_gap_is_told(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await fill(store, 20, 250)
        done = await store.retention.prune(at(20), uplink=False, pressed=True)
        assert (done.rows, done.unacknowledged) == ({"access": STEP}, STEP)
        gaps = [r.event for r in store.journal.export(Stream.ACCESS) if r.event.type == "gap"]
        assert [g.count for g in gaps] == [STEP]
        assert len(seqs(store)) == 5000 - STEP + 1

    run(tmp_path, body)


def test_under_pressure_acknowledged_rows_go_first_then_a_gap_is_told(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        made = 20 * 250
        await fill(store, 20, 250)
        await store.journal.acknowledged(Stream.ACCESS, 1, 500)
        assert (await store.retention.prune(at(20), uplink=True, pressed=True)).rows == {"access": 500}
        done = await store.retention.prune(at(20), uplink=True, pressed=True)
        assert done.unacknowledged == STEP
        rows = list(store.journal.export(Stream.ACCESS))
        gaps = [r.event for r in rows if r.event.type == "gap"]
        assert [g.count for g in gaps] == [STEP]
        assert len(rows) - 1 + 500 + gaps[0].count == made, "stored, pruned and gap counts add up"
        assert verify(store.database).ok

    run(tmp_path, body)


@pytest.mark.parametrize("uplink", [False, True])
def test_under_pressure_the_fresh_journal_stays(tmp_path: Path, uplink: bool) -> None:
    async def body(store: Store) -> None:
        await fill(store, 1, 9000)
        for _ in range(4):
            assert not (await store.retention.prune(at(1.1), uplink=uplink, pressed=True)).rows
        assert len(seqs(store)) == 9000
        assert not (await store.retention.prune(at(7.1), uplink=uplink, pressed=True)).rows, "too few to be worth a gap"
        done = await store.retention.prune(at(8), uplink=uplink, pressed=True)
        assert done.unacknowledged == STEP, "the control: past 7 days"
        assert verify(store.database).ok

    run(tmp_path, body)


@pytest.mark.parametrize("counted", [True, False])
def test_what_was_freed_inside_the_file_ends_the_pressure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    """SQLite gives no page back to the disk: by the disk alone the whole journal would go, and nothing be won."""
    full = SimpleNamespace(f_bavail=0, f_blocks=400, f_frsize=4096)
    monkeypatch.setattr(retention, "os", SimpleNamespace(statvfs=lambda _: full))
    if not counted:
        monkeypatch.setattr(retention, "PAGE_SIZE", 0)

    async def body(store: Store) -> None:
        await fill(store, 20, 500)
        for _ in range(3):
            await store.tend(at(40))
        gaps = [r.event for r in store.journal.export(Stream.ACCESS) if r.event.type == "gap"]
        assert len(gaps) == (1 if counted else 3), "the control goes on"

    run(tmp_path, body)

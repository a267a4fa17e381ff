import asyncio
from dataclasses import replace
from pathlib import Path

from lintel.edge.model import ClockState, Instant, Stream
from lintel.edge.store import Store
from lintel.edge.store.retention import DAY, STEP, prune
from lintel.edge.store.verify import verify

from .helpers import event, opened

T0 = 1_790_000_000.0


def at(days: float, state: ClockState = ClockState.SYNCED) -> Instant:
    return Instant(T0 + days * DAY, 0.0, state)


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
        assert (await prune(store.journal, at(200, ClockState.HOLDOVER), uplink=False)).rows == {}
        assert len(seqs(store)) == 200, "nothing goes while the clock is not trusted"
        assert (await prune(store.journal, at(200), uplink=True)).rows == {}, "no cloud has them yet"
        await store.journal.acknowledged(Stream.ACCESS, 1, 10)
        assert (await prune(store.journal, at(200), uplink=True)).rows == {"access": 10}
        assert (await prune(store.journal, at(200), uplink=False)).rows == {"access": 10}
        assert seqs(store) == list(range(21, 201))
        assert verify(store.database).ok

    async def again(store: Store) -> None:
        assert verify(store.database).ok
        assert await store.journal.append(event(), now=True) == 201
        assert (await prune(store.journal, at(9999), uplink=False)).rows == {"access": 181}
        assert await store.journal.append(event(), now=True) == 202, "an emptied stream goes on counting"
        assert verify(store.database).ok

    run(tmp_path, body)
    run(tmp_path, again)
    run(tmp_path, lambda store: fill(store, 1))


def test_under_pressure_acknowledged_rows_go_first_then_a_gap_is_told(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        made = 20 * 250
        await fill(store, 20, 250)
        await store.journal.acknowledged(Stream.ACCESS, 1, 500)
        assert (await prune(store.journal, at(20), uplink=True, pressed=True)).rows == {"access": 500}
        done = await prune(store.journal, at(20), uplink=True, pressed=True)
        assert done.unacknowledged == STEP
        rows = list(store.journal.export(Stream.ACCESS))
        gaps = [r.event for r in rows if r.event.type == "gap"]
        assert [g.count for g in gaps] == [STEP]
        assert len(rows) - 1 + 500 + gaps[0].count == made, "stored, pruned and gap counts add up"
        assert verify(store.database).ok

    run(tmp_path, body)

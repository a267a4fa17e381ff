"""The store under strain: damaged counts, long imports, a writer that breaks or hangs, an unreadable ring."""

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import ClockState, Direction, Instant, Status, Stream
from lintel.edge.store import CountedUse, PassPut, StepUse, Store, connection, writer
from lintel.edge.store.chain import encode
from lintel.edge.store.ring import SLOT

from .helpers import card, digest, event, opened, run


def _status(store: Store, value: object) -> Status | None:
    found = store.allowlist.find(digest(value))
    return found.status if found is not None else None


def test_a_damaged_count_of_uses_is_a_storage_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1, use_limit=2), PassPut(7, ("a",))], at=1.0, replace=False)

        def broken(conn: object, space: int, name: int) -> int:
            del conn, space, name
            raise connection.sqlite.DatabaseError("database disk image is malformed")

        monkeypatch.setattr("lintel.edge.store.allowlist._uses", broken)
        with pytest.raises(StoreError):
            store.allowlist.find(digest(1))
        with pytest.raises(StoreError):
            store.allowlist.visitor_pass(7)

    run(tmp_path, body)


def test_a_use_behind_a_long_import_is_not_burned(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1, use_limit=1)], at=1.0, replace=False)

        def take(seconds: float) -> "asyncio.Future[bool]":
            limit = time.monotonic() + seconds
            return store.allowlist.consume(CountedUse(digest(1)), event(1), event(2), deadline=limit)

        busy = store.writer.submit(lambda _: time.sleep(0.4), now=True, lone=True)
        late = take(0.1)
        with pytest.raises(StoreError, match="too late") as caught:
            await late
        assert caught.value.word == "commit_failed"
        await busy
        assert not list(store.journal.export(Stream.ACCESS)), "neither granted nor refused"
        assert await take(5.0)
        assert not await take(5.0)

    run(tmp_path, body)


def test_the_writer_survives_what_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(store: Store) -> None:
        def broken() -> None:
            raise ValueError("a body that is none")

        with monkeypatch.context() as patch:
            patch.setattr(store.journal, "committed", broken)
            with pytest.raises(StoreError) as caught:
                await asyncio.wait_for(store.allowlist.forget_steps(0.0), 5)
            assert caught.value.word == store.writer.fault == "commit_failed"
            assert await asyncio.wait_for(store.journal.append(event(1), now=True), 5) == 0, "kept in the ring"
        async with asyncio.timeout(10):
            while store.writer.fault:
                await asyncio.sleep(0.05)
        assert store.writer.alive
        await store.journal.append(event(2), now=True)
        assert [r.event.person for r in store.journal.export(Stream.ACCESS)] == ["per_1", "per_2"]

    run(tmp_path, body)


def test_a_writer_that_hangs_or_is_gone_is_not_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        monkeypatch.setattr(writer, "STUCK", 0.2)
        assert store.writer.alive
        hung = store.writer.submit(lambda _: time.sleep(1.0), now=True, lone=True)
        await asyncio.sleep(0.1)
        behind = store.journal.append(event(1))
        assert store.writer.alive, "not yet"
        await asyncio.sleep(0.5)
        assert not store.writer.alive
        await asyncio.gather(hung, behind)
        assert store.writer.alive
        await store.close()
        assert not store.writer.alive

    asyncio.run(main())


def test_the_count_is_the_last_commits(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        lists = store.allowlist
        assert lists.count() == 0
        await lists.apply_import([card(1), card(2)], at=1.0, replace=False)
        assert lists.count() == 2
        with pytest.raises(StoreError):
            await lists.apply_checkpoint([card(3)], epoch=-1, seq=0, synced_at=1.0)
        await lists.set_lockdown({"north"}, on=True)
        assert lists.count() == 2

    async def again(store: Store) -> None:
        assert store.allowlist.count() == 2, "also after a restart"
        await store.allowlist.apply_import([card(2)], at=2.0, replace=True)
        assert store.allowlist.count() == 1

    run(tmp_path, first)
    run(tmp_path, again)


def test_steps_that_no_door_accepts_are_forgotten_while_the_clock_is_synced(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        now = 1_790_000_000
        for back in (0, 10, 30, 4000):
            use = StepUse(back, now // 30 - back, Direction.IN)
            assert await store.allowlist.consume(use, event(1), event(2))

        def kept() -> list[int]:
            return [n for (n,) in store.database.reader.execute("SELECT pass_id FROM pass_step ORDER BY pass_id")]

        await store.tend(Instant(now, 1.0, ClockState.HOLDOVER))
        assert kept() == [0, 10, 30, 4000]
        await store.tend(Instant(now, 1.0, ClockState.SYNCED))
        assert kept() == [0, 10]

    run(tmp_path, body)


def test_an_unreadable_record_of_the_ring_costs_itself_alone_and_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        bodies = [encode(event(n)) for n in range(1, 6)]
        assert store.ring.keep(bodies, StoreError("disk_full", "")) is None
        store.writer._spare = None  # as if the power went now
        await store.close()
        with (tmp_path / "ring").open("r+b") as file:
            file.seek(2 * SLOT + 60)
            file.write(bytes(8))
        said: list[tuple[str, str]] = []
        store = opened(tmp_path, said)
        async with asyncio.timeout(10):
            while store.writer.fault:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert [r.event.person for r in store.journal.export(Stream.ACCESS)] == ["per_1", "per_2", "per_4", "per_5"]
        assert [d for n, d in said if n == "gap"] == ["1 events in the emergency ring could not be read"]
        await store.close()

    asyncio.run(main())


def test_a_large_event_is_shortened_or_refused_alone(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        store.writer._fault = StoreError("disk_full", "as if the disk were full")
        store.writer._attempt = time.monotonic() + 60
        long = [
            dataclasses.replace(event(1), detail="门" * 900),
            dataclasses.replace(event(2), person="p" * 2000),
            event(3),
        ]
        done = await asyncio.gather(*(store.journal.append(e) for e in long), return_exceptions=True)
        assert [str(getattr(d, "word", d)) for d in done] == ["0", "too_large", "0"]
        store.writer._attempt = 0.0
        async with asyncio.timeout(10):
            while store.writer.fault:
                await asyncio.sleep(0.05)
        kept = [r.event for r in store.journal.export(Stream.ACCESS)]
        assert [e.person for e in kept] == ["per_1", "per_3"]
        assert 100 < len(kept[0].detail) < 900

    run(tmp_path, body)

"""Snapshots soon after a change, and not too many; the daily whole check; a look-up that can not read."""

import asyncio
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import Store, care, connection, derive
from lintel.edge.store.database import Database

from .helpers import KEY, card, digest, event, opened, run


def _newest(path: Path) -> list[list[tuple[str]]]:
    """Persons and locked groups of the newest snapshot."""
    files = sorted((path / "snapshots").glob("0*.db"))
    if not files:
        return [[], []]
    found = Database(files[-1], derive(KEY, "database"), obstacle="storage_read_only")
    rows = [
        found.reader.execute(f"SELECT {column} FROM {table} ORDER BY 1").fetchall()
        for column, table in (("person", "credential"), ("door_group", "lockdown"))
    ]
    found.close()
    return rows


async def _until(true) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


def test_a_lockdown_and_a_list_are_in_a_snapshot_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(care, "SOON", 0.05)
    monkeypatch.setattr(care, "WEAR", 1e9)

    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.set_lockdown({"north"}, on=True)
        await _until(lambda: _newest(tmp_path) == [[], [("north",)]])
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=1, synced_at=1.0)
        await _until(lambda: _newest(tmp_path) == [[("per_1",)], [("north",)]])
        made = store.care._made
        await store.journal.append(event(1), now=True)
        await asyncio.sleep(0.3)
        assert store.care._made == made, "the control: an event is no change of the list"
        await store.close()

    asyncio.run(main())


def test_many_changes_make_few_snapshots_and_the_last_is_in_one_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "SOON", 0.05)
    monkeypatch.setattr(care, "WEAR", 100.0)  # bytes a second: the next one minutes later
    made: list[Path] = []
    real = care.snapshot

    def counted(database: Database) -> Path:
        made.append(real(database))
        return made[-1]

    monkeypatch.setattr(care, "snapshot", counted)

    async def main() -> None:
        store = opened(tmp_path)
        for n in range(30):
            await store.allowlist.apply_checkpoint([card(n)], epoch=1, seq=n, synced_at=1.0)
            if n == 5:
                await _until(lambda: made)
        await asyncio.sleep(0.3)
        assert len(made) == 1
        await store.close()
        assert len(made) == 2
        assert len(_newest(tmp_path)[0]) == 30
        store = opened(tmp_path)
        await store.close()
        assert len(made) == 2, "nothing changed"

    asyncio.run(main())


def test_a_snapshot_that_fails_is_made_by_the_next_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(store: Store) -> None:
        def failing(_: Database) -> Path:
            raise StoreError("commit_failed", "no snapshot could be written")

        await store.allowlist.apply_import([card(1)], at=1.0, replace=False)
        with monkeypatch.context() as patch:
            patch.setattr(care, "snapshot", failing)
            with pytest.raises(StoreError):
                await store.tend()
        assert _newest(tmp_path) == [[], []]
        await store.tend()
        assert _newest(tmp_path) == [[("per_1",)], []]

    run(tmp_path, body)


def test_damage_while_running_is_found_within_a_day(tmp_path: Path) -> None:
    async def fill(store: Store) -> None:
        await asyncio.gather(*(store.journal.append(event(n)) for n in range(2000)))

    run(tmp_path, fill)

    async def main() -> None:
        said: list = []
        store = opened(tmp_path, said)
        store.care._checked -= care.DAY
        await store.tend()
        assert said == [], "the control: a good file"
        with (tmp_path / "lintel.db").open("r+b") as file:
            file.seek((tmp_path / "lintel.db").stat().st_size // 2)
            file.write(b"damage")
        await store.tend()
        assert said == [], "not yet: once a day"
        store.care._checked -= care.DAY
        await store.tend()
        await asyncio.sleep(0)
        assert [n for n, _ in said] == ["db_damaged"]
        await store.close()

    asyncio.run(main())


def test_a_look_up_that_can_not_read_raises_the_alarm_once(tmp_path: Path) -> None:
    async def main() -> None:
        said: list = []
        store = opened(tmp_path, said)
        empty = connection.sqlite.connect(":memory:")
        store.database.look = lambda _: empty  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(StoreError):
                store.allowlist.find(digest(1))
        await asyncio.sleep(0)
        assert [n for n, _ in said] == ["db_damaged"]
        store.care._checked -= care.DAY
        await store.tend()
        with pytest.raises(StoreError):
            store.allowlist.find(digest(1))
        await asyncio.sleep(0)
        assert [n for n, _ in said] == ["db_damaged"] * 2, "the whole check had found nothing: it is news again"
        store.writer._fault, store.writer._attempt = StoreError("commit_failed", "as if"), 0.0
        await store.writer.submit(lambda _: None, now=True)
        await _until(lambda: [n for n, _ in said][2:] == ["commit_failed"])
        with pytest.raises(StoreError):
            store.allowlist.find(digest(1))
        await asyncio.sleep(0)
        assert [n for n, _ in said][3:] == ["db_damaged"], "and after the database was opened anew"
        empty.close()
        await store.close()

    asyncio.run(main())

"""A damaged or lost database, a wrong key, and the snapshots that bring the list back."""

import asyncio
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import Store, care, connection, derive, recovery
from lintel.edge.store.database import Database
from lintel.edge.store.recovery import newest_snapshot, snapshot
from lintel.edge.store.verify import verify

from .helpers import KEY, card, digest, event, opened, run
from .small_disk import NAMESPACES, inside


def _damage(path: Path) -> None:
    raw = bytearray((path / "lintel.db").read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / "lintel.db").write_bytes(raw)


def test_damage_falls_back_to_the_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(i) for i in range(50)], at=7.0, replace=False)
        await store.tend()
        assert newest_snapshot(tmp_path) > 0
        await asyncio.gather(*(store.journal.append(event(i)) for i in range(30)))
        await store.close()
        _damage(tmp_path)
        store = opened(tmp_path)
        assert [str(n) for n, _ in store.notices[:2]] == ["db_damaged", "db_restored"]
        assert store.allowlist.find(digest(3)) is not None
        site = store.allowlist.site()
        assert (site.fault, site.synced_at) == (False, 7.0)
        assert await store.journal.append(event(), now=True) == 1
        assert store.journal.heads()["access"]["epoch"] == 2, "numbers of the lost journal are not used again"
        assert len(list((tmp_path / "damaged").glob("0*.db"))) == 1
        assert not verify(store.database).ok, "lost events are not hidden"
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("loss", ["damaged", "deleted"])
def test_without_a_snapshot_nothing_is_decided(tmp_path: Path, loss: str) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        await store.close()
        _damage(tmp_path) if loss == "damaged" else (tmp_path / "lintel.db").unlink()
        shutil.rmtree(tmp_path / "snapshots")
        for _ in range(2):  # also after another restart
            store = opened(tmp_path)
            site = store.allowlist.site()
            assert (site.fault, site.synced_at) == (True, None)
            await store.close()
        store = opened(tmp_path)
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=1, synced_at=8.0)
        assert store.allowlist.site().fault, "a part of the list is not the list"
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=2, synced_at=9.0, full=True)
        assert not store.allowlist.site().fault
        await store.close()

    asyncio.run(main())


def test_a_wrong_key_never_puts_a_good_database_aside(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        await store.close()
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path, bytes(32))
        assert caught.value.word == "key_invalid"
        store = opened(tmp_path)
        assert store.allowlist.find(digest(1)) is not None
        await store.close()

    asyncio.run(main())


def test_old_copies_are_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(5):
            store = opened(tmp_path)
            snapshot(store.database)
            await store.close()
            _damage(tmp_path)
        assert len(list((tmp_path / "snapshots").iterdir())) == 2
        assert len(list((tmp_path / "damaged").glob("0*.db"))) == 3

    asyncio.run(main())


def test_a_store_of_which_only_the_snapshots_are_left_is_restored_and_says_so(tmp_path: Path) -> None:
    """Database and anchors are gone: an empty store that looks new would forget who is revoked and what was used."""

    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)

    async def after(store: Store) -> None:
        assert [str(n) for n, _ in store.notices] == ["db_damaged", "db_restored"]
        assert store.allowlist.find(digest(1)) is not None
        assert store.allowlist.site().restored

    async def nothing(store: Store) -> None:
        assert store.allowlist.site().fault, "a store was here, and its list is not known"

    run(tmp_path, before)
    for name in ("lintel.db", "anchors"):
        (tmp_path / name).unlink()
    run(tmp_path, after)
    for file in (tmp_path / "lintel.db", tmp_path / "anchors", *(tmp_path / "snapshots").glob("*")):
        file.unlink()
    run(tmp_path, nothing)


class _Target:
    """The connection that a snapshot is written over, with a fault of its own."""

    def __init__(self, conn, answer=None, at_close=lambda: None) -> None:
        self._conn, self._answer, self._at_close = conn, answer, at_close

    def __getattr__(self, name: str):
        return getattr(self._conn, name)

    def execute(self, sql: str, *values):
        if self._answer is not None and "wal_checkpoint" in sql:
            return self._conn.execute(f"SELECT {', '.join(map(str, self._answer))}")
        return self._conn.execute(sql, *values)

    def close(self) -> None:
        self._conn.close()
        self._at_close()


def _tear(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // connection.PAGE_SIZE * connection.PAGE_SIZE)


@pytest.mark.parametrize("fault", ["busy", "torn", "none"])
def test_a_snapshot_counts_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    working = tmp_path / "snapshots" / ".new.db"
    made = recovery.open_database

    def failing(path: Path, key: bytes, **options: bool) -> Database:
        database = made(path, key, **options)
        conn = database.connect
        answer, at_close = ((1, 9, 0), None) if fault == "busy" else (None, lambda: _tear(working))
        if fault != "none":
            database.connect = lambda: _Target(conn(), answer, at_close or (lambda: None))  # type: ignore[method-assign]
        return database

    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(i) for i in range(100)], at=7.0, replace=False)
        good = snapshot(store.database)
        with monkeypatch.context() as patch:
            patch.setattr(recovery, "open_database", failing)
            if fault == "none":
                assert snapshot(store.database) > good, "the control: the same way without a fault"
            else:
                with pytest.raises(StoreError, match="not whole"):
                    snapshot(store.database)
        assert good.exists()
        assert len(list((tmp_path / "snapshots").iterdir())) == (2 if fault == "none" else 1), "and nothing else"

    run(tmp_path, body)


_FULL = """
from lintel.edge.store.recovery import snapshot
async def main():
    store = opened(D)
    await store.allowlist.apply_import([card(i) for i in range(5000)], at=1.0, replace=False)
    with open(D / "filler", "wb") as f:
        while os.statvfs(D).f_bavail * os.statvfs(D).f_frsize > 400_000:
            f.write(bytes(16384)); f.flush()
    try:
        await asyncio.to_thread(snapshot, store.database)
    except StoreError as e:
        print(e.word, len(list((D / "snapshots").iterdir())))
    await store.journal.append(event(1), now=True)
    print(store.writer.fault or "stored")
    (D / "filler").unlink()
    await store.tend()
    print(len(list((D / "snapshots").iterdir())))
    await store.close()
asyncio.run(main())
"""


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
def test_a_snapshot_that_fills_the_disk_leaves_nothing_and_the_journal_goes_on() -> None:
    assert inside(_FULL, "24m").split() == ["disk_full", "0", "stored", "1"]


def test_a_snapshot_waits_for_room_and_the_daily_check_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        size, free = snapshot(store.database).stat().st_size, 0
        real = recovery.os.statvfs(tmp_path)

        def disk(_: object) -> SimpleNamespace:
            return SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=1 << 40, f_favail=9, f_flag=real.f_flag)

        with monkeypatch.context() as patch:
            patch.setattr(recovery.os, "statvfs", disk)
            free = 3 * size - 1
            with pytest.raises(StoreError, match="no snapshot for now") as caught:
                snapshot(store.database)
            assert caught.value.word == "disk_full"
            store.care._checked -= care.DAY
            await store.tend()
            assert time.monotonic() - store.care._checked < care.DAY
            assert len(list((tmp_path / "snapshots").iterdir())) == 1
            free = 3 * size
            await store.tend()
            assert len(list((tmp_path / "snapshots").iterdir())) == 2, "the change that waited is in it"

    run(tmp_path, body)


def test_what_a_power_cut_left_of_a_snapshot_goes_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    run(tmp_path, _nothing)
    folder.mkdir(exist_ok=True)
    for name in (".new.db", ".new.db-wal", "..new.db.new", "..new.db.new-wal", "000000000000001-keep.db"):
        (folder / name).write_bytes(bytes(100))
    run(tmp_path, _nothing)
    assert [path.name for path in folder.glob("*keep*")] == ["000000000000001-keep.db"]
    assert not list(folder.glob(".*"))


async def _nothing(_: Store) -> None:
    pass


@pytest.mark.parametrize("name", ["001790000000000-keep.db", "000000000000000-keep.db"])
def test_a_copy_that_somebody_keeps_beside_the_snapshots_is_left_alone(tmp_path: Path, name: str) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        made = [snapshot(store.database) for _ in range(2)][-1]
        shutil.copy(made, tmp_path / "snapshots" / name)

    async def again(store: Store) -> None:
        assert newest_snapshot(tmp_path) > 0
        assert [str(n) for n, _ in store.notices[:2]] == ["db_damaged", "db_restored"]
        snapshot(store.database)
        assert (tmp_path / "snapshots" / name).exists()

    run(tmp_path, body)
    _damage(tmp_path)
    run(tmp_path, again)


def test_what_hinders_a_recovery_has_a_word(tmp_path: Path) -> None:
    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)

    run(tmp_path, before)
    _damage(tmp_path)
    (tmp_path / "damaged").write_text("no folder")

    async def main() -> None:
        with pytest.raises(StoreError, match="damaged, and not replaced") as caught:
            opened(tmp_path)
        assert caught.value.word == "commit_failed"
        assert (tmp_path / "lintel.db").exists()
        (tmp_path / "damaged").unlink()
        store = opened(tmp_path)
        assert store.allowlist.find(digest(1)) is not None
        await store.close()

    asyncio.run(main())


def test_a_snapshot_of_a_clock_that_was_ahead_does_not_stay_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"

    async def old(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)

    async def new(store: Store) -> None:
        await store.allowlist.apply_import([card(2)], at=8.0, replace=True)
        await store.tend()

    async def idle(store: Store) -> None:
        await store.tend()

    run(tmp_path, old)
    (only,) = folder.glob("0*.db")
    only.rename(folder / "004070908800000.db")  # 2099
    run(tmp_path, idle)
    assert len(list(folder.glob("0*.db"))) == 2, "its age is not believed: another one at once"
    run(tmp_path, new)
    newest = Database(max(folder.glob("0*.db")), derive(KEY, "database"), obstacle="storage_read_only")
    assert newest.reader.execute("SELECT person FROM credential").fetchall() == [("per_2",)]
    newest.close()

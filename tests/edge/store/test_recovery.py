"""A damaged or lost database, a wrong key, and the snapshots that bring the list back."""

import asyncio
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import Store
from lintel.edge.store.recovery import newest_snapshot, snapshot
from lintel.edge.store.verify import verify

from .helpers import card, digest, event, opened


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

"""What is known after a loss: a lost or older list ends only with a whole one, and what can not be read is told."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Stream
from lintel.edge.store import PassUse, Store
from lintel.edge.store.chain import encode
from lintel.edge.store.verify import verify

from .helpers import DIGEST, card, digest, event, opened, run

HEAD = "person,method,value,groups\n"


def _import(store: Store, text: str, **more: object) -> Awaitable[dict[str, object]]:
    form = "json" if text.startswith("{") else "csv"
    return store.import_rows({"text": text, "form": form, **more}, DIGEST, None, at=9.0)


def _damage(path: Path) -> None:
    raw = bytearray((path / "lintel.db").read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / "lintel.db").write_bytes(raw)


def _lose(path: Path, how: str) -> None:
    """A store whose list was lost, or is the one of a snapshot."""

    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        if how == "restored":
            await store.tend()

    run(path, before)
    if how == "fault":
        for file in (path / "snapshots").glob("*"):
            file.unlink()
    _damage(path)


@pytest.mark.parametrize("how", ["fault", "restored"])
def test_no_ordinary_import_ends_a_loss_and_the_operators_word_does(tmp_path: Path, how: str) -> None:
    _lose(tmp_path, how)
    age = None if how == "fault" else 7.0

    async def small(store: Store) -> None:
        for text, more in (
            (HEAD + "per_2,card,4711,a\n", {}),
            (json.dumps({"holidays": {"cn": ["2026-10-01"]}}), {}),
            (json.dumps({"holidays": {"cn": ["2026-10-01"]}}), {"replace": True}),
        ):
            await _import(store, text, **more)
            site = store.allowlist.site()
            assert (site.fault, site.restored) == (how == "fault", how == "restored"), text
            assert site.synced_at == age, "a part of the list says nothing about its age"
        refused = await _import(store, json.dumps({"holidays": {}}), replace=True, recovered=True)
        assert refused["mistakes"] == [["--recovered", "expected --replace and a file with credentials"]]
        refused = await _import(store, HEAD + "per_2,card,4711,a\n", recovered=True)
        assert refused["mistakes"]
        wrong = await _import(store, HEAD + "per_2,cart,4711,a\n", replace=True, recovered=True, partial=True)
        assert wrong["mistakes"]
        await _import(store, HEAD + "per_2,card,4711,a\n", replace=True)
        assert store.allowlist.site().fault or store.allowlist.site().restored
        assert store.allowlist.site().synced_at == 9.0, "all credentials are new: their age is"

    async def again(store: Store) -> None:
        assert [str(n) for n, _ in store.notices] == ["db_damaged" if how == "fault" else "db_restored"], "it stands"
        done = await _import(store, HEAD + "per_2,card,4711,a\n", replace=True, recovered=True)
        assert done["mistakes"] == []
        site = store.allowlist.site()
        assert (site.fault, site.restored, site.synced_at) == (False, False, 9.0)

    async def later(store: Store) -> None:
        assert store.notices == []

    for body in (small, again, later):
        run(tmp_path, body)


def test_the_age_of_a_list_by_imports_alone(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await _import(store, json.dumps({"blocks": {"per_9": None}}))
        assert store.allowlist.site().synced_at is None, "no credentials, no list"
        await store.import_rows({"text": HEAD + "per_1,card,1,a\n", "form": "csv"}, DIGEST, None, at=5.0)
        assert store.allowlist.site().synced_at == 5.0, "the first list of a new store is all there is"
        await _import(store, HEAD + "per_2,card,2,a\n")
        assert store.allowlist.site().synced_at == 5.0, "an addition confirms nothing"
        await _import(store, HEAD + "per_2,card,2,a\n", replace=True)
        assert store.allowlist.site().synced_at == 9.0

    run(tmp_path, body)


@pytest.mark.parametrize("anchors", ["kept", "taken away"])
def test_an_older_database_put_back_grants_no_use_again(tmp_path: Path, anchors: str) -> None:
    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1, use_limit=1)], at=7.0, replace=False)
        await store.journal.append(event(1), now=True)

    async def use(store: Store) -> None:
        assert not store.allowlist.site().restored, "the control: the newest database is not called older"
        assert await store.allowlist.consume(PassUse(5, 1), event(2), event(3))

    async def after(store: Store) -> None:
        assert "audit_broken" in [str(n) for n, _ in store.notices]
        assert store.allowlist.site().restored, "uses since are not known, so none is granted"
        assert store.allowlist.find(digest(1)) is not None, "residents pass"

    async def whole(store: Store) -> None:
        assert store.allowlist.site().restored, "also after another start"
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=1, synced_at=9.0, full=True)
        assert not store.allowlist.site().restored

    run(tmp_path, before)
    old = (tmp_path / "lintel.db").read_bytes()
    run(tmp_path, use)
    (tmp_path / "lintel.db").write_bytes(old)
    if anchors == "taken away":
        (tmp_path / "anchors").unlink()
    run(tmp_path, after)
    run(tmp_path, whole)


def _spoil(path: Path, offset: int) -> None:
    """The body of the row that many before the newest is no event any more."""

    async def body(store: Store) -> None:
        await store.writer.submit(
            lambda conn: (
                conn.execute(
                    "UPDATE journal SET body = x'01ff' WHERE place = (SELECT max(place) FROM journal) - ?", (offset,)
                ).rowcount
            ),
            now=True,
        )

    run(path, body)


def test_a_newest_event_that_can_not_be_read_costs_itself_alone(tmp_path: Path) -> None:
    async def before(store: Store) -> None:
        for n in range(3):
            await store.journal.append(event(n, record=f"r{n}"), now=True)

    async def after(store: Store) -> None:
        assert [(str(n), d) for n, d in store.notices] == [("audit_broken", "access: event 3 can not be read")]
        assert store.journal.newest_ts() == event(1).ts, "the newest that can be read tells the time"
        assert store.journal.heads()["access"] == {"epoch": 2, "seq": 0, "hash": "00" * 32}
        assert not store.allowlist.site().restored, "nothing is older"
        assert await store.journal.append(event(5, record="r1"), now=True) == 2, "known by its record"
        assert await store.journal.append(event(6), now=True) == 1

    async def again(store: Store) -> None:
        assert store.notices == []
        assert await store.journal.append(event(7), now=True) == 2
        assert [b.what for b in verify(store.database).breaks] == ["edited: its body can not be read"]

    run(tmp_path, before)
    _spoil(tmp_path, 0)
    run(tmp_path, after)
    run(tmp_path, again)


def test_an_empty_epoch_after_an_unreadable_event_is_not_left_again(tmp_path: Path) -> None:
    async def before(store: Store) -> None:
        await store.journal.append(event(1), now=True)

    async def epoch(store: Store) -> None:
        assert store.journal.heads()["access"]["epoch"] == 2

    run(tmp_path, before)
    _spoil(tmp_path, 0)
    run(tmp_path, epoch)
    run(tmp_path, epoch)


def test_a_ring_with_what_is_no_event_is_drained_and_told(tmp_path: Path) -> None:
    async def main() -> None:
        said: list = []
        store = opened(tmp_path, said)
        await store.journal.append(event(1), now=True)
        store.ring.keep([encode(event(2)), b"no event", encode(event(3))], _full())
        store.writer._fault = _full()
        await store.journal.append(event(4), now=True)
        async with asyncio.timeout(30):
            while store.writer.fault or not [d for n, d in said if n == "gap"]:
                await asyncio.sleep(0.02)
        people = [r.event.person for r in store.journal.export(Stream.ACCESS)]
        assert people == ["per_1", "per_2", "per_3", "per_4"]
        assert [d for n, d in said if n == "gap"] == ["1 events in the emergency ring could not be read"]
        await store.close()

    asyncio.run(main())


def _full() -> StoreError:
    return StoreError("disk_full", "as if the disk were full")


def test_what_is_found_when_the_disk_comes_back_is_told_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def before(store: Store) -> None:
        for n in range(3):
            await store.journal.append(event(n), now=True)

    run(tmp_path, before)
    _spoil(tmp_path, 0)

    async def main() -> None:
        said: list = []
        with monkeypatch.context() as patch:
            patch.setattr("lintel.edge.store.database._can_write", lambda _: False)
            store = opened(tmp_path, said)
        assert store.notices == []
        async with asyncio.timeout(30):
            while store.writer.fault or not [d for n, d in said if n == "audit_broken"]:
                await asyncio.sleep(0.02)
        assert [d for n, d in said if n == "audit_broken"] == ["access: event 3 can not be read"]
        await store.close()

    asyncio.run(main())

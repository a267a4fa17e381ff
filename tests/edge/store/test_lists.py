"""What local lists may and may not change: revocations, tombstones, ids, lockdown, what a replacement sweeps."""

import json
import time
from collections.abc import Awaitable
from pathlib import Path

from lintel.edge.model import ClockState, Instant, Status
from lintel.edge.store import Del, ItemPut, PassPut, Store, Type
from lintel.edge.store.recovery import newest_snapshot

from .helpers import DIGEST, card, digest, event, run


def _status(store: Store, value: object) -> Status | None:
    found = store.allowlist.find(digest(value))
    return found.status if found is not None else None


def test_a_lockdown_outlives_the_database_and_a_restored_list_says_so(tmp_path: Path) -> None:
    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        await store.allowlist.set_lockdown({"north"}, on=True)
        await store.tend()
        assert newest_snapshot(tmp_path) > 0
        assert not store.allowlist.site().restored, "the running list is no snapshot"

    async def after(store: Store) -> None:
        site = store.allowlist.site()
        assert (site.lockdown, site.restored, site.fault) == (frozenset({"north"}), True, False)
        await store.allowlist.apply_checkpoint([card(2)], epoch=1, seq=1, synced_at=8.0)
        assert store.allowlist.site().restored, "a part of the list is not the list"

    async def whole(store: Store) -> None:
        assert store.allowlist.site().restored, "also after another restart"
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=2, synced_at=9.0, full=True)
        assert not store.allowlist.site().restored

    run(tmp_path, before)
    raw = bytearray((tmp_path / "lintel.db").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "lintel.db").write_bytes(raw)
    run(tmp_path, after)
    run(tmp_path, whole)


def test_no_local_list_lifts_a_revocation_whatever_its_id(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        lists, put = store.allowlist, store.allowlist.apply_checkpoint
        await put([card(1, id="crd_1", rev=8, status=Status.REVOKED)], epoch=1, seq=1, synced_at=1.0)
        for again in (card(1), card(1, id="crd_2")):
            for replace in (False, True, True):
                await lists.apply_import([again], at=2.0, replace=replace)
                assert _status(store, 1) is Status.REVOKED, (again.id, replace)
        await lists.apply_import([], at=2.0, replace=True)
        await lists.apply_import([card(1)], at=2.0, replace=False)
        assert _status(store, 1) is Status.REVOKED, "left out and named again"
        await put([card(1, id="crd_2", rev=8)], epoch=1, seq=2, synced_at=1.0)
        assert _status(store, 1) is Status.REVOKED, "another id lifts it only from above"
        await put([card(1, id="crd_2", rev=9)], epoch=1, seq=3, synced_at=1.0)
        assert _status(store, 1) is Status.ACTIVE

    run(tmp_path, body)


def test_a_revoked_card_yields_to_its_own_deletion_and_to_a_full_list(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        revoked = [card(n, id=f"crd_{n}", rev=8, status=Status.REVOKED) for n in (1, 2)]
        await put(revoked, epoch=1, seq=1, synced_at=1.0)
        await put([card(1, id="crd_a", rev=1), Del(Type.CREDENTIAL, "crd_1", 9)], epoch=1, seq=2, synced_at=1.0)
        assert _status(store, 1) is Status.ACTIVE
        await put([card(2, id="crd_b", rev=1)], epoch=1, seq=3, synced_at=1.0, full=True)
        assert (_status(store, 2), store.allowlist.count()) == (Status.ACTIVE, 1)

    run(tmp_path, body)


def test_a_card_deleted_as_revoked_stays_away_from_local_lists(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        await put([card(1, id="crd_1", rev=1), card(2, id="crd_2", rev=1)], epoch=1, seq=1, synced_at=1.0)
        gone = [Del(Type.CREDENTIAL, "crd_1", 2, "revoked"), Del(Type.CREDENTIAL, "crd_2", 2, "deleted")]
        await put(gone, epoch=1, seq=2, synced_at=1.0)
        await store.allowlist.apply_import([card(1), card(2)], at=2.0, replace=False)
        assert (_status(store, 1), _status(store, 2)) == (None, Status.ACTIVE)
        await put([card(1, id="crd_1", rev=3)], epoch=1, seq=3, synced_at=1.0)
        assert _status(store, 1) is Status.ACTIVE

    run(tmp_path, body)


def test_a_local_card_keeps_the_clouds_id(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_checkpoint([card(1, id="crd_1", rev=4)], epoch=1, seq=1, synced_at=1.0)
        await store.allowlist.apply_import([card(1, person="per_new")], at=2.0, replace=True)
        found = store.allowlist.find(digest(1))
        assert found is not None
        assert (found.id, found.person) == ("crd_1", "per_new")
        await store.allowlist.apply_checkpoint([Del(Type.CREDENTIAL, "crd_1", 9)], epoch=1, seq=2, synced_at=1.0)
        assert _status(store, 1) is None, "the cloud still reaches it"

    run(tmp_path, body)


def test_a_pass_with_an_id_of_its_own_stays_revoked(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        await put([PassPut(7, ("a",), rev=3, id="pass-x"), PassPut(8, rev=3)], epoch=1, seq=1, synced_at=1.0)
        known = [store.allowlist.visitor_pass(n) for n in (7, 8)]
        assert [row.id for row in known if row is not None] == ["pass-x", "vp_8"]
        await put([Del(Type.VISITOR_PASS, "pass-x", 4, "revoked")], epoch=1, seq=2, synced_at=1.0)
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert row.status is Status.REVOKED
        await store.allowlist.apply_import([PassPut(7, ("a",)), PassPut(7, ("a",), id="y")], at=1.0, replace=False)
        await put([PassPut(7, ("a",), rev=4, id="pass-x")], epoch=1, seq=3, synced_at=1.0)
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert row.status is Status.REVOKED
        await put([PassPut(7, ("a",), rev=5, id="pass-x")], epoch=1, seq=4, synced_at=1.0)
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert row.status is Status.ACTIVE
        left = store.database.reader.execute("SELECT count(*) FROM tombstone").fetchone()
        assert left == (0,), "both names are lifted together"

    run(tmp_path, body)


HEAD = "person,method,value,groups\n"


def _file(store: Store, text: str, form: str = "csv", **more: object) -> Awaitable[dict[str, object]]:
    return store.import_rows({"text": text, "form": form, "replace": True}, DIGEST, None, **more)  # type: ignore[arg-type]


def test_a_list_that_replaces_sweeps_only_what_it_speaks_of(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        items = [
            ItemPut(Type.SCHEDULE, "day", {"mon-fri": ["08:00-18:00"]}),
            ItemPut(Type.HOLIDAY_SET, "cn", {"dates": ["2026-10-01"]}),
            ItemPut(Type.BLOCK, "per_9", {"until": None}),
        ]
        await store.allowlist.apply_import([*items, PassPut(7, ("a",)), card(1)], at=5.0, replace=False)
        assert (await _file(store, HEAD + "per_2,card,4711,a\n"))["deleted"] == 1
        site, kept = store.allowlist.site(), store.allowlist.visitor_pass(7)
        assert (set(site.schedules), len(site.holidays), set(site.blocks)) == ({"day"}, 1, {"per_9"})
        assert kept is not None
        assert kept.status is Status.ACTIVE
        assert (await _file(store, json.dumps({"blocks": {}, "passes": []}), "json"))["deleted"] == 2
        site = store.allowlist.site()
        assert (set(site.schedules), set(site.blocks), store.allowlist.count()) == ({"day"}, set(), 1)

    run(tmp_path, body)


def test_who_was_dropped_by_a_list_comes_back_by_a_list(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        lists = store.allowlist
        await lists.apply_import([card(1), card(2, rev=5)], at=1.0, replace=False)
        await lists.apply_import([], at=2.0, replace=True)
        assert lists.count() == 0
        await lists.apply_import([card(1), card(2, rev=5)], at=3.0, replace=False)
        assert (_status(store, 1), _status(store, 2)) == (Status.ACTIVE, Status.ACTIVE)
        await lists.apply_checkpoint(
            [Del(Type.CREDENTIAL, digest(n).hex(), 9, why) for n, why in ((1, "deleted"), (2, "erased"))],
            epoch=1, seq=1, synced_at=4.0,
        )  # fmt: skip
        await lists.apply_import([card(1), card(2)], at=5.0, replace=False)
        assert (_status(store, 1), _status(store, 2)) == (Status.ACTIVE, None)
        await lists.apply_checkpoint([card(1, rev=9, person="old")], epoch=1, seq=2, synced_at=6.0)
        found = lists.find(digest(1))
        assert found is not None
        assert found.person == "per_1", "the local row counts on from the tombstone"

    run(tmp_path, body)


def test_only_a_trusted_time_prunes_tombstones(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        def graves() -> int:
            return int(store.database.reader.execute("SELECT count(*) FROM tombstone").fetchone()[0])

        gone = Del(Type.CREDENTIAL, "crd_1", 9, "revoked")
        await store.allowlist.apply_checkpoint([gone], epoch=1, seq=1, synced_at=1_000.0)
        await _file(store, HEAD)
        await _file(store, HEAD, at=1e10)
        assert graves() == 1, "a clock that nobody vouches for"
        await _file(store, HEAD, at=2_000.0, trusted=True)
        assert graves() == 1
        await _file(store, HEAD, at=1e8, trusted=True)
        assert graves() == 1, "retention knows of no such time"
        await store.retention.prune(Instant(1e8, 0.0, ClockState.SYNCED), uplink=False)
        await _file(store, HEAD, at=1e8, trusted=True)
        assert graves() == 0
        ahead = event(int(time.time() * 1000) + 10**9 - 1_790_000_000_000)
        await store.journal.append(ahead, now=True)
        await _file(store, HEAD)
        assert store.allowlist.site().synced_at == ahead.ts / 1000, "never before the newest event"

    run(tmp_path, body)

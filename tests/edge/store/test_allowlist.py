import asyncio
import hashlib
import itertools
import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lintel.edge.errors import StoreError
from lintel.edge.model import Direction, Status, Stream
from lintel.edge.store import (
    Change,
    CountedUse,
    Del,
    ItemPut,
    PassPut,
    PassUse,
    StepUse,
    Store,
    Type,
    allowlist,
    connection,
    open_database,
)
from lintel.edge.store.apply import Applier

from .helpers import KEY, card, digest, event, run


def test_found_as_it_was_put(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        put = card(
            1, id="crd_1", valid_from=1.5, valid_to=2.5, schedule="day", use_limit=3, duress=True, groups=("a", "b")
        )
        done = await store.allowlist.apply_checkpoint([put], epoch=1, seq=1, synced_at=9.0, fresh_until=99.0)
        assert (done.put, done.revision) == (1, store.allowlist.revision)
        found = store.allowlist.find(put.digest)
        assert found is not None
        assert (found.id, found.person, found.groups, found.use_limit) == ("crd_1", "per_1", frozenset("ab"), 3)
        assert (found.valid_from, found.valid_to, found.schedule, found.duress) == (1.5, 2.5, "day", True)
        assert store.allowlist.find(digest("nobody")) is None
        assert store.allowlist.find(put.digest[:8] + bytes(8)) is None, "the tail of the digest is compared too"
        assert store.allowlist.find(b"") is None
        site = store.allowlist.site()
        assert (site.epoch, site.seq, site.synced_at, site.fresh_until) == (1, 1, 9.0, 99.0)

    run(tmp_path, body)


def test_empty_store_finds_nobody_and_is_not_synced(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        assert store.allowlist.find(digest(1)) is None
        assert store.allowlist.site().synced_at is None

    run(tmp_path, body)


def test_an_older_checkpoint_is_refused_whole(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_checkpoint([card(1)], epoch=2, seq=5, synced_at=1.0)
        for epoch, seq in ((2, 4), (1, 900)):
            with pytest.raises(StoreError) as caught:
                await store.allowlist.apply_checkpoint([card(2)], epoch=epoch, seq=seq, synced_at=2.0)
            assert caught.value.word == "version_rollback"
        assert store.allowlist.find(digest(2)) is None
        assert store.allowlist.site().synced_at == 1.0

    run(tmp_path, body)


def test_a_checkpoint_that_breaks_half_way_changes_nothing(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        with pytest.raises(Exception, match="cannot store TEXT"):
            await store.allowlist.apply_checkpoint([card(1), card(2, valid_from="soon")], epoch=1, seq=1, synced_at=1.0)
        assert store.allowlist.count() == 0
        assert store.allowlist.site().epoch == 0
        assert await store.journal.append(event(), now=True) == 1

    run(tmp_path, body)


def _state(conn) -> list:
    rows = conn.execute("SELECT person, status, rev FROM credential ORDER BY key").fetchall()
    return [rows, conn.execute("SELECT id, rev FROM tombstone ORDER BY id").fetchall()]


_change = st.builds(
    lambda rev, kind: Del(Type.CREDENTIAL, "crd_x", rev) if kind == 3
    else card("x", id="crd_x", rev=rev, status=list(Status)[kind], person=f"per_{rev}"),
    st.integers(1, 4), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(_change, min_size=5, max_size=5))
def test_every_order_of_five_changes_ends_the_same(tmp_path: Path, changes: list[Change]) -> None:
    path = tmp_path / "p.db"
    conn = (base := open_database(path, KEY, check=False)).connect()
    ends = set()
    for order in itertools.permutations(changes):
        conn.execute("BEGIN")
        for change in order:
            Applier(conn, 1.0).apply([change], full=False)
        ends.add(str(_state(conn)))
        conn.execute("ROLLBACK")
    conn.execute("BEGIN")
    Applier(conn, 1.0).apply(changes, full=False)  # all in one checkpoint, and once more
    Applier(conn, 1.0).apply(changes, full=False)
    ends.add(str(_state(conn)))
    conn.execute("ROLLBACK")
    conn.close()
    base.close()
    assert len(ends) == 1


def test_a_revocation_is_sticky(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        apply = store.allowlist.apply_checkpoint
        await apply([card(1, rev=8, status=Status.REVOKED)], epoch=1, seq=1, synced_at=1.0)
        await apply([card(1, rev=7)], epoch=1, seq=2, synced_at=1.0)
        await store.allowlist.apply_import([card(1)], at=2.0, replace=False)  # no revision lifts nothing
        found = store.allowlist.find(digest(1))
        assert found is not None
        assert found.status is Status.REVOKED
        await apply([card(1, rev=9)], epoch=1, seq=3, synced_at=1.0)
        found = store.allowlist.find(digest(1))
        assert found is not None
        assert found.status is Status.ACTIVE
        await apply([Del(Type.CREDENTIAL, digest(1).hex(), 10, "revoked")], epoch=1, seq=4, synced_at=1.0)
        await apply([card(1, rev=9)], epoch=1, seq=5, synced_at=1.0 + 89 * 86400)
        assert store.allowlist.find(digest(1)) is None

    run(tmp_path, body)


def test_a_full_list_deletes_the_rest(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(i) for i in range(5)], at=1.0, replace=False)
        done = await store.allowlist.apply_import([card(1), card(7)], at=2.0, replace=True)
        assert (done.put, done.deleted) == (2, 4)
        assert store.allowlist.count() == 2

    run(tmp_path, body)


def test_a_card_changes_hands_in_one_checkpoint(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_checkpoint([card(1, id="crd_a", rev=3)], epoch=1, seq=1, synced_at=1.0)
        moved = [card(1, id="crd_b", rev=1, person="per_b"), Del(Type.CREDENTIAL, "crd_a", 4)]
        await store.allowlist.apply_checkpoint(moved, epoch=1, seq=2, synced_at=1.0)
        found = store.allowlist.find(digest(1))
        assert found is not None
        assert (found.id, found.person) == ("crd_b", "per_b")

    run(tmp_path, body)


def test_colliding_digests_are_reported(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        twin = card(1)
        other = type(twin)(**{**{f: getattr(twin, f) for f in twin.__slots__}, "digest": twin.digest[:8] + bytes(8)})
        done = await store.allowlist.apply_import([twin, other], at=1.0, replace=False)
        assert (done.put, len(done.errors)) == (1, 1)

    run(tmp_path, body)


def test_site_items(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        items = [
            ItemPut(Type.SCHEDULE, "day", {"mon-fri": ["08:00-18:00"]}),
            ItemPut(Type.HOLIDAY_SET, "cn", {"dates": ["2026-10-01"]}),
            ItemPut(Type.BLOCK, "per_9", {"until": None}),
        ]
        before = store.allowlist.site()
        await store.allowlist.apply_import(items, at=5.0, replace=False)
        await store.allowlist.set_lockdown({"north"}, on=True)
        site = store.allowlist.site()
        assert site is not before
        assert site is store.allowlist.site(), "one snapshot per revision"
        assert (set(site.schedules), len(site.holidays), dict(site.blocks), site.lockdown) == (
            {"day"}, 1, {"per_9": None}, frozenset({"north"}),
        )  # fmt: skip
        await store.allowlist.set_lockdown({"north"}, on=False)
        assert store.allowlist.site().lockdown == frozenset()

    run(tmp_path, body)
    with pytest.raises(ValueError, match="expected"):
        ItemPut(Type.BLOCK, "x", {"until": "soon"})


def test_passes(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        assert store.allowlist.visitor_pass(7) is None
        await store.allowlist.apply_import(
            [PassPut(7, ("a",), secret=bytes(32), use_limit=2, person="per_h")], at=1.0, replace=False
        )
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert (row.secret, row.groups, row.uses) == (bytes(32), frozenset("a"), 0)
        assert "secret" not in repr(row)
        await store.allowlist.apply_import([PassPut(7, ("b",), use_limit=2)], at=1.0, replace=False)
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert row.secret == bytes(32), "a list without secrets keeps ours"
        await store.allowlist.apply_checkpoint(
            [Del(Type.VISITOR_PASS, "vp_8", 1, "revoked")], epoch=1, seq=1, synced_at=1.0
        )
        gone = store.allowlist.visitor_pass(8)
        assert gone is not None
        assert gone.status is Status.REVOKED

    run(tmp_path, body)


def _race(store: Store, use, n: int) -> "asyncio.Future[list[bool]]":
    return asyncio.gather(
        *(store.allowlist.consume(use, event(i, reason="granted"), event(i, reason="already_used")) for i in range(n))
    )


def test_races_for_one_use(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1, use_limit=3)], at=1.0, replace=False)
        for use, limit in ((CountedUse(digest(1)), 3), (PassUse(5, 1), 1), (StepUse(6, 99, Direction.IN), 1)):
            won = await _race(store, use, 330)
            assert sum(won) == limit
        reasons = [row.event.reason for row in store.journal.export(Stream.ACCESS)]
        assert (reasons.count("granted"), len(reasons)) == (5, 990)
        assert reasons.count("replayed") == 329, "the same code of a rotating pass"
        found = store.allowlist.find(digest(1))
        assert found is not None
        assert found.uses == 3

    run(tmp_path, body)

    async def again(store: Store) -> None:  # after a restart everything is still spent
        for use in (CountedUse(digest(1)), PassUse(5, 1), StepUse(6, 99, Direction.IN)):
            assert await _race(store, use, 2) == [False, False]
        assert await _race(store, StepUse(6, 99, Direction.OUT), 1) == [True]

    run(tmp_path, again)


def test_a_use_lost_to_the_limit_is_not_called_a_replay(tmp_path: Path) -> None:
    """Two codes of a rotating pass with one use race: the second was shown by nobody before, and stays so."""

    async def body(store: Store) -> None:
        uses = [StepUse(6, 99, Direction.IN, 1), StepUse(6, 99, Direction.OUT, 1), StepUse(6, 99, Direction.IN, 1)]
        out = event(1), event(2, reason="refused")
        assert await asyncio.gather(*(store.allowlist.consume(use, *out) for use in uses)) == [True, False, False]
        reasons = [row.event.reason for row in store.journal.export(Stream.ACCESS)]
        assert reasons == ["granted", "already_used", "replayed"]
        assert [str(store.allowlist.spent(use)) for use in uses] == ["replayed", "already_used", "replayed"]

    run(tmp_path, body)


def _threads(path: Path, take) -> int:
    """1,000 takes of one use from two threads with a connection each; returns how many won."""
    wins = []
    start = threading.Barrier(2)
    base = open_database(path, KEY, check=False)

    def run_one() -> None:
        conn = base.connect()
        start.wait()
        for n in range(500):
            wins.append(take(conn, PassUse(n, 1)))
            start.wait()
        conn.close()

    threads = [threading.Thread(target=run_one) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    base.close()
    return sum(wins)


def test_two_connections_never_both_win(tmp_path: Path) -> None:
    assert _threads(tmp_path / "a.db", allowlist.take) == 500


def test_control_read_then_write_doubles(tmp_path: Path) -> None:
    meet = threading.Barrier(2, timeout=5)

    def naive(conn, use: PassUse) -> bool:
        row = conn.execute("SELECT uses FROM use_count WHERE space = 1 AND id = ?", (use.pass_id,)).fetchone()
        meet.wait()  # the moment between reading and writing
        if row:
            return False
        conn.execute("INSERT OR REPLACE INTO use_count (space, id, uses) VALUES (1, ?, 1)", (use.pass_id,))
        return True

    assert _threads(tmp_path / "b.db", naive) > 500


def test_steps_are_forgotten_after_ten_minutes(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        for step in range(100, 160):
            assert await _race(store, StepUse(6, step, Direction.IN), 1) == [True]
        kept = store.database.reader.execute("SELECT count(*) FROM pass_step").fetchone()[0]
        assert kept <= allowlist.STEPS_KEPT + 1
        assert await _race(store, StepUse(6, 159, Direction.IN), 1) == [False]

    run(tmp_path, body)


def test_a_revoked_credential_has_no_use_left(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(1, use_limit=3)], at=1.0, replace=False)
        revoked = store.allowlist.apply_import([card(1, use_limit=3, status=Status.REVOKED)], at=1.0, replace=False)
        assert await _race(store, CountedUse(digest(1)), 1) == [False]
        await revoked

    run(tmp_path, body)


def test_look_ups_stay_exact_in_a_large_list(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.allowlist.apply_import([card(i) for i in range(5000)], at=1.0, replace=False)
        for i in random.sample(range(5000), 500):
            found = store.allowlist.find(digest(i))
            assert found is not None
            assert found.person == f"per_{i}"
            assert store.allowlist.find(hashlib.blake2b(f"no{i}".encode(), digest_size=16).digest()) is None

    run(tmp_path, body)


def test_an_unreadable_list_is_an_error_not_a_denial(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        empty = connection.sqlite.connect(":memory:")
        store.database.look = lambda _: empty  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            store.allowlist.find(digest(1))
        empty.close()

    run(tmp_path, body)

"""A file without revisions may always be stricter than what is stored, and lifts nothing that was revoked."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lintel.edge.model import Status
from lintel.edge.store import Change, CredentialPut, Del, PassPut, Store, Type, apply, open_database
from lintel.edge.store.apply import Applier
from lintel.edge.store.connection import Connection

from .helpers import KEY, card, digest, run

ACTIVE, SUSPENDED, REVOKED = Status
PLAIN = digest("x").hex()


async def _granted_again(store: Store) -> None:
    """Revoked under its id, and granted again."""
    put = store.allowlist.apply_checkpoint
    await put([card("x", rev=1, id="crd_x")], epoch=1, seq=1, synced_at=1.0)
    await put([Del(Type.CREDENTIAL, "crd_x", 2, "revoked")], epoch=1, seq=2, synced_at=1.0)
    await put([card("x", rev=3, id="crd_x")], epoch=1, seq=3, synced_at=1.0)


@pytest.mark.parametrize("name", ["", "crd_x"])
@pytest.mark.parametrize(
    "fields", [{"status": REVOKED}, {"status": SUSPENDED}, {"groups": ("south",)}, {"valid_to": 5.0}]
)
def test_who_was_granted_again_is_refused_by_a_file_that_says_so(
    tmp_path: Path, name: str, fields: dict[str, object]
) -> None:
    async def body(store: Store) -> None:
        await _granted_again(store)
        assert store.database.reader.execute("SELECT * FROM tombstone").fetchall() == []
        done = await store.allowlist.apply_import([card("x", id=name, **fields)], at=2.0, replace=False)
        assert (done.put, done.kept) == (1, 0)
        found = store.allowlist.find(digest("x"))
        assert found is not None
        assert found.id == "crd_x"
        said = card("x", **fields)
        assert (found.status, found.groups, found.valid_to) == (said.status, frozenset(said.groups), said.valid_to)

    run(tmp_path, body)


def test_a_tombstone_of_a_card_that_another_id_holds_now_hinders_no_revocation(tmp_path: Path) -> None:
    """The revisions of two ids say nothing about one another: that of the old one may be the higher."""

    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        await put([card("x", rev=3, id="crd_a")], epoch=1, seq=1, synced_at=1.0)
        moved = [Del(Type.CREDENTIAL, "crd_a", 4, "revoked"), card("x", rev=1, id="crd_b")]
        await put(moved, epoch=1, seq=2, synced_at=1.0)
        await store.allowlist.apply_import([card("x", status=REVOKED)], at=2.0, replace=False)
        await store.allowlist.apply_import([card("x")], at=3.0, replace=False)
        found = store.allowlist.find(digest("x"))
        assert found is not None
        assert found.status is REVOKED

    run(tmp_path, body)


@pytest.mark.parametrize("status", [SUSPENDED, REVOKED])
def test_a_stricter_file_that_gives_a_revoked_card_to_who_gets_in_revokes(tmp_path: Path, status: Status) -> None:
    """Neither does the person keep getting in, nor is the revocation of the card forgotten."""

    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        await put([Del(Type.CREDENTIAL, PLAIN, 2, "revoked")], epoch=1, seq=1, synced_at=1.0)
        await put([card("y", rev=1, id="crd_y")], epoch=1, seq=2, synced_at=1.0)
        await store.allowlist.apply_import([card("x", id="crd_y")], at=2.0, replace=False)
        assert store.allowlist.find(digest("x")) is None, "this would lift it"
        await store.allowlist.apply_import([card("x", id="crd_y", status=status)], at=2.0, replace=False)
        await store.allowlist.apply_import([card("x", id="crd_y")], at=3.0, replace=False)
        assert store.allowlist.find(digest("y")) is None
        found = store.allowlist.find(digest("x"))
        assert found is not None
        assert found.status is REVOKED

    run(tmp_path, body)


def test_a_file_revokes_a_pass_although_its_number_was_revoked_before(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        put = store.allowlist.apply_checkpoint
        await put([PassPut(7, ("a",), rev=1, id="pass-x")], epoch=1, seq=1, synced_at=1.0)
        await put([Del(Type.VISITOR_PASS, "vp_7", 2, "revoked")], epoch=1, seq=2, synced_at=1.0)  # not its id
        await store.allowlist.apply_import([PassPut(7, ("a",), status=REVOKED)], at=2.0, replace=False)
        row = store.allowlist.visitor_pass(7)
        assert row is not None
        assert row.status is REVOKED

    run(tmp_path, body)


_revoke = st.builds(lambda rev: Del(Type.CREDENTIAL, "crd_x", rev, "revoked"), st.integers(1, 4))
_put = st.builds(lambda rev, s: card("x", id="crd_x", rev=rev, status=s), st.integers(1, 4), st.sampled_from(Status))
_FILES = [card("x", id=name, status=s, groups=("south",)) for name in ("", "crd_x") for s in Status]


def _row(conn: Connection) -> tuple[Status, str] | None:
    row = conn.execute("SELECT status, groups FROM credential").fetchone()
    return None if row is None else (tuple(Status)[row[0]], row[1])


def _after(conn: Connection, changes: tuple[Change, ...]) -> Iterator[tuple[CredentialPut, object, object]]:
    """(file, row before it, row after it), for every file after these changes."""
    conn.execute("BEGIN")
    for change in changes:
        Applier(conn, 1.0).apply([change], full=False)
    before = _row(conn)
    for file in _FILES:
        conn.execute("SAVEPOINT one")
        Applier(conn, 1.0, local=True).apply([file], full=False)
        yield file, before, _row(conn)
        conn.execute("ROLLBACK TO one")
    conn.execute("ROLLBACK")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(put=_put, more=st.lists(st.one_of(_put, _revoke), min_size=3, max_size=3))
def test_after_every_order_of_changes_a_file_is_obeyed_where_it_is_stricter_and_lifts_nothing(
    tmp_path: Path, put: Change, more: list[Change]
) -> None:
    """At least one change names the card: from an id alone nobody can tell it."""
    conn = (base := open_database(tmp_path / "p.db", KEY, check=False)).connect()
    ends = set()
    try:
        for order in itertools.permutations([put, *more]):
            seen = list(_after(conn, order))
            for file, before, after in seen:
                if before is None or before[0] is REVOKED:
                    assert after is None or after[0] is REVOKED, "a file lifts nothing"
                else:
                    assert after == (file.status, "south"), "who gets in is treated as the newest file says"
            ends.add(str([(before, after) for _, before, after in seen]))
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        conn.close()
        base.close()
    assert len(ends) == 1


def test_control_without_words_that_stick_a_file_lifts_a_revocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "_STICKY", ())

    async def body(store: Store) -> None:
        await store.allowlist.apply_checkpoint(
            [Del(Type.CREDENTIAL, "crd_x", 2, "revoked")], epoch=1, seq=1, synced_at=1.0
        )
        await store.allowlist.apply_import([card("x", id="crd_x")], at=2.0, replace=False)
        assert store.allowlist.find(digest("x")) is not None

    run(tmp_path, body)

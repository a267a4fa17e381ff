"""A store that an older Lintel wrote goes on with all that it knew, also one that comes from a snapshot."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from lintel.edge.model import Method, PersonKind
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Store, derive
from lintel.edge.store import database as db
from lintel.edge.store.changes import CONSENTS
from lintel.edge.store.connection import connect
from lintel.edge.store.recovery import SNAPSHOTS, snapshot

from .helpers import KEY, digest, opened

GRANTED, WITHDRAWN = Consent.GRANTED, Consent.WITHDRAWN
_OLD = "INSERT INTO credential VALUES (?, ?, ?, ?, 0, ?, 0, 'a', NULL, NULL, '', NULL, 0, ?, ?)"


def face(value: str, rev: int | None = None, *, name: str = "", said: Consent | None = GRANTED) -> CredentialPut:
    return CredentialPut(
        digest(value), f"per_{value}", PersonKind.OWNER, Method.FACE, ("a",), rev=rev, id=name, consent=said
    )


def _third(path: Path, monkeypatch: pytest.MonkeyPatch, *, made: bool = False) -> None:
    """A store as the third step left it; `made`: while that was still in the making, and had a part of the fourth."""
    key = derive(KEY, "database")
    with monkeypatch.context() as patch:
        patch.setattr(db, "SCHEMA", 3)
        db.create_database(path, key)
    conn = connect(path, key, uri_mode="mode=rw", cache_kib=256)
    rows = [("granted", None, 3, 1), ("withdrawn", None, 5, 2), ("named", "crd_n", 6, 2), ("none", None, 2, 0)]
    for value, name, rev, said in rows:
        code = digest(value)
        number = int.from_bytes(code[:8], "big", signed=True)
        conn.execute(_OLD, (number, code[8:], name, f"per_{value}", list(Method).index(Method.FACE), rev, said))
        conn.execute("INSERT INTO face VALUES (?, ?, 'W*', NULL, NULL, NULL, 1)", (number, value))
        conn.execute("INSERT INTO roster VALUES ('t1', ?, ?, 2, 1, 1, NULL, NULL, '', '', '', 0, 0)", (number, value))
    if made:
        conn.execute("ALTER TABLE roster ADD COLUMN since REAL")
        conn.execute("CREATE TABLE withdrawal (key INTEGER PRIMARY KEY, id TEXT, rev INTEGER NOT NULL) STRICT")
        conn.execute("INSERT INTO withdrawal SELECT key, id, rev FROM credential WHERE consent = 2")
        gone = int.from_bytes(digest("gone")[:8], "big", signed=True)
        conn.execute("INSERT INTO withdrawal VALUES (?, 'crd_g', 4), (?, 'crd_g', 3)", (gone, gone + 1))
    conn.close()


async def _check(store: Store, *more: str) -> None:
    assert store.allowlist.count() == 4
    assert not store.allowlist.site().fault
    assert store.database.reader.execute("SELECT count(*), total(since IS NULL) FROM roster").fetchone() == (4, 4)
    # the rows go; the withdrawals stay, for the face and for its id
    await store.allowlist.apply_import([face("granted")], at=1.0, replace=True)
    back = [face("withdrawn", 5), face("named"), face("new", 6, name="crd_n"), *(face(value, 4) for value in more)]
    await store.allowlist.apply_import(back, at=2.0, replace=False)
    for put in back:
        found = store.allowlist.find(put.digest)
        assert found is not None
        assert found.consent is WITHDRAWN, put.person
    # of the grant nothing is known but that it is not newer than its row
    for rev, left in ((2, GRANTED), (3, WITHDRAWN)):
        late = dataclasses.replace(face("granted", rev), consent=WITHDRAWN)
        await store.allowlist.apply_checkpoint([late], epoch=1, seq=1, synced_at=1.0)
        found = store.allowlist.find(late.digest)
        assert found is not None
        assert found.consent is left
    await store.allowlist.apply_checkpoint([face("withdrawn", 9)], epoch=1, seq=2, synced_at=1.0)
    found = store.allowlist.find(digest("withdrawn"))
    assert found is not None
    assert found.consent is GRANTED
    await asyncio.to_thread(snapshot, store.database)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_store_of_the_third_step_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, large: bool, made: bool
) -> None:
    """`kept`: only a snapshot of it is left; `large`: it is too large to be checked whole."""
    path = tmp_path / db.FILE
    if kept:
        (tmp_path / SNAPSHOTS).mkdir()
        path = tmp_path / SNAPSHOTS / "000000000000001.db"
    _third(path, monkeypatch, made=made)
    if large:
        monkeypatch.setattr(db, "FULL_CHECK_BYTES", 0)

    async def main() -> None:
        store = opened(tmp_path)
        try:
            assert [str(notice) for notice, _ in store.notices] == (["db_damaged", "db_restored"] if kept else [])
            await _check(store, *(["gone"] if made else []))
        finally:
            await store.close()

    asyncio.run(main())


def test_a_store_that_is_made_today_has_the_columns_of_one_that_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot copies rows by the places of their columns."""
    shapes = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        if number:
            _third(folder / db.FILE, monkeypatch, made=True)
        database = db.open_database(folder / db.FILE, derive(KEY, "database"))
        tables = (*db.DECIDING, "roster")
        shapes.append({t: database.reader.execute(f"PRAGMA table_info({t})").fetchall() for t in tables})
        database.close()
    assert shapes[0] == shapes[1]
    assert CONSENTS.index(GRANTED) == 1

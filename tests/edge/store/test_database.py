import asyncio
import os
import random
import shutil
import stat
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import connection, derive, migrations, open_database, state_key, state_lock
from lintel.edge.store import database as db

from .helpers import KEY, card, event, opened


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ("3.6.23", True), ("3.40.1", True), ("3.44.6", True), ("3.50.7", True), ("3.51", True), ("3.51.2", True),
        ("3.51.3", False), ("3.53.4", False), ("4.0.0", False), ("x", True),
    ],
)  # fmt: skip
def test_library_window(version: str, bad: bool) -> None:
    assert connection.affected(version) is bad


def test_affected_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.sqlite, "sqlite_version", "3.40.1")
    with pytest.raises(StoreError) as caught:
        open_database(tmp_path / "lintel.db", KEY)
    assert caught.value.word == "library_refused"
    assert not list(tmp_path.iterdir())


def test_settings_hold_on_every_connection(tmp_path: Path) -> None:
    database = open_database(tmp_path / "lintel.db", KEY)
    writer = database.connect()
    for conn in (writer, database.reader):
        assert conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert conn.execute("PRAGMA mmap_size").fetchone()[0] == 0
        assert conn.execute("PRAGMA trusted_schema").fetchone()[0] == 0
        assert conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert writer.execute("PRAGMA synchronous").fetchone()[0] == 2
    with pytest.raises(connection.sqlite.OperationalError):
        database.reader.execute("DELETE FROM state")
    writer.close()
    database.close()


def test_nothing_readable_in_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(1, person="per_canary")], at=1.0, replace=False)
        await store.journal.append(event(device="device-canary"))
        await store.close()

    asyncio.run(main())
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"canary" not in file.read_bytes()
        assert not file.stat().st_mode & 0o077, file


def test_wrong_key_is_said_and_changes_nothing(tmp_path: Path) -> None:
    open_database(tmp_path / "lintel.db", KEY).close()
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(StoreError) as caught:
        open_database(tmp_path / "lintel.db", bytes(32))
    assert caught.value.word == "db_damaged"
    assert "key" in str(caught.value)
    assert KEY.hex() not in str(caught.value)
    assert (tmp_path / "lintel.db").read_bytes() == before["lintel.db"]


def test_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "lintel.db"
    database = open_database(path, KEY)
    conn = database.connect()
    conn.execute("PRAGMA user_version = 99")
    database.close()
    conn.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_database(path, KEY)
    assert caught.value.word == "schema_newer"
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["lintel.db"]


def test_migration_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(conn) -> None:
        conn.table("half").create({"a": int})
        raise RuntimeError("power cut")

    path = tmp_path / "lintel.db"
    open_database(path, KEY).close()
    monkeypatch.setattr(db, "SCHEMA", db.SCHEMA + 1)
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, broken))
    with pytest.raises(RuntimeError):
        open_database(path, KEY)
    monkeypatch.undo()
    database = open_database(path, KEY)
    assert not database.reader.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchone()
    database.close()


def _damaged(source: Path, target: Path, pattern: int) -> None:
    rng = random.Random(pattern)
    shutil.copytree(source, target)
    file = target / "lintel.db"
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    page = at // connection.PAGE_SIZE * connection.PAGE_SIZE
    match pattern % 5:
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            data[page : page + connection.PAGE_SIZE] = bytes(connection.PAGE_SIZE)
        case 2:
            del data[max(1, at) :]
        case 3:
            other = rng.randrange(len(data) // connection.PAGE_SIZE) * connection.PAGE_SIZE
            if other == page:
                other = (page + connection.PAGE_SIZE) % len(data)
            data[page : page + connection.PAGE_SIZE] = data[other : other + connection.PAGE_SIZE]
        case 4:
            data += rng.randbytes(rng.randrange(1, 5000))
    file.write_bytes(data)


def test_damage_is_found_at_start(tmp_path: Path) -> None:
    async def fill() -> None:
        store = opened(tmp_path / "good")
        await store.allowlist.apply_import([card(i) for i in range(800)], at=1.0, replace=False)
        await asyncio.gather(*(store.journal.append(event(i)) for i in range(300)))
        await store.close()

    (tmp_path / "good").mkdir()
    asyncio.run(fill())
    key = derive(KEY, "database")
    missed, unchecked = [], 0
    for pattern in range(40):
        target = tmp_path / str(pattern)
        _damaged(tmp_path / "good", target, pattern)
        try:
            open_database(target / "lintel.db", key).close()
            missed.append(pattern)
        except StoreError as error:
            assert error.word == "db_damaged", pattern
        try:
            open_database(target / "lintel.db", key, check=False).close()
            unchecked += 1
        except StoreError:
            pass
        shutil.rmtree(target)
    assert missed == []
    assert unchecked > 5, "the control must miss some: without the check most damage goes unnoticed"


def test_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    key = state_key(tmp_path)
    assert len(key) == 32
    assert state_key(tmp_path) == key
    file = tmp_path / "state.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [f.name for f in tmp_path.iterdir()] == ["state.key"]
    file.chmod(0o640)
    with pytest.raises(StoreError, match="others"):
        state_key(tmp_path)
    file.chmod(0o600)
    file.write_text("zz")
    with pytest.raises(StoreError, match="no key"):
        state_key(tmp_path)


def test_a_key_that_a_power_cut_left_half_made_hinders_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / f".state.key.{os.getpid()}").write_text("half")
    assert len(state_key(tmp_path)) == 32
    assert [f.name for f in tmp_path.iterdir()] == ["state.key"]


def test_a_lost_key_is_not_replaced(tmp_path: Path) -> None:
    open_database(tmp_path / "lintel.db", KEY).close()
    with pytest.raises(StoreError) as caught:
        state_key(tmp_path)
    assert caught.value.word == "key_missing"


@pytest.mark.parametrize("form", [bytes(range(32)), bytes(range(32)).hex().encode() + b"\n"])
def test_key_from_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: bytes) -> None:
    (tmp_path / "lintel-db-key").write_bytes(form)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert state_key(tmp_path / "elsewhere") == KEY


def test_derived_keys_differ() -> None:
    assert len({derive(KEY, p) for p in ("database", "digest", "ring", "anchor")}) == 4


def test_one_process_writes(tmp_path: Path) -> None:
    with state_lock(tmp_path), pytest.raises(StoreError, match="another"), state_lock(tmp_path):
        pass
    with state_lock(tmp_path):
        assert (tmp_path / "lock").exists()

"""Daily snapshots of what decides, and what happens at the start when the database is damaged or gone.

A damaged file is kept aside, never wiped. The newest good snapshot takes its place; without one the store starts empty
and says so in `SiteData.fault`, so that nobody is decided upon from an empty list as if it were the real one.
"""

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

from lintel.edge.errors import StoreError
from lintel.edge.model import Notice
from lintel.edge.store.chain import ANCHOR_FILE, read_anchors
from lintel.edge.store.connection import sqlite
from lintel.edge.store.database import DECIDING, FILE, Database, check_database, create_database, open_database
from lintel.edge.store.files import derive, sync_directory

log = logging.getLogger(__name__)

SNAPSHOTS, DAMAGED = "snapshots", "damaged"
KEEP_SNAPSHOTS, KEEP_DAMAGED = 2, 3
Notices = list[tuple[Notice, str]]


def snapshot(database: Database) -> Path:
    """Copy the tables that decide into a file of their own, encrypted with the same key; keep the newest two.

    Runs in any thread over its own connection, in one read transaction. Raises StoreError.
    """
    folder = database.directory / SNAPSHOTS
    working = folder / ".new.db"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _remove(working)
        copy = open_database(working, database.key, check=False)
        source, target = database.connect_reader(), copy.connect()
        try:
            source.execute("BEGIN")
            target.execute("BEGIN")
            for table in DECIDING:  # table names are our own constants; SQL can not bind them
                rows = source.execute(f"SELECT * FROM {table}")  # noqa: S608
                marks = ", ".join("?" * len(rows.description))
                target.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
            target.execute("INSERT OR IGNORE INTO state VALUES ('restored', '1')")  # what it is, whenever it is opened
            target.execute("COMMIT")
        finally:
            source.close()
            copy.close()
            target.close()  # the last one: check-points the log into the file and removes it
        done = folder / f"{time.time_ns() // 1_000_000:015d}.db"
        working.rename(done)
        sync_directory(folder)
        for old in sorted(folder.glob("0*.db"))[:-KEEP_SNAPSHOTS]:
            _remove(old)
    except (sqlite.Error, OSError) as error:
        raise StoreError("commit_failed", f"no snapshot could be written: {error}") from None
    return done


def newest_snapshot(directory: Path) -> float:
    """When the newest snapshot was made, Unix seconds; 0 when there is none."""
    names = sorted((directory / SNAPSHOTS).glob("0*.db"))
    return int(names[-1].stem) / 1000 if names else 0.0


def open_or_recover(directory: Path, key: bytes) -> tuple[Database, Notices]:
    """Open the database; put a damaged or missing one aside and go on with the newest good snapshot, or empty.

    Raises what `open_database` raises except for damage, and StoreError("key_invalid") when the key is the problem.
    """
    path = directory / FILE
    vanished = not path.exists() and (directory / ANCHOR_FILE).exists()
    try:
        if vanished:
            raise StoreError("db_damaged", f"{path} is gone")  # noqa: TRY301
        return open_database(path, key), []
    except StoreError as error:
        if error.word != "db_damaged":
            raise
        damage = str(error)
    good = [s for s in sorted((directory / SNAPSHOTS).glob("0*.db"), reverse=True) if _opens(s, key)]
    if not good and _foreign_key(directory, key):
        raise StoreError("key_invalid", f"neither {path} nor its anchors open with this key; is it the right one?")
    log.error("the database is damaged: %s", damage)
    notices: Notices = [(Notice.DB_DAMAGED, damage)]
    _set_aside(directory, path)
    if good:
        working = path.with_name(f".{path.name}.new")
        working.unlink(missing_ok=True)
        with good[0].open("rb") as source, os.fdopen(os.open(working, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        working.rename(path)  # whole or not at all: a power cut here ends in another recovery, not in more damage
        sync_directory(directory)
        notices.append((Notice.DB_RESTORED, f"snapshot {good[0].name}"))
        return open_database(path, key), notices
    create_database(path, key, fault=True)
    return open_database(path, key), notices


def _opens(path: Path, key: bytes) -> bool:
    """Whether a snapshot is whole; read as immutable, so that no log appears beside it."""
    try:
        database = Database(path, key, writable=False)
    except sqlite.Error:
        return False
    try:
        check_database(database)
    except StoreError:
        return False
    finally:
        database.close()
    return True


def _foreign_key(directory: Path, key: bytes) -> bool:
    """Whether the anchors, written with the right key, do not authenticate with this one."""
    try:
        read_anchors(directory, derive(key, "anchor"))
    except StoreError as error:
        return "without the key" in str(error)
    return False


def _set_aside(directory: Path, path: Path) -> None:
    """Move the damaged file and its log away together; the newest three are kept."""
    folder = directory / DAMAGED
    folder.mkdir(mode=0o700, exist_ok=True)
    stamp = f"{time.time_ns() // 1_000_000:015d}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(folder / f"{stamp}.db{suffix}")
    sync_directory(folder)
    sync_directory(directory)
    for old in sorted(folder.glob("0*.db"))[:-KEEP_DAMAGED]:
        _remove(old)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)

"""Snapshots of what decides, and what happens at the start when the database is damaged or gone.

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
from lintel.edge.store.connection import attach, fault_word, sqlite
from lintel.edge.store.database import (
    DECIDING,
    FILE,
    Database,
    check_database,
    create_database,
    log_left,
    open_database,
)
from lintel.edge.store.files import derive, sync_directory, sync_file
from lintel.edge.store.roster_sql import CARRY

log = logging.getLogger(__name__)

SNAPSHOTS, DAMAGED = "snapshots", "damaged"
WORKING = ".new.db"
KEEP_SNAPSHOTS, KEEP_DAMAGED = 2, 3
ROOM = 3
"""A snapshot begins only where so many times the size of the last one is free."""
Notices = list[tuple[Notice, str]]


def snapshot(database: Database) -> Path:
    """Copy the tables that decide, and who may be on which terminal, into a file of their own; keep the newest two.

    It is encrypted with the same key. Runs in any thread over its own connection, in one read transaction: half a
    second for 250,000 credentials, a second for 20,000 persons on each of 20 terminals (24 MB). It counts only when it
    is whole in one file and was read again; one that fails leaves nothing, a full disk would stay full of it. Raises
    StoreError: `disk_full` when there is too little room to begin.
    """
    folder = database.directory / SNAPSHOTS
    working = folder / WORKING
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _clear(folder)
        _need_room(folder)
        copy = open_database(working, database.key, check=False)
        target = copy.connect()
        try:
            attach(target, database.path, database.key, "live")
            target.execute("BEGIN")
            for table in DECIDING:  # table names are our own constants; SQL can not bind them
                target.execute(f"INSERT INTO main.{table} SELECT * FROM live.{table}")  # noqa: S608
            target.execute(CARRY)
            target.execute("INSERT OR IGNORE INTO state VALUES ('restored', '1')")  # what it is, whenever it is opened
            target.execute("COMMIT")
            busy, frames, moved = target.execute("PRAGMA main.wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            copy.close()
            target.close()  # the last one: removes the log
        if busy or frames != moved or log_left(working) or not _opens(working, database.key):
            raise StoreError("commit_failed", "no snapshot could be written: it is not whole")
        sync_file(working)
        done = folder / f"{_behind(folder)}.db"
        working.rename(done)
        sync_directory(folder)
        for old in _stamps(folder)[:-KEEP_SNAPSHOTS]:
            _remove(folder / f"{old}.db")
    except (sqlite.Error, OSError) as error:
        raise StoreError(fault_word(error, database.directory), f"no snapshot could be written: {error}") from None
    finally:
        _clear(folder)
    return done


def _clear(folder: Path) -> None:
    """Remove what a snapshot that was not finished left, its own half-made file included."""
    for left in folder.glob(f".*{WORKING.lstrip('.')}*"):
        with contextlib.suppress(OSError):  # a read-only disk: it is in nobody's way there
            left.unlink()


def _need_room(folder: Path) -> None:
    """A snapshot takes its size twice while it is made, in the file and in the log; the rest is the journal's."""
    last = _stamps(folder)[-1:]
    need = ROOM * sum((folder / f"{stamp}.db").stat().st_size for stamp in last)
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < need:
        raise StoreError("disk_full", f"no snapshot for now: it needs {need} bytes, {free} are free")


def _stamps(folder: Path) -> list[str]:
    """The names that we gave, Unix milliseconds, oldest first; what somebody keeps beside them is not ours."""
    stems = {path.name.split(".")[0] for path in folder.glob("0*.db*")}  # of a lost file only the log is there
    return sorted(stem for stem in stems if stem.isdecimal())


def _behind(folder: Path) -> str:
    """A name behind all others: Unix milliseconds, or one more than the newest where a clock was ahead once."""
    newest = max(map(int, _stamps(folder)), default=0)
    return f"{max(time.time_ns() // 1_000_000, newest + 1):015d}"


def newest_snapshot(directory: Path) -> float:
    """When the newest snapshot was made, Unix seconds; 0 when there is none."""
    return max(map(int, _stamps(directory / SNAPSHOTS)), default=0) / 1000


def open_or_recover(directory: Path, key: bytes) -> tuple[Database, Notices]:
    """Open the database; put a damaged or missing one aside and go on with the newest good snapshot, or empty.

    Raises what `open_database` raises except for damage, and StoreError("key_invalid") when the key is the problem.
    """
    path = directory / FILE
    traces = (ANCHOR_FILE, SNAPSHOTS, DAMAGED)  # a store was here
    _clear(directory / SNAPSHOTS)  # of a power cut: what it holds may be what a full disk lacks
    vanished = not path.exists() and any((directory / name).exists() for name in traces)
    try:
        if vanished:
            raise StoreError("db_damaged", f"{path} is gone")  # noqa: TRY301
        return open_database(path, key), []
    except StoreError as error:
        if error.word != "db_damaged":
            raise
        damage = str(error)
    snapshots = [directory / SNAPSHOTS / f"{stamp}.db" for stamp in reversed(_stamps(directory / SNAPSHOTS))]
    good = [one for one in snapshots if _opens(one, key)]
    if not good and _foreign_key(directory, key):
        raise StoreError("key_invalid", f"neither {path} nor its anchors open with this key; is it the right one?")
    log.error("the database is damaged: %s", damage)
    notices: Notices = [(Notice.DB_DAMAGED, damage)]
    try:
        _set_aside(directory, path)
        if good:
            _put(good[0], path)
            notices.append((Notice.DB_RESTORED, f"snapshot {good[0].name}"))
        else:
            create_database(path, key, fault=True)
    except (sqlite.Error, OSError) as error:
        raise StoreError(fault_word(error, directory), f"{path}: damaged, and not replaced: {error}") from None
    return open_database(path, key), notices


def _put(snapshot: Path, path: Path) -> None:
    """Whole or not at all: a power cut here ends in another recovery, not in more damage."""
    working = path.with_name(f".{path.name}.new")
    working.unlink(missing_ok=True)
    with snapshot.open("rb") as source, os.fdopen(os.open(working, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    working.rename(path)
    sync_directory(path.parent)


def _opens(path: Path, key: bytes) -> bool:
    """Whether a snapshot is whole; read as immutable, so that no log appears beside it."""
    try:
        database = Database(path, key, obstacle="storage_read_only")
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
    stamp = _behind(folder)
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(folder / f"{stamp}.db{suffix}")
    sync_directory(folder)
    sync_directory(directory)
    for old in _stamps(folder)[:-KEEP_DAMAGED]:
        _remove(folder / f"{old}.db")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)

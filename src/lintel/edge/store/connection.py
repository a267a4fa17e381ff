"""One keyed connection to the encrypted file (SQLCipher, WAL, FULL): its settings, and what its errors mean.

Settings are read back, not only set: SQLite answers a failed change of the journal mode with a row, not an error.
"""

import os
from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2 as sqlite

from lintel.edge.errors import StoreError

__all__ = ["Connection", "affected", "attach", "connect", "durable", "fault_word", "sqlite"]

Connection = Any
"""A sqlcipher3 connection; the package ships no types."""

PAGE_SIZE = 2048
"""Bytes. Measured at 200 events/s: 1024 writes 860 B an event, 2048 900, 4096 1,120; 1024 starts a third slower."""
CHECKPOINT_PAGES = 1000
"""A log of so many pages is check-pointed when look-ups have let go, one of four times as many in any case."""
READER_CACHE_KIB = 4096
WRITER_CACHE_KIB = 2048


def affected(version: str) -> bool:
    """True for SQLite libraries before 3.51.3: they can lose or damage commits when a WAL is reset (sqlite.org).

    Also for 3.44.6 and 3.50.7, which have that mended but take the NOOP of `log_is_long` for a check-point (new in
    3.51). Unreadable versions count as affected.
    """
    try:
        return tuple(int(part) for part in version.split(".")) < (3, 51, 3)
    except ValueError:
        return True


def fault_word(error: BaseException, directory: Path) -> str:
    """The closed vocabulary's word for a database or file error, looking at the disk where SQLite does not say."""
    name = str(getattr(error, "sqlite_errorname", "") or "")
    if isinstance(error, StoreError):
        return error.word
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "db_damaged"
    try:
        disk = os.statvfs(directory)
    except OSError:
        return "commit_failed"
    if disk.f_flag & os.ST_RDONLY or name.startswith("SQLITE_READONLY"):
        return "storage_read_only"
    if name == "SQLITE_FULL" or getattr(error, "errno", 0) in {27, 28, 122} or not disk.f_bavail or not disk.f_favail:
        return "disk_full"  # 27 EFBIG, 28 ENOSPC, 122 EDQUOT
    return "commit_failed"


def connect(path: Path, key: bytes, *, uri_mode: str, cache_kib: int) -> Connection:
    """A keyed connection in autocommit mode. The order matters: key, page size and MAC before the first read."""
    uri = f"{path.absolute().as_uri()}?{uri_mode}"
    conn = sqlite.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
    # pragmas take no bound parameters; every value here is a constant or hex of our own key
    conn.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    conn.execute("PRAGMA cipher_log_level = NONE")  # its own lines on standard error; we report through StoreError
    conn.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
    conn.execute("PRAGMA cipher_hmac_algorithm = HMAC_SHA256")  # 32 B less per page than the default, and faster
    conn.execute("PRAGMA cipher_memory_security = OFF")  # wiping every freed buffer costs a third of a look-up
    conn.execute(f"PRAGMA cache_size = -{cache_kib}")
    conn.execute("PRAGMA mmap_size = 0")
    conn.execute("PRAGMA trusted_schema = OFF")
    conn.execute("PRAGMA cell_size_check = ON")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("PRAGMA temp_store = MEMORY")
    return conn


def attach(conn: Connection, path: Path, key: bytes, name: str) -> None:
    """Make another of our files readable under a name: rows move inside SQLite, beside the event loop."""
    conn.execute(f"PRAGMA cipher_default_page_size = {PAGE_SIZE}")  # of the process; every file of ours is like that
    conn.execute("PRAGMA cipher_default_hmac_algorithm = HMAC_SHA256")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    conn.execute(f"ATTACH DATABASE ? AS {name} KEY ?", (uri, f"x'{key.hex()}'"))  # our constants name it


def log_is_long(conn: Connection) -> bool:
    """Whether the write-ahead log is due for a check-point."""
    _, pages, done = conn.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    return bool(pages >= CHECKPOINT_PAGES and done < pages)


def durable(conn: Connection) -> None:
    """Set and read back what durability rests on."""
    mode = conn.execute("PRAGMA journal_mode = WAL").fetchone()
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute(f"PRAGMA wal_autocheckpoint = {4 * CHECKPOINT_PAGES}")
    conn.execute("PRAGMA journal_size_limit = 8388608")
    level = conn.execute("PRAGMA synchronous").fetchone()
    if mode is None or mode[0] != "wal" or level is None or level[0] != 2:
        raise StoreError("commit_failed", f"the database refused WAL with synchronous=FULL (answered {mode}, {level})")

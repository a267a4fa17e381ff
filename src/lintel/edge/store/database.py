"""Open, key, migrate and check the one encrypted database file of the gateway (SQLCipher, WAL, FULL).

Settings are read back, not only set: SQLite answers a failed change of the journal mode with a row, not an error.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2 as sqlite

from lintel.edge.errors import StoreError
from lintel.edge.store.files import atomic_write, derive, state_key, state_lock, sync_directory

__all__ = [
    "Connection",
    "Database",
    "affected",
    "atomic_write",
    "derive",
    "fault_word",
    "open_database",
    "sqlite",
    "state_key",
    "state_lock",
]

Connection = Any
"""A sqlcipher3 connection; the package ships no types."""

FILE = "lintel.db"
SCHEMA = 1
"""Version of the schema this program writes (PRAGMA user_version)."""
PAGE_SIZE = 2048
"""Bytes. Measured at 200 events/s: 1024 writes 860 B an event, 2048 900, 4096 1,120; 1024 starts a third slower."""
CHECKPOINT_PAGES = 1000
READER_CACHE_KIB = 8192
WRITER_CACHE_KIB = 4096
FULL_CHECK_BYTES = 64 << 20
"""A larger file is checked whole once a day; at start only the tables that decide and the tail of the journal."""
DECIDING = ("credential", "person", "visitor_pass", "site_item", "tombstone", "use_count", "pass_step", "state")

_HEADER_PLAIN = b"SQLite format 3\x00"


def affected(version: str) -> bool:
    """True for SQLite libraries that can lose or damage commits when a WAL is reset (3.7.0 to 3.51.2).

    Fixed in 3.51.3 and, ported back, in 3.44.6 and 3.50.7 (sqlite.org). Unreadable versions count as affected.
    """
    try:
        v = tuple(int(part) for part in version.split("."))
    except ValueError:
        return True
    v = (*v, 0, 0)[:3]
    if v < (3, 7, 0) or v >= (3, 51, 3):
        return False
    return not ((3, 44, 6) <= v < (3, 45, 0) or (3, 50, 7) <= v < (3, 51, 0))


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


def _connect(path: Path, key: bytes, *, uri_mode: str, cache_kib: int) -> Connection:
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


class Database:
    """The open file: `reader` for look-ups on the event loop, `connect()` for the writer thread.

    `writable` is False after a start on a read-only file system.
    """

    def __init__(self, path: Path, key: bytes, *, writable: bool, shadow: Path | None = None) -> None:
        self.path = path
        self.key = key
        self.writable = writable
        self._shadow = shadow  # a copy in memory, read while the disk is read-only and its log could not be replayed
        self.reader: Connection = self.connect_reader()

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.path.parent

    def connect(self) -> Connection:
        """A writing connection with all settings checked. Raises StoreError or sqlite errors."""
        conn = _connect(self.path, self.key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
        try:
            _durable(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def connect_reader(self) -> Connection:
        """A connection that can not write. Immutable where the file system is read-only and no log is left."""
        mode = "mode=ro" if self.writable or self._shadow else "immutable=1"
        conn = _connect(self._shadow or self.path, self.key, uri_mode=mode, cache_kib=READER_CACHE_KIB)
        try:
            conn.execute("PRAGMA query_only = ON")
            conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the first read proves the key
        except BaseException:
            conn.close()
            raise
        return conn

    def became_writable(self) -> None:
        """The file system can be written again: replace the immutable reader, which would not see new commits."""
        self.writable = True
        self._drop_shadow()
        self.reader = self.connect_reader()  # the old one closes when the look-up that uses it is done

    def try_writable(self) -> bool:
        """After a start on a read-only file system: look again, and begin to write when it has changed."""
        if not self.writable and _can_write(self.directory):
            self.became_writable()
        return self.writable

    def close(self) -> None:
        """Close the reader. The writer closes its own connection."""
        self.reader.close()
        self._drop_shadow()

    def _drop_shadow(self) -> None:
        if self._shadow is not None:
            shutil.rmtree(self._shadow.parent, ignore_errors=True)
            self._shadow = None


def _durable(conn: Connection) -> None:
    """Set and read back what durability rests on."""
    mode = conn.execute("PRAGMA journal_mode = WAL").fetchone()
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    conn.execute("PRAGMA journal_size_limit = 8388608")
    level = conn.execute("PRAGMA synchronous").fetchone()
    if mode is None or mode[0] != "wal" or level is None or level[0] != 2:
        raise StoreError("commit_failed", f"the database refused WAL with synchronous=FULL (answered {mode}, {level})")


def _look(path: Path) -> None:
    """Refuse what is no database of ours before SQLite touches it."""
    if path.is_symlink() or not path.is_file():
        raise StoreError("db_damaged", f"{path} is no regular file")
    with path.open("rb") as file:
        head = file.read(16)
    # a power cut in a check-point leaves a torn end, and the log that mends it
    torn = path.stat().st_size % PAGE_SIZE and not _log_left(path)
    if len(head) < 16 or head == _HEADER_PLAIN or torn:
        raise StoreError("db_damaged", f"{path} is no Lintel database (size or header wrong)")


def _refuse(key: bytes) -> None:
    if affected(sqlite.sqlite_version):
        raise StoreError(
            "library_refused",
            f"SQLite {sqlite.sqlite_version} can lose commits when its log is reset; 3.51.3 or later is needed",
        )
    if len(key) != 32:
        raise StoreError("key_invalid", "the database key is 32 bytes")


def open_database(path: Path, key: bytes, *, check: bool = True) -> Database:
    """Open (and create or migrate) the database. `key`: 32 raw bytes.

    Raises StoreError: `library_refused`, `db_damaged` (also for a wrong key: a page that does not authenticate
    can not tell), `schema_newer` (nothing was written), `storage_read_only`, `disk_full`, `commit_failed`.
    """
    _refuse(key)
    writable = _can_write(path.parent)
    try:
        new = not path.exists()
        if not new:
            _look(path)
        elif not writable:
            raise StoreError("storage_read_only", f"{path} does not exist and can not be made: the disk is read-only")
        shadow = None if writable or not _log_left(path) else _in_memory(path)
        if new:
            create_database(path, key)
        _bring_up(path, key, shadow, writable=writable)
        database = Database(path, key, writable=writable, shadow=shadow)
        if check:
            try:
                check_database(database)
            except BaseException:
                database.close()
                raise
        return database
    except (sqlite.Error, OSError) as error:
        word = fault_word(error, path.parent)
        hint = "damaged, or this is not its key" if word == "db_damaged" else str(error)
        raise StoreError(word, f"{path}: {hint}") from None


def _bring_up(path: Path, key: bytes, shadow: Path | None, *, writable: bool) -> None:
    """Refuse a newer schema before anything is written; then replay what a log holds, then migrate."""
    version = _version(shadow or path, key)
    if version > SCHEMA:
        raise StoreError(
            "schema_newer", f"{path} was written by a newer Lintel (schema {version}, this one knows {SCHEMA})"
        )
    if version < SCHEMA and not writable:
        raise StoreError("storage_read_only", f"{path} has an older schema and the disk is read-only")
    if writable and _log_left(path):
        _replay(path, key)
    if version < SCHEMA:
        _migrate(path, key, version)


def open_reader(path: Path, key: bytes) -> Database:
    """Open for reading only, beside a running gateway or on its own. Raises StoreError."""
    _look(path)
    try:
        return Database(path, key, writable=_log_left(path) or _can_write(path.parent))
    except sqlite.Error as error:
        raise StoreError(fault_word(error, path.parent), f"{path}: damaged, or this is not its key") from None


def _can_write(directory: Path) -> bool:
    try:
        return not os.statvfs(directory).f_flag & os.ST_RDONLY and os.access(directory, os.W_OK)
    except OSError:
        return False


def _log_left(path: Path) -> bool:
    """Whether a log with content lies beside the file: another process writes it, or the last one did not end well."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _replay(path: Path, key: bytes) -> None:
    """Put what a power cut left in the log into the file: a page torn in a check-point is whole only in the log."""
    conn = _connect(path, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
    try:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        conn.close()


def _in_memory(path: Path) -> Path:
    """Copy the file and its log to where the log can be replayed; both stay encrypted. Raises StoreError."""
    try:
        memory = Path("/dev/shm")  # noqa: S108  mkdtemp makes a directory of our own there, mode 0700
        folder = Path(tempfile.mkdtemp(prefix="lintel-", dir=memory if memory.is_dir() else None))
        for suffix in ("", "-wal"):
            shutil.copyfile(path.with_name(path.name + suffix), folder / (path.name + suffix))
    except OSError as error:
        raise StoreError("storage_read_only", f"{path}: its log can not be replayed: {error.strerror}") from None
    return folder / path.name


def _version(path: Path, key: bytes) -> int:
    """The schema's version, read without changing a byte of the file."""
    log = _log_left(path)
    # without a log nothing may be created beside the file: immutable makes no -wal and no -shm
    conn = _connect(path, key, uri_mode="mode=ro" if log else "immutable=1", cache_kib=256)
    try:
        return int(conn.execute("PRAGMA user_version").fetchone()[0])
    finally:
        conn.close()


def create_database(path: Path, key: bytes, *, fault: bool = False) -> None:
    """Make an empty database under another name and give it its own when it is whole; `fault`: see `SiteData.fault`."""
    new = path.with_name(f".{path.name}.new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _migrate(new, key, 0)
    conn = _connect(new, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
    try:
        if fault:
            conn.execute("INSERT INTO state VALUES ('fault', '1')")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        conn.close()
    new.rename(path)
    sync_directory(path.parent)


def _migrate(path: Path, key: bytes, version: int) -> None:
    conn = _connect(path, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
    try:
        _durable(conn)
        from lintel.edge.store import migrations  # noqa: PLC0415  sqlite-utils is loaded only when a step has to run

        migrations.migrate(conn, version, SCHEMA)
    finally:
        conn.close()


def check_database(database: Database, *, whole: bool | None = None) -> None:
    """Raise StoreError("db_damaged") unless every page authenticates and every table is in order.

    `whole` None: the whole file up to 64 MiB, else the tables that decide. Takes 0.25 s for 250,000 credentials.
    """
    conn = database.reader
    if whole is None:
        whole = database.path.stat().st_size <= FULL_CHECK_BYTES
    try:
        if whole:
            found = _quick(conn, "PRAGMA quick_check(3)")
            if not _log_left(database.path):  # it reads the file alone, where pages may wait for a check-point
                found += [str(row[0]) for row in conn.execute("PRAGMA cipher_integrity_check").fetchmany(3)]
        else:
            found = [line for table in DECIDING for line in _quick(conn, f"PRAGMA quick_check({table})")]
    except sqlite.Error as error:
        found = [str(error)]
    with contextlib.suppress(sqlite.Error):
        conn.execute("PRAGMA shrink_memory")
    if found:
        raise StoreError("db_damaged", f"{database.path}: {found[0]}")


def _quick(conn: Connection, pragma: str) -> list[str]:
    return [str(row[0]) for row in conn.execute(pragma).fetchall() if row[0] != "ok"]

"""Open, create, migrate and check the one encrypted database file of the gateway."""

import contextlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from lintel.edge.errors import StoreError
from lintel.edge.store.connection import (
    PAGE_SIZE,
    READER_CACHE_KIB,
    WRITER_CACHE_KIB,
    Connection,
    affected,
    connect,
    durable,
    fault_word,
    sqlite,
)
from lintel.edge.store.files import sync_directory
from lintel.edge.store.still import Still

log = logging.getLogger(__name__)

FILE = "lintel.db"
SCHEMA = 4
"""Version of the schema this program writes (PRAGMA user_version)."""
FULL_CHECK_BYTES = 64 << 20
"""A larger file is checked whole once a day; at start only the tables that decide and the tail of the journal."""
DECIDING = (
    "credential", "person", "visitor_pass", "site_item", "tombstone", "use_count", "pass_step", "lockdown", "state",
    "device_key", "face", "withdrawal", "withdrawn_id",
)  # fmt: skip
"""The tables that say who may pass and how devices are known: what a snapshot has as it is and every start checks."""

_HEADER_PLAIN = b"SQLite format 3\x00"


class Database:
    """The open file: `reader` and `look` for the event loop, `connect()` for the writer thread.

    `obstacle` says why it can not be written since the start: `storage_read_only`, `disk_full`, "" when it can.
    `shadow`: what is read meanwhile, where the log could not be replayed; its files may go once it is open.
    """

    def __init__(self, path: Path, key: bytes, *, obstacle: str = "", shadow: Path | None = None) -> None:
        self.path = path
        self.key = key
        self.obstacle = obstacle
        self.still = Still(self.connect_reader)
        self.reader: Connection = _reader(shadow, key, "mode=ro") if shadow else self.connect_reader()

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.path.parent

    @property
    def writable(self) -> bool:
        """False after a start on a disk that was read-only or full, until that is over."""
        return not self.obstacle

    def connect(self) -> Connection:
        """A writing connection with all settings checked. Raises StoreError or sqlite errors."""
        conn = connect(self.path, self.key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
        try:
            durable(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def connect_reader(self) -> Connection:
        """A connection that can not write. Immutable where nothing can be made beside the file and no log is left."""
        return _reader(self.path, self.key, "mode=ro" if self.writable else "immutable=1")

    def look(self, stamp: object) -> Connection:
        """A connection for look-ups that begin at what was committed when `stamp` changed last; see `Still`."""
        return self.still.at(stamp) if self.writable else self.reader

    def try_writable(self) -> bool:
        """After a start on a disk that could not be written: look again, and begin to write when that is over.

        The old reader would not see new commits. It goes last, so that a failure leaves everything as it was.
        """
        if not self.writable and _can_write(self.directory):
            try:
                if log_left(self.path):
                    _replay(self.path, self.key)
                reader = _reader(self.path, self.key, "mode=ro")
            except (sqlite.Error, OSError) as error:
                log.info("the disk can not be written yet: %s", error)
                return False
            self.reader, self.obstacle = reader, ""  # the old one closes when the look-up that uses it is done
        return self.writable

    def close(self) -> None:
        """Close the readers. The writer closes its own connection."""
        self.still.close()
        self.reader.close()


def _reader(path: Path, key: bytes, mode: str) -> Connection:
    conn = connect(path, key, uri_mode=mode, cache_kib=READER_CACHE_KIB)
    try:
        conn.execute("PRAGMA query_only = ON")
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the first read proves the key
    except BaseException:
        conn.close()
        raise
    return conn


def _look(path: Path) -> None:
    """Refuse what is no database of ours before SQLite touches it."""
    if path.is_symlink() or not path.is_file():
        raise StoreError("db_damaged", f"{path} is no regular file")
    with path.open("rb") as file:
        head = file.read(16)
    # a power cut in a check-point leaves a torn end, and the log that mends it
    torn = path.stat().st_size % PAGE_SIZE and not log_left(path)
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

    On a disk that is read-only, or so full that the log of the last run can not be replayed, it is opened for reading.

    Raises StoreError: `library_refused`, `db_damaged` (also for a wrong key: a page that does not authenticate
    can not tell), `schema_newer` (nothing was written), `storage_read_only`, `disk_full`, `commit_failed`.
    """
    _refuse(key)
    obstacle = "" if _can_write(path.parent) else "storage_read_only"
    try:
        if path.exists():
            _look(path)
        elif obstacle:
            raise StoreError(obstacle, f"{path} does not exist and can not be made: the disk is read-only")
        else:
            create_database(path, key)
        try:
            return _open(path, key, obstacle, check=check)
        except (sqlite.Error, OSError) as error:
            if obstacle or fault_word(error, path.parent) != "disk_full":
                raise
            return _open(path, key, "disk_full", check=check)
    except (sqlite.Error, OSError) as error:
        word = fault_word(error, path.parent)
        hint = "damaged, or this is not its key" if word == "db_damaged" else str(error)
        raise StoreError(word, f"{path}: {hint}") from None


def _open(path: Path, key: bytes, obstacle: str, *, check: bool) -> Database:
    shadow = _in_memory(path) if obstacle and log_left(path) else None
    try:
        _bring_up(path, key, shadow, obstacle)
        database = Database(path, key, obstacle=obstacle, shadow=shadow)
    finally:
        if shadow is not None:
            shutil.rmtree(shadow.parent, ignore_errors=True)  # what is open is read on; nobody else needs the names
    try:
        if check:
            check_database(database)
    except BaseException:
        database.close()
        raise
    return database


def _bring_up(path: Path, key: bytes, shadow: Path | None, obstacle: str) -> None:
    """Refuse a newer schema before anything is written; then replay what a log holds, then migrate."""
    version = _version(shadow or path, key)
    if version > SCHEMA:
        raise StoreError(
            "schema_newer", f"{path} was written by a newer Lintel (schema {version}, this one knows {SCHEMA})"
        )
    if version < SCHEMA and obstacle:
        raise StoreError(obstacle, f"{path} has an older schema and the disk can not be written")
    if not obstacle and log_left(path):
        _replay(path, key)
    if version < SCHEMA:
        _migrate(path, key, version)


def open_reader(path: Path, key: bytes) -> Database:
    """Open for reading only, beside a running gateway or on its own. Raises StoreError."""
    _look(path)
    try:
        return Database(path, key, obstacle="" if log_left(path) or _can_write(path.parent) else "storage_read_only")
    except sqlite.Error as error:
        raise StoreError(fault_word(error, path.parent), f"{path}: damaged, or this is not its key") from None


def _can_write(directory: Path) -> bool:
    try:
        return not os.statvfs(directory).f_flag & os.ST_RDONLY and os.access(directory, os.W_OK)
    except OSError:
        return False


def log_left(path: Path) -> bool:
    """Whether a log with content lies beside the file: another process writes it, or the last one did not end well."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _replay(path: Path, key: bytes) -> None:
    """Put what a power cut left in the log into the file: a page torn in a check-point is whole only in the log."""
    conn = connect(path, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
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
    log = log_left(path)
    # without a log nothing may be created beside the file: immutable makes no -wal and no -shm
    conn = connect(path, key, uri_mode="mode=ro" if log else "immutable=1", cache_kib=256)
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
    conn = connect(new, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
    try:
        if fault:
            conn.execute("INSERT INTO state VALUES ('fault', '1')")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        conn.close()
    new.rename(path)
    sync_directory(path.parent)


def _migrate(path: Path, key: bytes, version: int) -> None:
    conn = connect(path, key, uri_mode="mode=rw", cache_kib=WRITER_CACHE_KIB)
    try:
        durable(conn)
        from lintel.edge.store import migrations  # noqa: PLC0415  sqlite-utils is loaded only when a step has to run

        migrations.migrate(conn, version, SCHEMA)
    finally:
        conn.close()


def check_database(database: Database, conn: Connection = None, *, whole: bool | None = None) -> None:
    """Raise StoreError("db_damaged") unless every page authenticates and every table is in order.

    `whole` None: the whole file up to 64 MiB, else the tables that decide. Takes 0.25 s for 250,000 credentials.
    `conn`: on another connection than the reader, for another thread.
    """
    conn = database.reader if conn is None else conn
    if whole is None:
        whole = database.path.stat().st_size <= FULL_CHECK_BYTES
    try:
        there = {name for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if whole:
            found = _quick(conn, "PRAGMA quick_check(3)")
            if not log_left(database.path):  # it reads the file alone, where pages may wait for a check-point
                found += [str(row[0]) for row in conn.execute("PRAGMA cipher_integrity_check").fetchmany(3)]
        else:
            found = [
                line for table in DECIDING if table in there for line in _quick(conn, f"PRAGMA quick_check({table})")
            ]
        if conn.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:  # an older snapshot may lack a newer table
            found += [f"the table {name} is missing" for name in (*DECIDING, "journal", "stream") if name not in there]
    except sqlite.Error as error:
        found = [str(error)]
    with contextlib.suppress(sqlite.Error):
        conn.execute("PRAGMA shrink_memory")
    if found:
        raise StoreError("db_damaged", f"{database.path}: {found[0]}")


def _quick(conn: Connection, pragma: str) -> list[str]:
    return [str(row[0]) for row in conn.execute(pragma).fetchall() if row[0] != "ok"]

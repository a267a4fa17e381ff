"""Files of the state directory beside the database: the key, the lock, and one way to replace a file whole."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from lintel.edge.errors import StoreError

CREDENTIAL = "lintel-db-key"
"""Name of the systemd credential with the state key."""
KEY_FILE = "state.key"
LOCK_FILE = "lock"
KEY_BYTES = 32


def derive(key: bytes, purpose: str) -> bytes:
    """32-byte sub-key of the state key for one purpose (keyed BLAKE2b, RFC 7693; `purpose` is its domain)."""
    return hashlib.blake2b(b"lintel/" + purpose.encode(), key=key, digest_size=32).digest()


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file whole: after a power cut it holds the old or the new content, never a part. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    sync_directory(path.parent)


def _as_key(raw: bytes, where: str) -> bytes:
    if len(raw) == KEY_BYTES:
        return raw
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(raw.decode("ascii", "replace").strip())
        if len(key) == KEY_BYTES:
            return key
    raise StoreError("key_invalid", f"{where} is no key: expected 32 bytes, or 64 hex digits")


def state_key(directory: Path) -> bytes:
    """The 32-byte state key: from the systemd credential, else from a 0600 file that is made at the first start.

    Raises StoreError("key_invalid") when it has the wrong size or others may read it, and
    StoreError("key_missing") when a database is there but its key is not: a new key would only hide the loss.
    """
    if held := os.environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(held) / CREDENTIAL
        if credential.is_file():
            return _as_key(credential.read_bytes(), f"the credential {CREDENTIAL}")
    path = directory / KEY_FILE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return _new_key(directory, path)
    except OSError as error:
        raise StoreError("key_invalid", f"{path} can not be read: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_mode & 0o077:
            raise StoreError("key_invalid", f"{path} may be read by others; run: chmod 600 {path}")
        return _as_key(file.read(4 * KEY_BYTES), str(path))


def _new_key(directory: Path, path: Path) -> bytes:
    if (directory / "lintel.db").exists():
        raise StoreError("key_missing", f"{path} is missing, and the database can not be read without it")
    key = secrets.token_bytes(KEY_BYTES)
    temporary = path.with_name(f".{KEY_FILE}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of a dead process with our number, which a power cut stopped here
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key.hex().encode() + b"\n")
            file.flush()
            os.fsync(fd)
        try:
            path.hardlink_to(temporary)  # fails when another process was first: nobody's key is ever replaced
        except FileExistsError:
            return state_key(directory)
        finally:
            temporary.unlink()
        sync_directory(directory)
    except OSError as error:
        raise StoreError("storage_read_only", f"can not write {path}: {error.strerror}") from None
    return key


@contextlib.contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Hold the state directory for writing; only one process can. Raises StoreError("state_locked").

    On a read-only file system the lock is taken on the directory itself.
    """
    try:
        fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError("state_locked", f"another Lintel process is using {directory}") from None
        yield
    finally:
        os.close(fd)

"""The emergency ring: 16 MB that are already on the disk, for events that the database can not take.

Fixed slots, written in place, sealed (XChaCha20-Poly1305) and synced; one that does not open is skipped and told.
What does not even fit there stays in memory (bounded) and is not acknowledged. The database remembers, in the
transaction that takes the records over, up to which number the ring is drained: each comes in once.
"""

import contextlib
import os
import secrets
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as unseal
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as seal
from nacl.exceptions import CryptoError

from lintel.edge.errors import StoreError
from lintel.edge.store.chain import decode, encode
from lintel.edge.store.connection import Connection

RING_FILE = "ring"
RING_BYTES = 16 << 20
SLOT = 1024
"""Bytes of a record: an event is 200 to 600."""
MAGIC = b"LR2\0"
MEMORY_EVENTS = 4096
BREAK = 64
"""So many slots in a row that do not open are the end: more than one torn group can leave."""
_HEAD = struct.Struct(">4sQH24s")  # magic, number, length of the sealed body, nonce
MAX_BODY = SLOT - _HEAD.size - 16


class Ring:
    """The writer's spare. `put_back(connection, bodies)` writes drained events and answers how many were none.

    `size` in bytes.

    `on_lost(n)` runs on the writer's thread when n kept records could not be read back.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        put_back: Callable[[Connection, list[bytes]], int],
        *,
        drained: int = 0,
        size: int = RING_BYTES,
        on_lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._key = key
        self._put_back = put_back
        self._on_lost = on_lost
        self._lost = 0  # of the present drain
        self._slots = size // SLOT
        self._memory: deque[bytes] = deque(maxlen=MEMORY_EVENTS)
        self._void: frozenset[int] = frozenset()  # slots of a group whose sync failed: its bodies are in memory
        self._drained = drained
        self._draining = (drained, 0)
        self._fd = _open(path, self._slots * SLOT)
        self._last = drained
        if self._fd is not None:
            self._last = max(drained, self._newest())

    def waiting(self) -> bool:
        """Whether something is kept that is not in the database."""
        return self._last > self._drained or bool(self._memory)

    def keep(self, bodies: Sequence[bytes], error: StoreError) -> StoreError | None:
        """Store bodies durably, in order, with one sync. Else keep them in memory and say why they are not safe."""
        before = self._last
        try:
            if self._fd is None or self._last + len(bodies) - self._drained > self._slots or self._memory:
                raise StoreError(error.word, f"{error}; the emergency ring can not take it either")  # noqa: TRY301
            for body in bodies:
                self._last += 1  # also when it fails: what may have been written must count as drained with the rest
                os.pwrite(self._fd, self._record(self._last, body), (self._last - 1) % self._slots * SLOT)
            os.fdatasync(self._fd)
        except (OSError, StoreError) as failure:
            self._void |= set(range(before + 1, self._last + 1))
            self._memory.extend(bodies)
            return failure if isinstance(failure, StoreError) else StoreError(error.word, f"{error}; ring: {failure}")
        return None

    @staticmethod
    def fit(body: bytes) -> bytes | None:
        """The body as a record can hold it, if need be with a shorter `detail`; None when nothing helps."""
        while len(body) > MAX_BODY:
            event = decode(body)
            if not event.detail:
                return None
            over = max(1, (len(body) - MAX_BODY) // 6)  # a character is at most six bytes of JSON
            body = encode(replace(event, detail=event.detail[:-over]))
        return body

    def drain(self, conn: Connection) -> None:
        """Put everything kept into the database, oldest first, inside the current transaction."""
        bodies = self.records()
        self._lost = self._last - self._drained - len(self._void) - len(bodies)
        in_memory = len(self._memory)
        self._lost += self._put_back(conn, bodies + list(self._memory))
        conn.execute(
            "INSERT INTO state VALUES ('ring', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (str(self._last),),
        )
        self._draining = self._last, in_memory

    def drained(self) -> None:
        """That transaction is durable."""
        self._drained, in_memory = self._draining
        self._void = frozenset()
        for _ in range(in_memory):
            self._memory.popleft()
        if self._lost:
            self._on_lost(self._lost)

    def records(self) -> list[bytes]:
        """Kept bodies in order, without torn or foreign records."""
        opened = (self._open_record(n) for n in range(self._drained + 1, self._last + 1) if n not in self._void)
        return [body for body in opened if body is not None]

    def close(self) -> None:
        """Give the file back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _record(self, n: int, body: bytes) -> bytes:
        nonce = secrets.token_bytes(24)
        head = _HEAD.pack(MAGIC, n, len(body) + 16, nonce)
        return (head + seal(body, head, nonce, self._key)).ljust(SLOT, b"\0")

    def _open_record(self, n: int) -> bytes | None:
        assert self._fd is not None  # noqa: S101  nothing is kept without a file
        raw = os.pread(self._fd, SLOT, (n - 1) % self._slots * SLOT)
        if len(raw) < SLOT:
            return None
        magic, number, length, nonce = _HEAD.unpack_from(raw)
        if magic != MAGIC or number != n or not 16 <= length <= SLOT - _HEAD.size:
            return None
        try:
            return unseal(raw[_HEAD.size : _HEAD.size + length], raw[: _HEAD.size], nonce, self._key)
        except CryptoError:
            return None

    def _newest(self) -> int:
        """The last number from the drained one on that opens, before a long break."""
        newest = n = self._drained
        while n - newest < BREAK and n - self._drained < self._slots:
            n += 1
            if self._open_record(n) is not None:
                newest = n
        return newest


def _open(path: Path, size: int) -> int | None:
    """The file, with all its blocks; None where there is no room for it or the disk is read-only."""
    fd = None
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(fd).st_size != size:
            os.posix_fallocate(fd, 0, size)
            os.fsync(fd)
        return fd
    if fd is not None:
        os.close(fd)
        with contextlib.suppress(OSError):
            path.unlink()
    return None

"""Faces that may be put on terminals: their ids there, consent, and the photos, sealed one by one in files.

A photo is kept only while its person's credential is there, not revoked, and the consent is granted. Each is sealed
with a key of its own (AES-256-GCM, the credential bound in) that stands in the database: who deletes the row deletes
the photo, wherever copies of the file are. `sweep` removes the files that no row names.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lintel.edge.digests import Digester
from lintel.edge.errors import Mistake
from lintel.edge.model import Method, Status
from lintel.edge.store.changes import STATUSES, CredentialPut
from lintel.edge.store.connection import Connection
from lintel.edge.store.consents import GRANTED, WITHDRAWN, Withdrawals
from lintel.edge.store.files import sync_directory
from lintel.edge.store.uses import split_digest

if TYPE_CHECKING:
    from lintel.edge.store.database import Database
    from lintel.edge.store.writer import Writer

FOLDER: Final = "faces"
LARGEST_PHOTO: Final = 700_000
"""Bytes: in base64 it fits a packet of 1 MB, the most that terminals take (`mqtt/face` v1.25, 2.4)."""

_JPEG = b"\xff\xd8\xff"
_CONSENT_OF_KEY: Final = "SELECT key, id, rev, consent, consent_rev FROM credential WHERE key = ?"
_CONSENT_OF_ID: Final = "SELECT key, id, rev, consent, consent_rev FROM credential WHERE id = ?"
_NO_PHOTO = "UPDATE face SET photo = NULL, seal = NULL, print = NULL, mark = ? WHERE key = ?"


def enter(conn: Connection, put: CredentialPut, key: int, *, may: bool) -> None:
    """After a face's credential was put: keep its id on terminals; without consent or right, its photo goes."""
    row = conn.execute("SELECT name, shown, print FROM face WHERE key = ?", (key,)).fetchone()
    name, shown, printed = row or (put.face, "", None)
    if not name:
        return  # imported by its digest alone: nobody knows what terminals are to call it
    shown = put.mask or shown
    if row is None:
        conn.execute("INSERT INTO face VALUES (?, ?, ?, NULL, NULL, NULL, ?)", (key, name, shown, mark(shown, None)))
    else:
        conn.execute("UPDATE face SET shown = ?, mark = ? WHERE key = ?", (shown, mark(shown, printed), key))
    if not may:
        strip(conn, key, shown)


def withdraw(conn: Connection, withdrawals: Withdrawals, key: int, name: str | None, rev: int | None) -> None:
    """A consent is taken back by what changes nothing else: of the face, and of the one that has this id.

    Only a grant that is newer stands against it, not a row that is newer. `rev` None: it is newer than what is stored.
    """
    row = conn.execute(_CONSENT_OF_KEY, (key,)).fetchone()
    names = {one for one in (name, row[1] if row is not None else None) if one}
    under = {one: conn.execute(_CONSENT_OF_ID, (one,)).fetchone() for one in names}
    rows = [one for one in (row, *under.values()) if one is not None]
    rev = max((max(one[2], one[4]) for one in rows), default=0) if rev is None else rev
    if row is None:
        withdrawals.note(key, None, rev)
    for one in under:
        withdrawals.note_id(one, key, rev)
    for stored, own, *said in rows:
        if not _newer((stored, own, *said), rev):
            withdrawals.note(stored, own, rev)
            conn.execute("UPDATE credential SET consent = ? WHERE key = ?", (WITHDRAWN, stored))
            for (shown,) in conn.execute("SELECT shown FROM face WHERE key = ?", (stored,)).fetchall():
                strip(conn, stored, shown)


def _newer(row: tuple[int, str | None, int, int, int], rev: int) -> bool:
    """Whether the row was granted after that revision."""
    return row[3] == GRANTED and row[4] > rev


def strip(conn: Connection, key: int, shown: str) -> None:
    """Its photo goes: the key that opens it is deleted here, the file by `sweep`."""
    conn.execute(_NO_PHOTO, (mark(shown, None), key))


def mark(shown: str, printed: bytes | None) -> int:
    """Changes with what a terminal is sent besides the validity."""
    return int.from_bytes(
        blake2b(shown.encode() + b"\0" + (printed or b""), digest_size=8).digest(), "big", signed=True
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """Where a photo is and what opens it."""

    key: int
    file: str
    seal: bytes = field(repr=False)


class Faces:
    """Photos in and out. `put` is for the event loop; `opened` and `sweep` block: for a thread.

    `turn` rises when photos or ids came.
    """

    def __init__(self, database: "Database", writer: "Writer") -> None:
        self._database, self._writer = database, writer
        self.folder: Path = database.directory / FOLDER
        self.turn = 0
        self._coming: set[str] = set()  # files whose rows are on their way

    async def put(self, photos: Sequence[tuple[str, bytes]], digest: Digester) -> list[Mistake]:
        """Keep photos: (the face's value on the allowlist, JPEG) each. What is wrong is left out and told.

        Durable when this returns. Raises StoreError or OSError: then nothing was kept.
        """
        good: list[tuple[int, str, bytes]] = []
        mistakes = []
        for name, jpeg in photos:
            try:
                key, tail = split_digest(digest(Method.FACE, name))
                self._may(key, tail)
                _check(jpeg)
            except ValueError as error:
                mistakes.append(Mistake(name[:64], f"expected {error}"))
            else:
                good.append((key, name, jpeg))
        if good:
            names = [secrets.token_hex(16) for _ in good]
            self._coming.update(names)
            try:
                rows = await asyncio.to_thread(self._seal, good, names)
                await self._writer.submit(lambda conn: _keep(conn, rows), now=True)
            finally:
                self._coming.difference_update(names)
                self.turn += 1
        return mistakes

    def _may(self, key: int, tail: bytes) -> None:
        row = self._database.reader.execute(
            "SELECT tail, status, consent FROM credential WHERE key = ? AND method = ?", (key, METHOD)
        ).fetchone()
        if row is None or row[0] != tail:
            raise ValueError("the value of a face on the allowlist")
        if row[2] != GRANTED:
            raise ValueError("a person who has consented: no photo is kept without consent [consent_missing]")
        if row[1] == REVOKED:
            raise ValueError("a face that is not revoked [revoked]")

    def _seal(self, photos: Sequence[tuple[int, str, bytes]], files: Sequence[str]) -> list[tuple[object, ...]]:
        """Write the files, then see that they are on the disk; their rows come after."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  2 MB, only where faces are

        self.folder.mkdir(mode=0o700, exist_ok=True)
        rows: list[tuple[object, ...]] = []
        for (key, name, jpeg), file in zip(photos, files, strict=True):
            seal = secrets.token_bytes(32)
            sealed = AESGCM(seal).encrypt(bytes(12), jpeg, _bound(key))  # one use of a key: the nonce may be constant
            with os.fdopen(os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(sealed)
                out.flush()
                os.fsync(out.fileno())
            rows.append((key, name, file, seal, blake2b(jpeg, digest_size=16).digest()))
        sync_directory(self.folder)
        return rows

    async def learn(self, names: Mapping[str, int]) -> None:
        """Keep the ids on terminals of faces that were imported by their digests. `names`: their keys by these ids."""
        await self._writer.submit(lambda conn: _learn(conn, names), now=True)
        self.turn += 1

    def opened(self, sealed: Sealed) -> bytes | None:
        """The photo; None where its file is gone, damaged or another person's."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  see _seal
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        try:
            return AESGCM(sealed.seal).decrypt(bytes(12), (self.folder / sealed.file).read_bytes(), _bound(sealed.key))
        except (OSError, InvalidTag, ValueError):
            return None

    def sweep(self, conn: Connection) -> int:
        """Remove the files that no face names; returns how many. A file that stays is met again."""
        if not self.folder.is_dir():
            return 0
        there = {path.name for path in self.folder.iterdir()} - self._coming
        named = {name for (name,) in conn.execute("SELECT photo FROM face WHERE photo IS NOT NULL")}
        gone = 0
        for name in there - named - self._coming:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
                gone += 1
        if gone:
            with contextlib.suppress(OSError):
                sync_directory(self.folder)
        return gone


METHOD = list(Method).index(Method.FACE)
REVOKED = STATUSES.index(Status.REVOKED)


def _keep(conn: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Give the faces their photos, where they may still have one: an import may have come in between."""
    for key, name, file, seal, printed in rows:
        may = conn.execute(
            "SELECT 1 FROM credential WHERE key = ? AND method = ? AND status <> ? AND consent = ?",
            (key, METHOD, REVOKED, GRANTED),
        ).fetchone()
        if may is None:
            continue
        conn.execute("INSERT OR IGNORE INTO face VALUES (?, ?, '', NULL, NULL, NULL, 0)", (key, name))
        (shown,) = conn.execute("SELECT shown FROM face WHERE key = ?", (key,)).fetchone()
        conn.execute(
            "UPDATE face SET photo = ?, seal = ?, print = ?, mark = ? WHERE key = ?",
            (file, seal, printed, mark(shown, printed if isinstance(printed, bytes) else None), key),
        )


def _learn(conn: Connection, names: Mapping[str, int]) -> None:
    for name, key in names.items():
        row = conn.execute(
            "SELECT coalesce(p.mask, '') FROM credential c LEFT JOIN person p ON p.id = c.person WHERE c.key = ?"
            " AND c.method = ?", (key, METHOD),
        ).fetchone()  # fmt: skip
        if row is not None:
            values = (key, name, row[0], mark(row[0], None))
            conn.execute("INSERT OR IGNORE INTO face VALUES (?, ?, ?, NULL, NULL, NULL, ?)", values)


def _check(jpeg: bytes) -> None:
    if len(jpeg) > LARGEST_PHOTO:
        raise ValueError(f"a photo of at most {LARGEST_PHOTO // 1000} kB [too_large]")
    if not jpeg.startswith(_JPEG):
        raise ValueError("a JPEG photo [bad_format]")


def _bound(key: int) -> bytes:
    return key.to_bytes(8, "big", signed=True)

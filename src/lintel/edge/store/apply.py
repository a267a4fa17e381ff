"""Apply changes to the stored allowlist inside one transaction. Revisions decide, never the order of arrival.

The highest revision wins; at the same revision deny wins (a tombstone over a row, revoked over suspended over active).
A revocation is sticky: only a higher revision lifts it. A tombstone remembers the revision for at least 90 days.
"""

import json
from collections.abc import Mapping, Sequence

from lintel.edge.model import Status
from lintel.edge.store.changes import (
    KINDS,
    METHODS,
    STATUSES,
    Applied,
    Change,
    CredentialPut,
    Del,
    ItemPut,
    PassPut,
    Put,
    Type,
)
from lintel.edge.store.connection import WRITER_CACHE_KIB, Connection

LARGE, LARGE_CACHE_KIB = 10_000, 65536
"""A large set of changes gets a larger page cache for its time: spilled pages are written twice."""
TOMBSTONE_S = 90 * 86400.0
_PUT_CREDENTIAL = (
    "INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " id = excluded.id, person = excluded.person, kind = excluded.kind, method = excluded.method,"
    " status = excluded.status, groups = excluded.groups, valid_from = excluded.valid_from,"
    " valid_to = excluded.valid_to, schedule = excluded.schedule, use_limit = excluded.use_limit,"
    " duress = excluded.duress, rev = excluded.rev"
)  # no REPLACE: it opens a statement journal for every row, gigabytes in a large import
_REVOKED = STATUSES.index(Status.REVOKED)


class Applier:
    """One transaction's worth of changes. `at`: Unix seconds, the age of new tombstones is counted from it."""

    def __init__(self, conn: Connection, at: float) -> None:
        self._conn = conn
        self._at = at
        self._put = self._deleted = self._kept = 0
        self._errors: list[tuple[str, str]] = []
        self._graves: dict[tuple[str, str], int] = {
            (kind, name): rev for kind, name, rev in conn.execute("SELECT type, id, rev FROM tombstone")
        }

    def cursor(self) -> tuple[int, int]:
        """(epoch, seq) of the last applied checkpoint."""
        state = dict(self._conn.execute("SELECT name, value FROM state WHERE name IN ('epoch', 'seq')").fetchall())
        return int(state.get("epoch", 0)), int(state.get("seq", 0))

    def note(self, values: Mapping[str, float | None]) -> None:
        """Keep facts about the list itself; None removes one."""
        for name, value in values.items():
            if value is None:
                self._conn.execute("DELETE FROM state WHERE name = ?", (name,))
            else:
                self._conn.execute(
                    "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, repr(value)),
                )

    def report(self, revision: int) -> Applied:
        """What was done."""
        return Applied(self._put, self._deleted, self._kept, revision, tuple(self._errors))

    def apply(self, changes: Sequence[Change], *, full: bool) -> None:
        """Deletions first, so that a card may change hands inside one checkpoint."""
        if len(changes) > LARGE:
            self._conn.execute(f"PRAGMA cache_size = -{LARGE_CACHE_KIB}")  # pragmas take no bound parameters
        try:
            self._apply(changes, full=full)
        finally:
            self._conn.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")

    def _apply(self, changes: Sequence[Change], *, full: bool) -> None:
        for change in changes:
            if isinstance(change, Del):
                self._delete(change)
        named: set[tuple[str, str]] = set()
        for change in sorted(changes, key=_order):
            if isinstance(change, Del):
                continue
            if isinstance(change, CredentialPut):
                self._credential(change)
            elif isinstance(change, PassPut):
                self._pass(change)
            else:
                self._item(change)
            if full:
                named.add(_name(change))
        if full:
            self._sweep(named)
        self._conn.execute("DELETE FROM tombstone WHERE at < ?", (self._at - TOMBSTONE_S,))

    def _sweep(self, named: set[tuple[str, str]]) -> None:
        """Delete what a full list does not name."""
        for kind, name, rev in self._conn.execute(
            "SELECT 'credential', coalesce(id, lower(printf('%016x', key) || hex(tail))), rev FROM credential"
            " UNION ALL SELECT 'visitor_pass', id, rev FROM visitor_pass UNION ALL SELECT type, id, rev FROM site_item"
        ).fetchall():
            if (kind, name) not in named:
                self._delete(Del(Type(kind), name, rev, "out_of_scope"))

    # revisions

    def _revision(
        self, kind: Type, name: str, rev: int | None, rank: int, stored: tuple[int, int] | None
    ) -> int | None:
        """The revision to store, or None when what is stored stays.

        `rank` (of the status) breaks ties; `stored` is the live row's (rev, rank).
        """
        grave = self._graves.get((str(kind), name))
        if rev is None:  # a local import: newer than what is stored, but it lifts no revocation
            if grave is not None or (stored is not None and stored[1] == _REVOKED != rank):
                return None
            return stored[0] + 1 if stored is not None else 1
        if (grave is not None and rev <= grave) or (stored is not None and (rev, rank) < stored):
            return None
        if grave is not None:
            del self._graves[str(kind), name]
            self._conn.execute("DELETE FROM tombstone WHERE type = ? AND id = ?", (str(kind), name))
        return rev

    def _delete(self, change: Del) -> None:
        kind, name = change.type, change.id
        row = self._conn.execute(*_stored(kind, name)).fetchone()
        stored = row[0] if row else None
        rev = change.rev if change.rev is not None else (stored or 0) + 1
        if stored is not None and rev < stored:
            self._kept += 1
            return
        if stored is not None:
            self._conn.execute(*_remove(kind, name))
            self._deleted += 1
        self._graves[str(kind), name] = max(rev, self._graves.get((str(kind), name), rev))
        self._conn.execute(
            "INSERT INTO tombstone VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (type, id) DO UPDATE SET rev = excluded.rev, why = excluded.why, at = excluded.at"
            " WHERE excluded.rev > tombstone.rev",
            (str(kind), name, rev, change.why, self._at),
        )

    # the three shapes

    def _credential(self, put: CredentialPut) -> None:
        key, tail = int.from_bytes(put.digest[:8], "big", signed=True), put.digest[8:]
        name = put.id or put.digest.hex()
        there = self._conn.execute("SELECT tail, id, rev, status FROM credential WHERE key = ?", (key,)).fetchone()
        if there is not None and there[0] != tail:
            self._errors.append((name, "its digest collides with another credential's; give it another code"))
            return
        mine = there if there is not None and (there[1] or put.digest.hex()) == name else None
        if mine is None and put.id:  # the same id may stand under an older digest
            mine = self._conn.execute("SELECT tail, id, rev, status FROM credential WHERE id = ?", (put.id,)).fetchone()
        rank = STATUSES.index(put.status)
        rev = self._revision(Type.CREDENTIAL, name, put.rev, rank, (mine[2], mine[3]) if mine else None)
        if rev is None:
            self._kept += 1
            return
        if put.id:
            self._conn.execute("DELETE FROM credential WHERE id = ? AND key <> ?", (put.id, key))
        self._conn.execute(
            _PUT_CREDENTIAL,
            (key, tail, put.id or None, put.person, KINDS.index(put.kind), METHODS.index(put.method), rank,
             " ".join(put.groups), put.valid_from, put.valid_to, put.schedule, put.use_limit, int(put.duress), rev),
        )  # fmt: skip
        if put.uses:
            self._uses(0, key, put.uses)
        if put.mask:
            self._conn.execute("INSERT OR REPLACE INTO person VALUES (?, ?, ?)", (put.person, put.mask, rev))
        self._put += 1

    def _pass(self, put: PassPut) -> None:
        name = put.id or f"vp_{put.pass_id}"
        there = self._conn.execute("SELECT rev, status FROM visitor_pass WHERE pass_id = ?", (put.pass_id,)).fetchone()
        rank = STATUSES.index(put.status)
        rev = self._revision(Type.VISITOR_PASS, name, put.rev, rank, there)
        if rev is None:
            self._kept += 1
            return
        self._conn.execute(
            "INSERT OR REPLACE INTO visitor_pass VALUES (?1, ?2, ?3, coalesce(?4, (SELECT secret FROM visitor_pass"
            " WHERE pass_id = ?1)), ?5, ?6, ?7, ?8, ?9, ?10)",  # an exported list carries no secrets: keep ours
            (put.pass_id, name, rank, put.secret, " ".join(put.groups), put.valid_from, put.valid_to, put.use_limit,
             put.person, rev),
        )  # fmt: skip
        if put.uses:
            self._uses(1, put.pass_id, put.uses)
        self._put += 1

    def _item(self, put: ItemPut) -> None:
        there = self._conn.execute(*_stored(put.type, put.id)).fetchone()
        rev = self._revision(put.type, put.id, put.rev, 0, (there[0], 0) if there else None)
        if rev is None:
            self._kept += 1
            return
        doc = json.dumps(dict(put.doc), ensure_ascii=False, allow_nan=False)
        self._conn.execute("INSERT OR REPLACE INTO site_item VALUES (?, ?, ?, ?)", (str(put.type), put.id, rev, doc))
        self._put += 1

    def _uses(self, space: int, name: int, uses: int) -> None:
        """Uses counted elsewhere are merged by maximum: a count never goes back."""
        self._conn.execute(
            "INSERT INTO use_count (space, id, uses) VALUES (?, ?, ?)"
            " ON CONFLICT (space, id) DO UPDATE SET uses = max(uses, excluded.uses)",
            (space, name, uses),
        )


def _order(change: Change) -> int:
    """Credentials in the order of their b-tree: neighbours share a page, and a large import stays in memory."""
    return int.from_bytes(change.digest[:8], "big", signed=True) if isinstance(change, CredentialPut) else 0


def _name(put: Put) -> tuple[str, str]:
    if isinstance(put, CredentialPut):
        return str(Type.CREDENTIAL), put.id or put.digest.hex()
    if isinstance(put, PassPut):
        return str(Type.VISITOR_PASS), put.id or f"vp_{put.pass_id}"
    return str(put.type), put.id


def _digest_key(name: str) -> int:
    """The key of a credential without an id; -1 (never a digest's hex) finds nothing useful for other names."""
    try:
        return int.from_bytes(bytes.fromhex(name)[:8], "big", signed=True) if len(name) == 32 else -1
    except ValueError:
        return -1


def _stored(kind: Type, name: str) -> tuple[str, tuple[object, ...]]:
    if kind is Type.CREDENTIAL:
        return "SELECT rev FROM credential WHERE id = ? OR (key = ? AND id IS NULL)", (name, _digest_key(name))
    if kind is Type.VISITOR_PASS:
        return "SELECT rev FROM visitor_pass WHERE id = ?", (name,)
    return "SELECT rev FROM site_item WHERE type = ? AND id = ?", (str(kind), name)


def _remove(kind: Type, name: str) -> tuple[str, tuple[object, ...]]:
    if kind is Type.CREDENTIAL:
        return "DELETE FROM credential WHERE id = ? OR (key = ? AND id IS NULL)", (name, _digest_key(name))
    if kind is Type.VISITOR_PASS:
        return "DELETE FROM visitor_pass WHERE id = ?", (name,)
    return "DELETE FROM site_item WHERE type = ? AND id = ?", (str(kind), name)

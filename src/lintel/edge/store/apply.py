"""Apply changes to the stored allowlist inside one transaction. Revisions decide, never the order of arrival.

The highest revision wins; at the same revision deny wins (a tombstone over a row, revoked over suspended over active).
A revocation is sticky: only a higher revision lifts it. A tombstone remembers the revision for at least 90 days.
An operator's file without revisions is newer than what is stored, but it lifts no revocation, no erasure and no
withdrawal of a consent. Where it is stricter than what is stored, it is obeyed.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from lintel.edge.model import Method, Status
from lintel.edge.persons import Consent
from lintel.edge.store import faces
from lintel.edge.store.changes import (
    CREDENTIAL_SPACE,
    KINDS,
    METHODS,
    PASS_SPACE,
    STATUSES,
    Applied,
    Change,
    CredentialPut,
    Del,
    ItemPut,
    Locked,
    PassPut,
    Put,
    Type,
    Uses,
    Why,
    Withdrawn,
)
from lintel.edge.store.connection import WRITER_CACHE_KIB, Connection
from lintel.edge.store.consents import GRANTED, Withdrawals
from lintel.edge.store.names import names_of, remove, stored_sql

LARGE, LARGE_CACHE_KIB = 10_000, 65536
"""A large set of changes gets a larger page cache for its time: spilled pages are written twice."""
TOMBSTONE_S = 90 * 86400.0
_PUT_CREDENTIAL = (
    "INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " id = excluded.id, person = excluded.person, kind = excluded.kind, method = excluded.method,"
    " status = excluded.status, groups = excluded.groups, valid_from = excluded.valid_from,"
    " valid_to = excluded.valid_to, schedule = excluded.schedule, use_limit = excluded.use_limit,"
    " duress = excluded.duress, rev = excluded.rev, consent = excluded.consent, consent_rev = excluded.consent_rev"
)  # no REPLACE: it opens a statement journal for every row, gigabytes in a large import
_INTO_PASSES = (
    "INSERT INTO visitor_pass VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (pass_id) DO UPDATE SET"
    " id = excluded.id, status = excluded.status, secret = coalesce(excluded.secret, secret),"  # lists carry no secrets
    " groups = excluded.groups, valid_from = excluded.valid_from, valid_to = excluded.valid_to,"
    " use_limit = excluded.use_limit, person = excluded.person, rev = excluded.rev"
)  # no REPLACE: it would delete the row of another pass that has this id
_REVOKED = STATUSES.index(Status.REVOKED)
_STICKY = (Why.REVOKED, Why.ERASED)
_REPLACED = "replaced"
"""Why a tombstone stands for what a local list left out: any later list may name it again."""
_LIVE = (
    "SELECT 'credential', coalesce(id, lower(printf('%016x', key) || hex(tail))),"
    " lower(printf('%016x', key) || hex(tail)), rev, status FROM credential"
    " UNION ALL SELECT 'visitor_pass', id, 'vp_' || pass_id, rev, status FROM visitor_pass"
    " UNION ALL SELECT type, id, id, rev, 0 FROM site_item"
)
"""Type, name, name without an id of its own, revision and status of everything there is."""


class Applier:
    """One transaction's worth of changes. `at`: Unix seconds, the age of new tombstones is counted from it.

    `local`: an operator's file, not the cloud. `trusted`: `at` may be believed, so that old tombstones go.
    """

    def __init__(self, conn: Connection, at: float, *, local: bool = False, trusted: bool = True) -> None:
        self.conn = conn
        self._at = at
        self._local = local
        self._trusted = trusted
        self._put = self._deleted = self._kept = 0
        self._errors: list[tuple[str, str]] = []
        self._graves: dict[tuple[str, str], tuple[int, str]] = {
            (kind, name): (rev, why)
            for kind, name, rev, why in conn.execute("SELECT type, id, rev, why FROM tombstone")
        }
        self._withdrawals = Withdrawals(conn)

    def cursor(self) -> tuple[int, int]:
        """(epoch, seq) of the last applied checkpoint."""
        state = dict(self.conn.execute("SELECT name, value FROM state WHERE name IN ('epoch', 'seq')").fetchall())
        return int(state.get("epoch", 0)), int(state.get("seq", 0))

    def lost(self) -> bool:
        """Whether the list was lost, or is an older one: see `SiteData.fault` and `SiteData.restored`."""
        row = self.conn.execute("SELECT 1 FROM state WHERE name IN ('fault', 'restored')").fetchone()
        return row is not None

    def note(self, values: Mapping[str, float | None]) -> None:
        """Keep facts about the list itself; None removes one."""
        for name, value in values.items():
            if value is None:
                self.conn.execute("DELETE FROM state WHERE name = ?", (name,))
            else:
                self.conn.execute(
                    "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, repr(value)),
                )

    def report(self, revision: int) -> Applied:
        """What was done."""
        return Applied(self._put, self._deleted, self._kept, revision, tuple(self._errors))

    def apply(self, changes: Sequence[Change], *, full: bool, types: Collection[Type] = tuple(Type)) -> None:
        """Deletions first, so that a card may change hands inside one checkpoint.

        `full`: the changes are everything there is of these `types`.
        """
        if len(changes) > LARGE:
            self.conn.execute(f"PRAGMA cache_size = -{LARGE_CACHE_KIB}")  # pragmas take no bound parameters
        try:
            self._apply(changes, frozenset(map(str, types)) if full else frozenset())
        finally:
            self.conn.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")

    def _apply(self, changes: Sequence[Change], swept: frozenset[str]) -> None:
        for change in changes:
            if isinstance(change, Del):
                self._delete(change)
        if swept:
            self._sweep(changes, swept)
        for change in sorted(changes, key=_order):
            self._one(change)
        if self._trusted:
            # a clock that jumped makes nothing old at once: not later than retention's own time, without one nothing
            known = "(SELECT CAST(value AS REAL) FROM state WHERE name = 'retention')"
            self.conn.execute(f"DELETE FROM tombstone WHERE at < min(?, {known}) - ?", (self._at, TOMBSTONE_S))  # noqa: S608

    def _one(self, change: Change) -> None:
        if isinstance(change, CredentialPut):
            self._credential(change)
        elif isinstance(change, PassPut):
            self._pass(change)
        elif isinstance(change, ItemPut):
            self._item(change)
        elif isinstance(change, Uses):
            self._uses(change.space, change.id, change.uses)
        elif isinstance(change, Withdrawn):
            faces.withdraw(self.conn, self._withdrawals, change.key, change.id or None, change.rev)
        elif isinstance(change, Locked):
            self.conn.execute("INSERT OR IGNORE INTO lockdown VALUES (?)", (change.group,))

    def _sweep(self, changes: Sequence[Change], types: frozenset[str]) -> None:
        """Delete what a full list does not name. A local list names a card also without its id, and lifts nothing."""
        puts = [change for change in changes if isinstance(change, Put)]
        named = {name for put in puts for name in names_of(put)[: 1 + self._local]}
        for kind, name, plain, rev, status in self.conn.execute(_LIVE).fetchall():
            if kind not in types or (kind, name) in named or (self._local and (kind, plain) in named):
                continue
            if not (self._local and status == _REVOKED):
                self._delete(Del(Type(kind), name, rev, _REPLACED if self._local else "out_of_scope"))

    # revisions

    def _revision(
        self,
        kind: Type,
        names: tuple[str, str],
        rev: int | None,
        rank: int,
        stored: tuple[int, int] | None,
        *,
        live: bool,
    ) -> tuple[int, int] | None:
        """The revision and the rank (of the status) to store, or None when what is stored stays.

        `names`: its own and the one without an id; tombstones may stand under both. The rank breaks ties; `stored` is
        the live row's (rev, rank). `live`: a row stands under the name without an id; it outdid a tombstone there.
        """
        name, plain = names
        graves = {one: self._graves[str(kind), one] for one in names if (str(kind), one) in self._graves}
        judged = {name, plain} if rev is None or kind is Type.VISITOR_PASS else {name}
        if rev is None:
            if stored is not None and stored[1] == _REVOKED != rank:
                return None
            if any(why in _STICKY and not (live and one == plain) for one, (_, why) in graves.items()):
                if stored is None or rank <= stored[1]:
                    self._bury_plain(kind, names, live=live)
                    return None
                rank = _REVOKED  # stricter than the row, which goes; and what was revoked stays so
            rev = 1 + max([rev for rev, _ in graves.values()] + ([stored[0]] if stored is not None else [0]))
        elif any(rev <= grave and why != _REPLACED for one, (grave, why) in graves.items() if one in judged):
            self._bury_plain(kind, names, live=live)
            return None
        elif stored is not None and (rev, rank) < stored:
            return None
        for one, (grave, _) in graves.items():
            if one in judged or grave < rev:
                del self._graves[str(kind), one]
                self.conn.execute("DELETE FROM tombstone WHERE type = ? AND id = ?", (str(kind), one))
        return rev, rank

    def _bury_plain(self, kind: Type, names: tuple[str, str], *, live: bool) -> None:
        """What was revoked under its id before its card was known: now it is, for those who know only the card."""
        rev, why = self._graves.get((str(kind), names[0]), (0, ""))
        if why in _STICKY and names[0] != names[1] and not live:
            self._bury(kind, names[1], rev, why)

    def _delete(self, change: Del) -> None:
        kind, name = change.type, change.id
        row = self.conn.execute(*stored_sql(kind, name)).fetchone()
        stored, plain, status = row or (None, name, None)
        why = Why.REVOKED if self._local and status == _REVOKED and change.why not in _STICKY else change.why
        rev = change.rev if change.rev is not None else (stored or 0) + 1
        if stored is not None and rev < stored:
            self._kept += 1
            return
        if stored is not None:
            self.conn.execute(*remove(kind, name))
            self._deleted += 1
        self._bury(kind, name, rev, why)
        if plain != name and (kind is Type.VISITOR_PASS or why in _STICKY):
            self._bury(kind, plain, rev, why)  # found also by those who know only the card or the pass's number

    def _bury(self, kind: Type, name: str, rev: int, why: str) -> None:
        """Leave a tombstone; of two the higher revision stays, and the word that nothing local lifts."""
        old = self._graves.get((str(kind), name))
        if old is not None:
            why = old[1] if old[1] in _STICKY or (rev <= old[0] and why not in _STICKY) else why
            rev = max(rev, old[0])
        if old != (rev, why):
            self._graves[str(kind), name] = rev, why
            self.conn.execute(
                "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?)", (str(kind), name, rev, why, self._at)
            )

    # the three shapes

    def _credential(self, put: CredentialPut) -> None:
        key, tail = int.from_bytes(put.digest[:8], "big", signed=True), put.digest[8:]
        plain = put.digest.hex()
        name = put.id or plain
        there = self.conn.execute(
            "SELECT tail, id, rev, status, consent, consent_rev FROM credential WHERE key = ?", (key,)
        ).fetchone()
        if there is not None and there[0] != tail:
            self._errors.append((name, "its digest collides with another credential's; give it another code"))
            return
        rank = STATUSES.index(put.status)
        stored = there[2:4] if there is not None and (there[1] or plain) == name else None
        other = there[2:4] if there is not None and stored is None else None
        if stored is None and put.id:  # the same id may stand under an older digest
            stored = self.conn.execute("SELECT rev, status FROM credential WHERE id = ?", (put.id,)).fetchone()
        if put.rev is None and other is not None:  # newer than whatever this card was until now
            stored = other if stored is None else (max(stored[0], other[0]), max(stored[1], other[1]))
        taken = other is not None and other[1] == _REVOKED and put.rev is not None and put.rev <= other[0]
        names, live = (name, plain), there is not None
        done = None if taken else self._revision(Type.CREDENTIAL, names, put.rev, rank, stored, live=live)
        own = put.id or (there[1] if there is not None and put.rev is None else None)
        if done is None:
            self._keep(put, key, own)
            return
        rev, rank = done
        consent, granted = self._consent(put, key, own, rev, there[4:] if there is not None else (0, 0))
        if put.id:
            self.conn.execute("DELETE FROM credential WHERE id = ? AND key <> ?", (put.id, key))
        self.conn.execute(
            _PUT_CREDENTIAL,
            (key, tail, own, put.person, KINDS.index(put.kind), METHODS.index(put.method), rank,
             " ".join(put.groups), put.valid_from, put.valid_to, put.schedule, put.use_limit, int(put.duress), rev,
             consent, granted),
        )  # fmt: skip
        if put.method is Method.FACE:
            faces.enter(self.conn, put, key, may=rank != _REVOKED and consent == GRANTED)
        if put.uses:
            self._uses(CREDENTIAL_SPACE, key, put.uses)
        if put.mask:
            self.conn.execute("INSERT OR REPLACE INTO person VALUES (?, ?, ?)", (put.person, put.mask, rev))
        self._put += 1

    def _consent(
        self, put: CredentialPut, key: int, own: str | None, rev: int, stored: tuple[int, int]
    ) -> tuple[int, int]:
        """The consent to store, and the revision of the last grant. Without a revision no withdrawal is older."""
        if put.consent is Consent.WITHDRAWN:
            faces.withdraw(self.conn, self._withdrawals, key, own, rev)  # also of the one whose place this one takes
        consent = self._withdrawals.judge(put, key, own, rev, stored)
        return consent, max(stored[1], put.granted_rev) if put.consent is Consent.GRANTED else stored[1]

    def _keep(self, put: CredentialPut, key: int, name: str | None) -> None:
        """What is stored stays, but for a consent that is taken back."""
        self._kept += 1
        if put.consent is Consent.WITHDRAWN:
            faces.withdraw(self.conn, self._withdrawals, key, name, put.rev)

    def _pass(self, put: PassPut) -> None:
        (_, name), (_, plain) = names_of(put)
        other = self.conn.execute("SELECT pass_id FROM visitor_pass WHERE id = ?", (name,)).fetchone()
        if other is not None and other[0] != put.pass_id:
            self._errors.append((name, f"its id belongs to pass {other[0]}; give pass {put.pass_id} another one"))
            return
        there = self.conn.execute("SELECT rev, status FROM visitor_pass WHERE pass_id = ?", (put.pass_id,)).fetchone()
        rank = STATUSES.index(put.status)
        done = self._revision(Type.VISITOR_PASS, (name, plain), put.rev, rank, there, live=there is not None)
        if done is None:
            self._kept += 1
            return
        rev, rank = done
        self.conn.execute(
            _INTO_PASSES,
            (put.pass_id, name, rank, put.secret, " ".join(put.groups), put.valid_from, put.valid_to, put.use_limit,
             put.person, rev),
        )  # fmt: skip
        if put.uses:
            self._uses(PASS_SPACE, put.pass_id, put.uses)
        self._put += 1

    def _item(self, put: ItemPut) -> None:
        there = self.conn.execute(*stored_sql(put.type, put.id)).fetchone()
        stored = (there[0], 0) if there else None
        done = self._revision(put.type, (put.id, put.id), put.rev, 0, stored, live=stored is not None)
        if done is None:
            self._kept += 1
            return
        doc = json.dumps(dict(put.doc), ensure_ascii=False, allow_nan=False)
        self.conn.execute("INSERT OR REPLACE INTO site_item VALUES (?, ?, ?, ?)", (str(put.type), put.id, done[0], doc))
        self._put += 1

    def _uses(self, space: int, name: int, uses: int) -> None:
        """Uses counted elsewhere are merged by maximum: a count never goes back."""
        self.conn.execute(
            "INSERT INTO use_count (space, id, uses) VALUES (?, ?, ?)"
            " ON CONFLICT (space, id) DO UPDATE SET uses = max(uses, excluded.uses)",
            (space, name, uses),
        )


def _order(change: Change) -> int:
    """Credentials last, in the order of their b-tree: neighbours share a page, and a large import stays in memory."""
    return int.from_bytes(change.digest[:8], "big", signed=True) if isinstance(change, CredentialPut) else -(1 << 64)

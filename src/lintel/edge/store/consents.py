"""A consent that was taken back stays so, whatever becomes of the row that said it: only a later grant lifts it.

`withdrawal` has one row for each face, by the key of its digest; `withdrawn_id` one for each id of a credential under
which a face (`key`) was withdrawn, for another face of the person may come under it. `rev`: the revision at which it
was taken back. No deletion and no list removes a row. `credential.consent_rev`: that of the last grant, 0 without one.
"""

from lintel.edge.persons import Consent
from lintel.edge.store.changes import CONSENTS, CredentialPut
from lintel.edge.store.connection import Connection

GRANTED, WITHDRAWN = CONSENTS.index(Consent.GRANTED), CONSENTS.index(Consent.WITHDRAWN)
_FACE = "INSERT INTO withdrawal VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET rev = excluded.rev"
_ID = "INSERT INTO withdrawn_id VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET key = excluded.key, rev = excluded.rev"


class Withdrawals:
    """Those of one transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._by_key: dict[int, int] = dict(conn.execute("SELECT key, rev FROM withdrawal").fetchall())
        self._by_id: dict[str, int] = dict(conn.execute("SELECT id, rev FROM withdrawn_id").fetchall())

    def judge(self, put: CredentialPut, key: int, name: str | None, rev: int, stored: tuple[int, int]) -> int:
        """The consent to store with a credential of that key and id at revision `rev`.

        `stored`: what its row has, and the revision of the last grant. What a file does not name stays. A withdrawal is
        lifted only by a grant of a higher revision, and does not touch a row that has one.
        """
        if put.consent is Consent.WITHDRAWN:
            self.note(key, name, rev)
            return WITHDRAWN
        taken = [r for r in (self._by_key.get(key), self._by_id.get(name or "")) if r is not None]
        if not taken:
            return stored[0] if put.consent is None else CONSENTS.index(put.consent)
        if put.consent is Consent.GRANTED and put.granted_rev > max(taken):
            self._lift(key)
            return GRANTED
        if put.consent in (None, Consent.GRANTED) and stored[0] == GRANTED and stored[1] > max(taken):
            return GRANTED
        self.note(key, name, max(taken))
        return WITHDRAWN

    def note(self, key: int, name: str | None, rev: int) -> None:
        """The consent to a face was taken back; `name`: its id."""
        if self._by_key.get(key, -1) < rev:
            self._conn.execute(_FACE, (key, rev))
            self._by_key[key] = rev
        if name:
            self.note_id(name, key, rev)

    def note_id(self, name: str, key: int, rev: int) -> None:
        """The consent to a face was taken back under this id."""
        if self._by_id.get(name, -1) < rev:
            self._conn.execute(_ID, (name, key, rev))
            self._by_id[name] = rev

    def _lift(self, key: int) -> None:
        """The face may be used again. What stands under its ids stays, for other faces that come under them."""
        self._conn.execute("DELETE FROM withdrawal WHERE key = ?", (key,))
        self._by_key.pop(key, None)

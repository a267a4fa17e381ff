"""A consent that was taken back stays so, whatever becomes of the row that said it: only a later grant lifts it.

One row of `withdrawal` for each face, by the key of its digest. `id`: the credential's own id, under which another face
of the person may come. `rev`: the revision at which it was taken back. No deletion and no list removes a row.
"""

from typing import Final

from lintel.edge.persons import Consent
from lintel.edge.store.changes import CONSENTS, CredentialPut
from lintel.edge.store.connection import Connection

GRANTED, WITHDRAWN = CONSENTS.index(Consent.GRANTED), CONSENTS.index(Consent.WITHDRAWN)
_NOTE: Final = (
    "INSERT INTO withdrawal VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " id = coalesce(excluded.id, id), rev = max(rev, excluded.rev)"
)


class Withdrawals:
    """Those of one transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._by_key: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        for key, name, rev in conn.execute("SELECT key, id, rev FROM withdrawal"):
            self._remember(key, name, rev)

    def judge(self, put: CredentialPut, key: int, name: str | None, rev: int, stored: int) -> int:
        """The consent to store with a credential of that key and id at revision `rev`; `stored`: what its row has.

        What a file does not name stays. A withdrawal is lifted only by a grant of a higher revision.
        """
        if put.consent is Consent.WITHDRAWN:
            self.note(key, name, rev)
            return WITHDRAWN
        taken = [r for r in (self._by_key.get(key), self._by_id.get(name or "")) if r is not None]
        if not taken:
            return stored if put.consent is None else CONSENTS.index(put.consent)
        if put.consent is Consent.GRANTED and put.rev is not None and put.rev > max(taken):
            self._lift(key, name)
            return GRANTED
        self.note(key, name, max(taken))
        return WITHDRAWN

    def note(self, key: int, name: str | None, rev: int) -> None:
        """A consent was taken back."""
        if self._by_key.get(key, -1) < rev or (name is not None and self._by_id.get(name, -1) < rev):
            self._conn.execute(_NOTE, (key, name, rev))
            self._remember(key, name, rev)

    def _lift(self, key: int, name: str | None) -> None:
        """The face may be used again. Another one that had this id before stays as it is, without the id."""
        self._conn.execute("DELETE FROM withdrawal WHERE key = ?", (key,))
        self._conn.execute("UPDATE withdrawal SET id = NULL WHERE id = ?", (name,))
        self._by_key.pop(key, None)
        self._by_id.pop(name or "", None)

    def _remember(self, key: int, name: str | None, rev: int) -> None:
        self._by_key[key] = max(rev, self._by_key.get(key, rev))
        if name is not None:
            self._by_id[name] = max(rev, self._by_id.get(name, rev))

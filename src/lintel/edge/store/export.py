"""The allowlist as rows and as a document that an import reads back: digests, never values or secrets."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from lintel.edge.store.changes import CONSENTS, KINDS, METHODS, STATUSES, Type
from lintel.edge.store.connection import Connection
from lintel.edge.store.consents import GRANTED
from lintel.edge.store.history import export_history


def export_rows(conn: Connection) -> Iterator[dict[str, object]]:
    """The credentials as rows that an import reads back: digests, never values."""
    for row in conn.execute(
        "SELECT c.key, c.tail, c.id, c.person, c.kind, c.method, c.status, c.groups, c.valid_from, c.valid_to,"
        " c.schedule, c.use_limit, c.duress, c.rev, p.mask, u.uses, c.consent, c.consent_rev FROM credential c"
        " LEFT JOIN person p ON p.id = c.person LEFT JOIN use_count u ON u.space = 0 AND u.id = c.key"
        " ORDER BY c.person, c.key"
    ):
        digest = int(row[0]).to_bytes(8, "big", signed=True) + row[1]
        yield {
            "person": row[3], "kind": str(KINDS[row[4]]), "mask": row[14], "method": str(METHODS[row[5]]),
            "digest": digest.hex(), "groups": row[7], "valid_from": _iso(row[8]), "valid_to": _iso(row[9]),
            "schedule": row[10] or None, "use_limit": row[11], "uses": row[15], "status": str(STATUSES[row[6]]),
            "duress": "yes" if row[12] else None, "consent": str(CONSENTS[row[16]]) if row[16] else None,
            "consent_rev": row[17] if row[16] == GRANTED and row[17] < row[13] else None, "rev": row[13], "id": row[2],
        }  # fmt: skip


def export_document(conn: Connection) -> dict[str, object]:
    """The whole list as a JSON document that an import reads back; secrets of passes are left out."""
    document: dict[str, dict[str, object]] = {"schedules": {}, "holidays": {}, "blocks": {}}
    for kind, name, text in conn.execute("SELECT type, id, doc FROM site_item ORDER BY type, id"):
        doc = json.loads(text)
        if kind == Type.SCHEDULE:
            document["schedules"][name] = doc
        elif kind == Type.HOLIDAY_SET:
            document["holidays"][name] = doc["dates"]
        else:
            document["blocks"][name] = _iso(doc["until"])
    passes = [
        _present({
            "pass_id": row[0], "id": row[1], "status": str(STATUSES[row[2]]), "groups": row[3],
            "valid_from": _iso(row[4]), "valid_to": _iso(row[5]), "use_limit": row[6], "person": row[7], "rev": row[8],
            "uses": row[9],
        })
        for row in conn.execute(
            "SELECT p.pass_id, p.id, status, groups, valid_from, valid_to, use_limit, person, rev, uses"
            " FROM visitor_pass p LEFT JOIN use_count u ON u.space = 1 AND u.id = p.pass_id ORDER BY p.pass_id"
        )
    ]  # fmt: skip
    return {
        "credentials": [_present(row) for row in export_rows(conn)],
        "passes": passes,
        **document,
        **export_history(conn),
    }


def _present(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
